"""Every command and every option of `docs/cli.md`, once, through the installed program."""

import re
import shlex

import pytest

from tests.process.cases import CASES
from tools.cli_docs.commands import commands

PARAMETERS = [
    pytest.param(case, id=case.line, marks=() if case.quick else pytest.mark.slow) for case in CASES
]


def words_of(command):
    """The words of all cases of a command."""
    lines = [case.line for case in CASES if f"{case.line} ".startswith(f"{command} ")]
    return {word.split("=")[0] for line in lines for word in shlex.split(line)}


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_every_option_has_a_case(command):
    words = words_of(command.name)
    assert words, f"coser {command.name} has no case in tests/process/cases.py"
    options = [
        each for panel in command.panels for each in panel.parameters if not each.is_argument
    ]
    missing = [each.names[0] for each in options if not words & set(each.names)]
    assert not missing, f"add these options of `coser {command.name}` to tests/process/cases.py"


@pytest.mark.parametrize("case", PARAMETERS)
def test_command(case, coser, host):
    ran = coser(*shlex.split(case.line.replace("{host}", host)))
    assert ran.code == case.code, ran.err
    assert "Traceback" not in ran.err
    assert re.search(case.out, ran.out, re.DOTALL), ran.out
    assert re.search(case.err, ran.err, re.DOTALL), ran.err
    for name in case.makes:
        assert (coser.folder / name).exists(), f"{name} is missing: {ran.err}"
