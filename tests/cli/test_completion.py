"""Completion: what shells ask the program for, and the shells themselves where there are any."""

import os
import shutil
import subprocess
import sys

import pytest

from coser_cli.settings import SAMPLERS

SHELLS = ("bash", "zsh", "fish")
NO_TORCH = """
import sys
from coser_cli.cli.app import main
try:
    main()
finally:
    heavy = {"torch", "numpy", "PIL", "rich.progress"} & set(sys.modules)
    assert not heavy, heavy
"""


def ask(**variables):
    """What `coser` answers to a shell that completes, in a fresh process without torch."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("COSER_")
    }
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    ran = subprocess.run(
        [sys.executable, "-c", NO_TORCH],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        check=False,
    )
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran.stdout


def complete(*words, **variables):
    """Completions of the last of `words`, as bash asks for them."""
    asked = {"_COSER_COMPLETE": "complete_bash", "COMP_WORDS": "\n".join(words)}
    return ask(**asked, COMP_CWORD=str(len(words) - 1), **variables).split()


@pytest.fixture
def no_weights(tmp_path):
    return {"COSER_WEIGHTS_DIR": str(tmp_path)}


def test_commands():
    assert {"upscale", "reference", "compare", "report", "info"} <= set(complete("coser", ""))
    assert complete("coser", "com") == ["compare"]


def test_options():
    assert complete("coser", "upscale", "--compa") == ["--compare"]


def test_commands_of_commands():
    assert "speed" in complete("coser", "bench", "")
    assert complete("coser", "bench", "speed", "--netw") == ["--networks"]
    assert complete("coser", "bench", "speed", "--device", "c") == ["cuda", "cpu"]


@pytest.mark.parametrize("command", ["upscale", "reference", "evaluate"])
def test_samplers(command):
    assert complete("coser", command, "--sampler", "") == list(SAMPLERS)


def test_choices_by_their_beginning():
    assert complete("coser", "upscale", "--sampler", "dd") == ["ddpm", "ddim"]
    assert complete("coser", "upscale", "--device", "c") == ["cuda", "cpu"]


def test_installed_models(no_weights, tmp_path):
    assert complete("coser", "upscale", "--model", "", **no_weights) == ["auto", "mini"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.json").write_text("{}")
    assert complete("coser", "reference", "--model", "", **no_weights) == ["auto", "mine", "mini"]
    assert complete("coser", "upscale", "--model", "mi", **no_weights) == ["mine", "mini"]


def test_sets_and_licences_of_weights():
    assert {"default", "turbo"} <= set(complete("coser", "download-weights", ""))
    assert complete("coser", "download-weights", "tur") == ["turbo"]
    words = ("coser", "download-weights", "--accept-license", "mit-la")
    assert complete(*words) == ["mit-laion"]


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_printed(shell):
    script = ask(_COSER_COMPLETE=f"source_{shell}")
    assert f"_COSER_COMPLETE=complete_{shell}" in script
    assert "coser" in script


@pytest.fixture
def in_shell(tmp_path):
    """`in_shell(shell, code)`: output of `code` in a real shell that has the script."""

    def run(shell, code):
        program = shutil.which(shell)
        if program is None:
            pytest.skip(f"needs {shell}")
        command = tmp_path / "bin" / "coser"
        command.parent.mkdir()
        path = os.pathsep.join(filter(None, sys.path))
        command.write_text(
            f'#!/bin/sh\nPYTHONPATH="{path}" exec "{sys.executable}" -m coser_cli "$@"\n'
        )
        command.chmod(0o755)
        (tmp_path / "script").write_text(ask(_COSER_COMPLETE=f"source_{shell}"))
        environment = os.environ | {"PATH": f"{command.parent}{os.pathsep}{os.environ['PATH']}"}
        environment |= {"COSER_WEIGHTS_DIR": str(tmp_path), "HOME": str(tmp_path), "TERM": "dumb"}
        ran = subprocess.run(
            [program, "-c", code],
            capture_output=True,
            text=True,
            env=environment,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        return ran.stdout

    return run


def test_bash(in_shell):
    code = """
        source ./script
        COMP_WORDS=(coser upscale --sampler eu) COMP_CWORD=3
        _coser_completion coser
        echo "${COMPREPLY[@]}"
    """
    assert in_shell("bash", code).split() == ["euler", "euler-ancestral"]


def test_fish(in_shell):
    found = in_shell("fish", "source ./script; complete -C 'coser upscale --model m'")
    assert found.split() == ["mini"]


def test_zsh(in_shell):
    code = """
        compdef() { }
        source ./script
        _arguments() { print -r -- "$@" }
        words=(coser upscale --sampler eu) CURRENT=4
        _coser_completion
    """
    assert '"euler-ancestral"' in in_shell("zsh", code)
