"""Errors in one style, with what helps; and what `coser` takes for the command it means."""

import json
from pathlib import Path

import pytest

from coser_cli.cli.app import with_command
from coser_cli.errors import Exit

CASES = [
    ("upscal a.png", "there is no command 'upscal' of `coser`; did you mean upscale?"),
    ("bench sped", "there is no command 'sped' of `coser bench`; did you mean speed?"),
    ("upscale --stepz 3", "there is no option --stepz of `coser upscale`; did you mean --steps?"),
    ("upscale a --steps 0", "--steps takes whole numbers from 1 to 1000, not '0'"),
    ("upscale a --steps=x", "--steps takes whole numbers from 1 to 1000, not 'x'"),
    ("upscale a --strength 2", "--strength takes numbers from 0 to 1, not '2'"),
    ("upscale a --control-weight nan", "--control-weight takes numbers from 0 to 2, not 'nan'"),
    ("upscale a -s 17", "takes numbers from 1 to 16, not '17'"),
    ("train unet --gpus 0", "--gpus takes whole numbers from 1 on, not '0'"),
    ("upscale a --device cdua", "--device takes one of auto, cuda, mps, cpu, not 'cdua'; did you"),
    ("upscale a --seed", "--seed requires an argument; `coser upscale --help` shows"),
    ("upscale a --fast=1", "--fast does not take a value; `coser upscale --help`"),
    ("upscale a --temp-dir nix", "--temp-dir: dir 'nix' does not exist"),
    ("upscale a --max-memory 4", "'4' is an amount of bytes; did you mean 4GiB?"),
    ("upscale a --max-memory 4XB", "'4xb' is no amount of memory; write it like 4GiB"),
    ("upscale https://example.org/a.jpg", "is an address, and only files are read; fetch it: curl"),
    ("compare a", "B... is missing; write it like coser compare A B... [OPTIONS]"),
    ("train", "STAGE is missing; write it like coser train STAGE [OPTIONS]"),
]


@pytest.mark.parametrize(("line", "said"), CASES, ids=[line for line, _ in CASES])
def test_one_line_says_what_and_what_helps(coser, line, said):
    ran = coser(*line.split())
    assert ran.code == Exit.USAGE
    assert ran.out == ""
    last = ran.err.splitlines()[-1]
    assert last.startswith("coser: ")
    assert said.lower() in last.lower()
    assert "Usage" not in ran.err


def test_json_has_it_too(coser):
    ran = coser("upscale", "a.png", "--steps", 0, "--json")
    (summary,) = ran.records
    assert (summary["type"], summary["status"], summary["exit_code"]) == ("summary", "error", 2)
    assert summary["error"]["message"] == "--steps takes whole numbers from 1 to 1000, not '0'"


def test_json_has_it_once(coser, photo):
    photo("a.png")
    assert len(coser("upscale", "a.png", "--model", "none", "--json").records) == 1
    assert len(coser("compare", "a.png", "none.png", "--json").records) == 1


def test_a_variable_is_named_by_its_option(coser, monkeypatch):
    monkeypatch.setenv("COSER_STEPS", "many")
    assert "--steps takes whole numbers from 1 to 1000, not 'many'" in coser("upscale", "a").err


def test_a_misspelt_key_of_the_configuration(coser):
    Path("coser.toml").write_text("[upscale]\nstepz = 3\n")
    ran = coser("upscale", "a.png", "--config", "coser.toml")
    assert ran.code == Exit.USAGE
    assert "unknown key 'stepz' in [upscale]; did you mean steps?" in ran.err


def test_what_nobody_foresaw_is_called_a_bug(coser, monkeypatch, photo):
    def fail(*_, **__):
        raise RuntimeError("of an odd\nkind")

    photo("a.png")
    monkeypatch.setattr("coser_cli.cli.upscale.make_plan", fail)
    ran = coser("upscale", "a.png", "--json")
    assert ran.code == Exit.FAILED
    assert ran.err.splitlines()[-1].startswith("coser: it failed: RuntimeError: of an odd kind; ")
    assert json.loads(ran.out)["status"] == "error"


@pytest.mark.parametrize("words", ["photo.jpg", "-s 2 a", "*.jpg", "./a", "-", "tmp", "a/b"])
def test_a_picture_or_an_option_first_means_upscale(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tmp").mkdir()
    assert with_command(words.split()) == ["upscale", *words.split()]


@pytest.mark.parametrize("words", ["info a.png", "upscal", "--version", "-h", "", "bench speed"])
def test_a_command_is_itself(words):
    assert with_command(words.split()) == words.split()
