"""`coser bench speed`: its streams, the JSON contract, and what it refuses."""

from functools import partial

import pytest
from json_page import check

from coser_cli.bench import speed
from coser_cli.bench.ceiling import measure_ceiling
from coser_cli.cli.output.bench import plain_columns
from coser_cli.errors import Exit

STAGES = ["load", "text", "prepare", "understand", "imagine", "restore", "decode", "write"]
QUICK = ("bench", "speed", "--size", 8, "--repeat", 1, "--warmup", 0, "--dtype", "float32")


@pytest.fixture(autouse=True)
def small_products(monkeypatch):
    """A ceiling for toys, in no time."""
    monkeypatch.setattr(speed, "measure_ceiling", partial(measure_ceiling, first=32, last=64))


def test_everything_as_json(coser):
    ran = coser(*QUICK, "--networks", "--json")
    assert ran.code == Exit.OK
    records = ran.records
    counts = dict.fromkeys(("setup", "ceiling", "stage", "network"), 0)
    for record in records:
        counts[record["type"]] += 1
    check(records, *(record["type"] for record in records))
    assert [(r["name"], r["path"]) for r in records if r["type"] == "stage"] == [
        (name, "engine") for name in STAGES
    ]
    setup, ceiling = records[:2]
    assert (setup["type"], setup["model"], setup["synthetic"]) == ("setup", "toy", False)
    assert setup["settings"]["strength"] == 1.0, "diffusion takes part"
    assert ceiling["flops_per_second"] > 0
    for stage in (r for r in records if r["type"] == "stage" and r["flops"]):
        rate = stage["flops"] / stage["seconds"]
        assert stage["flops_per_second"] == pytest.approx(rate)
        assert stage["ceiling_fraction"] == pytest.approx(rate / ceiling["flops_per_second"])
    assert counts["network"] >= 8


def test_text_goes_to_stdout_and_progress_to_stderr(coser):
    ran = coser(*QUICK, "--steps", 1, "--synthetic")
    assert ran.code == Exit.OK
    assert "toy, random weights" in ran.out
    for name in (*STAGES, "matrix product"):
        assert f"\n{name}" in ran.out
    assert "measuring: 1 of 1" in ran.err
    assert "measuring" not in ran.out
    assert coser(*QUICK, "--strength", 0, "--quiet").err == ""


def test_without_diffusion_nothing_is_imagined(coser):
    records = coser(*QUICK, "--strength", 0, "--json").records
    names = [record["name"] for record in records if record["type"] == "stage"]
    assert names == ["load", "prepare", "decode", "write"]


def test_what_needs_diffusion_is_refused_without(coser):
    ran = coser(*QUICK, "--strength", 0, "--tiles", 512)
    assert ran.code == Exit.USAGE
    assert "--tiles measures diffusion" in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""


def test_an_unknown_model_and_an_absent_device_are_one_line(coser):
    ran = coser(*QUICK, "--model", "none", "--quiet")
    assert (ran.code, ran.out, ran.err.count("\n")) == (Exit.WEIGHTS, "", 1)
    import torch

    device = "mps" if torch.cuda.is_available() else "cuda"
    ran = coser(*QUICK, "--device", device, "--quiet")
    assert (ran.code, ran.out, ran.err.count("\n")) == (Exit.DEVICE, "", 1)


@pytest.mark.parametrize("words", [("--size", 4), ("--repeat", 0), ("--tiles", 8)])
def test_numbers_out_of_range_are_refused(coser, words):
    assert coser("bench", "speed", *words).code == Exit.USAGE


def test_random_weights_that_do_not_fit_are_refused_before_they_are_made(coser, monkeypatch):
    from coser_cli.bench import loading

    monkeypatch.setattr(loading, "available_memory", lambda device: 2**30)
    ran = coser(*QUICK, "--model", "sd21", "--quiet")
    assert ran.code == Exit.DEVICE
    assert "GiB" in ran.err and "sd21" in ran.err
    assert ran.out == ""


def test_columns_are_aligned_and_numbers_to_the_right():
    rows = [("a", "n", "word"), ("bbb", "10", "x"), ("c", "2.5", "yy")]
    assert plain_columns(rows) == "a      n  word\nbbb   10  x\nc    2.5  yy"
