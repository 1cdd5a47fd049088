"""The program's commands and their options as plain data, for everything that documents them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coser_cli.cli.output.defaults import default_of
from coser_cli.cli.output.help import argument_of, value_of


@dataclass(frozen=True)
class Parameter:
    """An argument or an option.

    `names` are an option's flags, or an argument's one name; `values` what it takes ("" for a
    flag); `default` is a value, or words where `is_default_in_words`, or "" for the model's own;
    `variable` is its environment variable, or "".
    """

    names: tuple[str, ...]
    is_argument: bool
    values: str
    default: str
    is_default_in_words: bool
    help: str
    variable: str


@dataclass(frozen=True)
class Panel:
    """Parameters that the help shows together; the title may be empty."""

    title: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Command:
    """One command; `usage` is what follows its name, which is several words in a sub-app."""

    name: str
    help: str
    usage: str
    panels: tuple[Panel, ...]


def commands() -> list[Command]:
    """Every command of `coser`, those of sub-apps among them, sorted by name."""
    return [_command(name, command) for name, command in _leaves(_root())]


def root_parameters() -> tuple[Parameter, ...]:
    """The options of `coser` itself."""
    return tuple(_parameter(each) for each in _root().params if not _is_hidden(each))


def _root() -> Any:
    """The command that Typer makes of the app; its class belongs to typer."""
    # Typer decides about colour when it is imported, and about width when it prints.
    for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"):
        os.environ.pop(name, None)
    import typer.main

    from coser_cli.cli.app import make_app

    return typer.main.get_command(make_app())


def _leaves(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """The commands of a group and of the groups in it, by their full names."""
    for name, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{before}{name} ")
        else:
            yield f"{before}{name}", command


def _command(name: str, command: Any) -> Command:
    arguments = [argument_of(each) for each in command.params if each.param_type_name == "argument"]
    usage = " ".join([*arguments, "[OPTIONS]"])
    return Command(name, command.help, usage, tuple(_panels(command)))


def _panels(command: Any) -> Iterator[Panel]:
    """One per help panel, in the order of the parameters."""
    panels: dict[str, list[Parameter]] = {}
    for each in command.params:
        if not _is_hidden(each):
            panels.setdefault(each.rich_help_panel or "", []).append(_parameter(each))
    yield from (Panel(title, tuple(parameters)) for title, parameters in panels.items())


def _is_hidden(parameter: Any) -> bool:
    return bool(getattr(parameter, "hidden", False))


def _parameter(parameter: Any) -> Parameter:
    if parameter.param_type_name == "argument":
        return Parameter((argument_of(parameter),), True, "", "", False, parameter.help, "")
    words = isinstance(parameter.show_default, str) or parameter.default is None
    return Parameter(
        names=(*parameter.opts, *parameter.secondary_opts),
        is_argument=False,
        values=value_of(parameter),
        default=default_of(parameter),
        is_default_in_words=words,
        help=parameter.help,
        variable=parameter.envvar or "",
    )
