"""Values without a validator are those that Typer's validators would give."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer._coercion import build_runtime_param

from coser_cli.cli.app import COMMANDS, make_app
from coser_cli.cli.options import plain
from coser_cli.cli.options.plain import spare_validators

WORDS = (
    *(
        "",
        "-",
        "4",
        "04",
        "2.50",
        ".5",
        "1e1",
        "-1",
        "1_0",
        " 3",
        "inf",
        "٣",
        "1" * 16,
        "100000000",
    ),
    *("auto", "AUTO", "ddim", "none", "true", "a b", "~/x", "/", __file__, "nothing/here", "a\0b"),
    *(1, 4.0, True, Path("x")),
)


def params():
    commands = [typer.main.get_command(make_app((name,))).commands[name] for name in COMMANDS]
    commands += [each for group in commands for each in getattr(group, "commands", {}).values()]
    return [
        pytest.param(param, id=f"{command.name}-{param.name}")
        for command in commands
        for param in command.params
        if param.type_descriptor.annotation is not bool
    ]


CONTEXT = typer.Context(typer.main.get_command(make_app(())))


def outcome(runtime, value, param):
    try:
        coerced = runtime.coerce(value, param, CONTEXT)
    except typer.BadParameter as error:
        return error.message
    except Exception as error:
        return type(error)
    return type(coerced), coerced


@pytest.mark.parametrize("param", params())
def test_the_same_as_typer(param):
    before = param._runtime_param
    (param,) = spare_validators([param])
    assert param._runtime_param is not before
    several = param.multiple or param.nargs == -1
    typers = build_runtime_param(param.type_descriptor)
    for word in (None, *((words,) for words in WORDS), WORDS[:3]) if several else (None, *WORDS):
        expected = outcome(typers, word, param)
        assert outcome(param._runtime_param, word, param) == expected, word


def test_plain_values_need_no_validator(monkeypatch):
    """Of these words none does, so that the way is not lost unnoticed."""
    monkeypatch.setattr(plain, "build_runtime_param", lambda _: pytest.fail("not plain"))
    command = typer.main.get_command(make_app(("upscale",))).commands["upscale"]
    words = "a.png b.png -s 2.5 -o out/ --seed 7 --mask m.png --device cpu --reference r.png"
    context = command.make_context("upscale", words.split())
    assert context.params["inputs"] == [Path("a.png"), Path("b.png")]
    assert (context.params["scale"], context.params["seed"]) == (2.5, 7)


def test_a_command_does_not_import_pydantic():
    program = (
        "import sys; from coser_cli.cli.app import main;"
        "main(['upscale', 'missing.png', '-s', '2']); print('pydantic' in sys.modules)"
    )
    told = subprocess.check_output([sys.executable, "-c", program], stderr=subprocess.PIPE)
    assert told.split() == [b"False"]
