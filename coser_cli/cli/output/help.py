"""`--help` and `--help-all` as plain text: a line or two per option, in their panels."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from shutil import get_terminal_size
from textwrap import wrap
from typing import Any

from coser_cli.cli.output.defaults import default_of

LEFT, WIDEST = 27, 100
ARGUMENTS = "Arguments and options"
FIRST_SENTENCE = re.compile(r"(.*?)(?:[;:.] |\.$|$)")
_INLINE_CODE = re.compile(r"`([^`]*)`")


def command_help(context: Any, often: Sequence[str], *, everything: bool) -> str:
    """The help of one command; where it has options used `often`, by name, only those unless
    `everything` is asked for. `context` is Typer's.
    """
    command = context.command
    chosen = often if often and not everything else ()
    lines = [f"Usage: {usage_of(context)}", "", *_words(command.help or "", 2)]
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if not parameter.hidden and (
            not chosen or parameter.name in chosen or _is_argument(parameter)
        ):
            panels.setdefault(parameter.rich_help_panel or ARGUMENTS, []).append(parameter)
    for title, parameters in panels.items():
        only_arguments = all(map(_is_argument, parameters))
        lines += [""] if only_arguments else ["", f"{title}:"]
        for parameter in parameters:
            lines += _entry(_left(parameter), _right(parameter, brief=bool(chosen)))
    lines.append("")
    if chosen:
        count = sum(not each.hidden and not _is_argument(each) for each in command.params)
        lines.append(f"These are the usual options; --help-all shows all {count}.")
    return "\n".join(lines)


def group_help(context: Any, examples: Iterable[tuple[str, str]]) -> str:
    """The help of a command that has commands. `examples` are command lines and what they do."""
    group = context.command
    lines = [f"Usage: {context.command_path} COMMAND [OPTIONS]", ""]
    lines += _words(group.help or "", 2)
    lines += ["", "Commands:"]
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if not command.hidden:
            lines += _entry(name, _first_sentence(command.help or ""))
    options = [each for each in group.params if not each.hidden]
    if options:
        lines += ["", "Options:"]
        for parameter in options:
            lines += _entry(_left(parameter), _right(parameter, brief=True))
    shown = list(examples)
    if shown:
        lines += ["", "Examples:"]
        width = max(len(line) for line, _ in shown)
        lines += [f"  {line.ljust(width)}  {words}" for line, words in shown]
    lines += ["", f"`{context.command_path} COMMAND --help` shows the options of a command."]
    return "\n".join(lines)


def usage_of(context: Any) -> str:
    """`coser upscale INPUTS... [OPTIONS]`."""
    arguments = [argument_of(each) for each in context.command.params if _is_argument(each)]
    return " ".join([context.command_path, *arguments, "[OPTIONS]"])


def _entry(left: str, right: str) -> Iterator[str]:
    """An option and its words beside it, or below where it is long."""
    lines = _words(right, LEFT) or [""]
    if len(left) > LEFT - 4:
        yield f"  {left}"
    else:
        yield f"  {left}".ljust(LEFT) + lines.pop(0)[LEFT:]
    yield from lines


def _left(parameter: Any) -> str:
    if _is_argument(parameter):
        return argument_of(parameter)
    short = [name for name in parameter.opts if not name.startswith("--")]
    long = [name for name in parameter.opts if name.startswith("--")]
    names = ", ".join([*short, *long[:1], *parameter.secondary_opts])
    return f"{names} {value_of(parameter)}".rstrip()


def value_of(parameter: Any) -> str:
    """What an option takes, after its name; "" for a flag."""
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return str(parameter.metavar)
    choices = parameter.type_descriptor.choices
    if choices:
        return "|".join(map(str, choices))
    if parameter.min is not None:
        return f"{parameter.min:.12g}–{parameter.max:.12g}"
    name: str = parameter.type_descriptor.annotation.__name__
    return name.upper().replace("STR", "TEXT")


def _right(parameter: Any, *, brief: bool) -> str:
    text = parameter.help or ""
    text = _first_sentence(text) if brief else text
    default = "" if _is_argument(parameter) else default_of(parameter)
    return f"{text} [{default}]" if default else text


def _first_sentence(text: str) -> str:
    match = FIRST_SENTENCE.match(" ".join(text.split()))
    return match[1] if match else text


def argument_of(parameter: Any) -> str:
    """An argument's name, with dots where it may be several."""
    name = parameter.metavar or parameter.name.upper()
    return f"{name.rstrip('.')}..." if parameter.nargs == -1 else str(name)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _words(text: str, margin: int) -> list[str]:
    """Text wrapped to the terminal, paragraph by paragraph, behind so many spaces."""
    width = max(min(get_terminal_size().columns, WIDEST) - 1, margin + 20)
    lines: list[str] = []
    for index, paragraph in enumerate(_INLINE_CODE.sub(r"\1", text).split("\n\n")):
        lines += [""] if index else []
        words = " ".join(paragraph.split())
        lines += wrap(words, width, initial_indent=" " * margin, subsequent_indent=" " * margin)
    return lines
