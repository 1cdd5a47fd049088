"""Options declared once, as the fields of a dataclass, for every command that takes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

import typer


def with_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameters that are annotated with a dataclass are spelt out as one option
    per field; the command itself gets the dataclass. Names that begin with `_` are no options.

    The options are the annotations of the fields or, for `Annotated[Dataclass, {field: option}]`,
    those of the dictionary: so a dataclass of a room that knows no typer has options, too.
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        group, *options = get_args(parameter.annotation) or (parameter.annotation,)
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            parameters += _flat_parameters(group, *options)
        elif not parameter.name.startswith("_"):
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @functools.wraps(command)
    def flat_command(**values: Any) -> None:
        group_values = {
            name: group(**{each.name: values.pop(each.name) for each in fields(group)})
            for name, group in groups.items()
        }
        command(**group_values, **values)

    return _with_signature(flat_command, parameters)


def like(other: Callable[..., None]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A command with the options of another."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        return _with_signature(command, list(inspect.signature(other).parameters.values()))

    return decorate


def explicit_options(ctx: typer.Context) -> set[str]:
    """Names of the options that the user gave: on the command line, by variables, or in a file."""
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    return {name for name, source in sources.items() if source and source.name != "DEFAULT"}


def _flat_parameters(
    group: type, options: Mapping[str, Any] | None = None
) -> list[inspect.Parameter]:
    hints = options or get_type_hints(group, include_extras=True)
    parameters = []
    for each in fields(group):
        default = inspect.Parameter.empty if each.default is MISSING else each.default
        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters.append(
            inspect.Parameter(each.name, keyword, default=default, annotation=hints[each.name])
        )
    return parameters


def _with_signature(
    command: Callable[..., None], parameters: list[inspect.Parameter]
) -> Callable[..., None]:
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    command.__dict__.pop("__wrapped__", None)
    return command
