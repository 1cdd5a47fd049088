"""The root command: help, version, info, streams, start-up."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from coser_cli import __version__
from coser_cli.errors import Exit
from tools.cli_docs import markdown

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COSER_")}


def python(*args, **options):
    """A fresh Python that imports what this one imports."""
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
        **options,
    )


def test_version(coser):
    for flag in ("--version", "-V"):
        assert coser(flag).out == f"coser {__version__}\n"


def test_help_ends_well_and_lists_the_commands(coser):
    ran = coser("--help")
    assert ran.code == Exit.OK
    for name in ("upscale", "reference", "info"):
        assert name in ran.out
        assert coser(name, "-h").code == Exit.OK


def test_no_command_is_help_and_wrong_usage(coser):
    ran = coser()
    assert ran.code == Exit.USAGE
    assert "Usage" in ran.out + ran.err


def test_unknown_command(coser):
    assert coser("enlarge").code == Exit.USAGE


def test_help_panels(coser):
    out = coser("upscale", "--help").out
    panels = ("Input and output", "Sampling", "Reference", "Model and device", "Reporting")
    assert all(panel in out for panel in panels)


def test_the_usual_help_fits_two_screens_and_the_other_has_everything(coser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    usual, everything = coser("upscale", "--help").out, coser("upscale", "--help-all").out
    assert len(usual.splitlines()) <= 48
    assert "[mini " in usual and "sd21 50]" in usual, "the defaults of each model"
    assert "--overlap" not in usual
    assert "--overlap" in everything


def test_help_of_no_command_imports_torch():
    code = (
        "import sys; from coser_cli.cli.app import COMMANDS, main\n"
        "for name in COMMANDS: assert main([name, '--help']) == 0\n"
        "assert main(['bench', 'speed', '--help']) == 0\n"
        "assert main(['evaluate', 'measure', '--help']) == 0\n"
        "assert 'torch' not in sys.modules"
    )
    ran = python("-c", code)
    assert ran.returncode == 0, ran.stderr
    assert "--networks" in ran.stdout


def test_help_answers_in_half_a_second():
    """Of the processor: how much else this machine does is not asked."""

    def seconds():
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert python("-m", "coser_cli", "--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_module_runs_like_the_command():
    ran = python("-m", "coser_cli", "--version")
    assert ran.stdout == f"coser {__version__}\n"


def test_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m coser_cli upscale --help | head -1"
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run(
        ["sh", "-c", command], capture_output=True, text=True, env=environment, check=False
    )
    assert "Traceback" not in ran.stderr
    assert "BrokenPipe" not in ran.stderr


def test_info(coser, weights):
    ran = coser("info")
    assert ran.code == Exit.OK
    assert str(weights / "sd21") in ran.out
    assert __version__ in ran.out


def test_info_as_json(coser, weights):
    facts = json.loads(coser("info", "--json").out)
    assert facts["version"] == 1
    assert facts["coser"] == __version__
    assert facts["weights_dir"] == str(weights)
    assert [model["name"] for model in facts["models"]] == ["mini", "sd21", "turbo"]
    mini, sd21, _ = facts["models"]
    assert not sd21["installed"]
    assert (sd21["decoder"], sd21["parts"], sd21["set"]) == (None, [], "default")
    assert mini["decoder"] == "vae"
    assert {"vae", "unet"} <= set(mini["parts"])
    assert facts["compute"]["device"] == "cpu"
    assert facts["compute"]["dtype"] == "float32"
    assert facts["packages"]["torch"]


@pytest.mark.parametrize(("parts", "decoder"), [(("vae", "cfw"), "cfw"), (("vae",), "vae")])
def test_info_says_what_decodes_and_under_which_licences(
    coser, tmp_path, monkeypatch, parts, decoder
):
    """CFW is the one part that may be missing, and the one that forbids commercial use."""
    folder = tmp_path / "weights" / "sd21"
    for part in parts:
        (folder / part).mkdir(parents=True)
        (folder / part / "diffusion_pytorch_model.safetensors").touch()
    (folder / "model.json").touch()
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(tmp_path / "weights"))
    model = json.loads(coser("info", "--json").out)["models"][1]
    assert model["installed"]
    assert model["decoder"] == decoder
    strict = "s-lab-1_0" in [each["id"] for each in model["licenses"]]
    assert strict == (decoder == "cfw")
    lines = coser("info").out
    assert ("CFW is not installed" in lines) == (decoder == "vae")
    assert ("S-Lab License 1.0; commercial use: not allowed" in lines) == (decoder == "cfw")


def test_info_shows_a_device_that_is_not_there_instead_of_failing(coser):
    import torch

    device = "mps" if torch.cuda.is_available() else "cuda"
    ran = coser("info", "--device", device)
    assert ran.code == Exit.OK
    assert "cannot be used" in ran.out


def test_reference_page_is_current():
    page = Path(__file__).parents[2] / "docs" / "cli.md"
    hint = "run: python -m tools.cli_docs.markdown > docs/cli.md"
    assert page.read_text(encoding="utf-8") == markdown.page(), hint


@pytest.mark.parametrize("code", list(Exit))
def test_every_exit_code_is_documented(code):
    assert f"| {int(code)} |" in markdown.CONVENTIONS
