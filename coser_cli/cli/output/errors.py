"""Errors in one style: `coser: what; what helps` on stderr, also as JSON with `--json`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import typer

from coser_cli.cli.output.help import argument_of, usage_of
from coser_cli.cli.output.json_lines import error_record, picture_counts, print_record
from coser_cli.errors import CoserError, InputError, UsageError, shown

BUG = "this is a bug in coser; COSER_DEBUG=1 shows where"


def show_error(error: CoserError, words: Sequence[str]) -> None:
    """Say it; with `--json` among the words, and unless a reporter has done so, also as JSON."""
    typer.echo(f"coser: {error}", err=True)
    if asks_for_json(words) and not error.is_reported:
        status = {"status": "error", "exit_code": int(error.exit_code)}
        failure = {"seconds": 0.0, "error": error_record(error)}
        print_record("summary", {**status, **picture_counts(0, None), **failure})


def asks_for_json(words: Sequence[str]) -> bool:
    """Whether `--json` is among the options."""
    options = words[: words.index("--")] if "--" in words else words
    return "--json" in options


def as_coser_error(error: Exception, words: Sequence[str]) -> CoserError:
    """Ours as it is, what Typer found wrong with the words, no temporary folder, or else a bug."""
    if isinstance(error, CoserError):
        return error
    if isinstance(error, typer.Abort):
        return UsageError("nobody answered", "give the answers as options")
    if isinstance(error, typer.TyperException):
        return usage_error(error, words)
    if isinstance(error, FileNotFoundError) and not _has_temporary_folder():
        return InputError(
            "no folder for temporary files can be written", "set TMPDIR to one that can"
        )
    detail = " ".join(f"{type(error).__name__}: {error}".split())
    return InputError(f"it failed: {detail}", BUG)


def _has_temporary_folder() -> bool:
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def closest(word: str, known: Sequence[str]) -> str:
    """`did you mean ...?`, or "" where nothing is like the word."""
    matches = get_close_matches(word, known, n=1)
    return f"did you mean {matches[0]}?" if matches else ""


def usage_error(error: typer.TyperException, words: Sequence[str]) -> UsageError:
    """What Typer found wrong with the command's words, in our style."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    named = " ".join(["coser", *words[:1]])
    path = named if context is None else context.command_path
    lists = f"`{path} --help` shows what there is"
    if hasattr(error, "possibilities"):
        name = str(getattr(error, "option_name", ""))
        hint = closest(name, _option_names(context)) or lists
        return UsageError(f"there is no option {name} of `{path}`", hint)
    if parameter is not None:
        if hasattr(error, "param_type"):
            return UsageError(f"{_name(parameter)} is missing", _usage(context) or lists)
        return _bad_value(error, parameter, words)
    message = error.format_message().rstrip(".").replace("'", "").removeprefix("Option ")
    return UsageError(message[:1].lower() + message[1:], lists)


def _bad_value(error: typer.TyperException, parameter: Any, words: Sequence[str]) -> UsageError:
    """A value that an option does not take."""
    name, value = _name(parameter), _value_of(parameter, words)
    tail = "" if value is None else f", not {shown(value)}"
    choices = [str(each) for each in parameter.type_descriptor.choices or ()]
    if choices:
        hint = closest(value or "", choices)
        return UsageError(f"{name} takes one of {', '.join(choices)}{tail}", hint)
    if parameter.min is not None:
        kind = "whole numbers" if parameter.type_descriptor.annotation is int else "numbers"
        end = "on" if parameter.max is None else f"to {parameter.max:.12g}"
        return UsageError(f"{name} takes {kind} from {parameter.min:.12g} {end}{tail}")
    reason = error.message.rstrip(".").removeprefix("Value error, ")
    return UsageError(f"{name}: {reason[:1].lower()}{reason[1:]}", "check the value")


def _value_of(parameter: Any, words: Sequence[str]) -> str | None:
    """What the user wrote as the value, where that can be found."""
    for name in parameter.opts:
        for index, word in enumerate(words):
            if word.startswith(f"{name}="):
                return word.partition("=")[2]
            if word == name and index + 1 < len(words):
                return words[index + 1]
    variable = getattr(parameter, "envvar", None)
    return os.environ.get(variable) if isinstance(variable, str) else None


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return argument_of(parameter)
    return str(next((each for each in parameter.opts if each.startswith("--")), parameter.name))


def _usage(context: Any) -> str:
    return f"write it like {usage_of(context)}" if context is not None else ""


def _option_names(context: Any) -> list[str]:
    parameters = [] if context is None else context.command.get_params(context)
    return [name for each in parameters for name in (*each.opts, *each.secondary_opts)]
