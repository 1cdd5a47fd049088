"""`coser tile`, and how `coser upscale` becomes it."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from coser_cli.cli.options.tiling import parse_bytes
from coser_cli.config import MINI, SD21
from coser_cli.engine.compute import runtime
from coser_cli.errors import Exit, UsageError

TILES = ("--tile-size", 64, "--overlap", 32)


def pixels(name):
    return np.asarray(Image.open(name)).astype(int)


def test_upscale_becomes_tile_by_itself_and_says_so(coser, photo, monkeypatch):
    photo("a.png", size=(20, 16))
    plain = coser("upscale", "a.png", "-o", "whole.png")
    assert "tiles" not in plain.err
    monkeypatch.setattr(runtime, "NATIVE_TIMES", 0.1)
    switched = coser("upscale", "a.png", "-o", "switched.png", *TILES)
    assert "more than 51" in switched.err
    assert "in tiles" in switched.err
    asked = coser("tile", "a.png", "-o", "asked.png", *TILES)
    assert (asked.code, asked.err) == (Exit.OK, "")
    assert (pixels("switched.png") == pixels("asked.png")).all()
    assert (pixels("switched.png") != pixels("whole.png")).any()


@pytest.mark.slow
def test_too_little_memory_means_tiles(coser, photo):
    photo("a.png", size=(40, 40))
    ran = coser("upscale", "a.png", "-s", 16, "--max-memory", "620MiB", "--strength", 0)
    assert ran.code == Exit.OK
    assert "at once it would need" in ran.err
    assert Image.open("a_16x.png").size == (640, 640)


def test_memory_below_the_smallest_plan(coser, photo):
    photo("a.png")
    ran = coser("tile", "a.png", "--max-memory", "1MB")
    assert ran.code == Exit.USAGE
    assert "smallest plan" in ran.err
    assert os.listdir() == ["a.png"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--tile-size", 64, "--overlap", 64), "leaves nothing of a tile"),
        (("--tile-size", 62, "--overlap", 32), "multiple of 4"),
        (("--tile-size", 2, "--overlap", 0), "4 at least"),
        (("--max-memory", "much"), "no amount of memory"),
    ],
)
def test_tiles_that_cannot_be(coser, photo, flags, words):
    photo("a.png")
    ran = coser("tile", "a.png", *flags)
    assert ran.code == Exit.USAGE
    assert words in ran.err
    assert os.listdir() == ["a.png"]


def test_formats_that_are_not_written_in_parts(coser, photo):
    photo("a.png")
    ran = coser("tile", "a.png", "-o", "a.bmp")
    assert ran.code == Exit.FAILED
    assert "not written in parts" in ran.err
    assert os.listdir() == ["a.png"]


def test_references_in_tiles(coser, photo):
    photo("a.png", size=(30, 20))
    ran = coser("tile", "a.png", "-n", 2, "--save-reference", "--compare", *TILES)
    assert ran.code == Exit.OK
    names = ["a_4x.png", "a_4x_compare.png", "a_4x_reference-1.png", "a_4x_reference-2.png"]
    assert sorted(os.listdir()) == ["a.png", *names]
    assert Image.open("a_4x_reference-2.png").size == (120, 80)
    given = coser("tile", "a.png", "--reference", "a_4x_reference-1.png", "-o", "b.png", *TILES)
    assert given.code == Exit.OK


def test_candidates_of_large_pictures(coser, photo, monkeypatch):
    monkeypatch.setattr(runtime, "NATIVE_TIMES", 0.1)
    photo("a.png", size=(30, 20))
    ran = coser("reference", "a.png", "-n", 2, *TILES)
    assert ran.code == Exit.OK
    assert sorted(os.listdir()) == [
        "a.png",
        "a_reference-1.png",
        "a_reference-2.png",
        "a_references.png",
    ]


def test_dry_run_tells_and_writes_nothing(coser, photo):
    photo("a.png", size=(30, 20))
    photo("b.png")
    shutil.copy("b.png", "b_4x.png")
    ran = coser("tile", "a.png", "b.png", "none.png", "--dry-run", "--json", *TILES)
    assert ran.code == Exit.FAILED
    a, b, none, summary = ran.records
    assert (a["source_size"], a["size"], a["tiled"]) == ([30, 20], [120, 80], True)
    assert (a["tiles"], a["steps"], a["reference_steps"]) == (6, 2, 2)
    assert a["evaluations"] == {"unet": 18, "controlnet": 12}  # 3 tiles' worth of reference
    assert a["memory_bytes"] > 0
    assert a["disk_bytes"] > 120 * 80 * 24
    assert a["seconds"] > 0
    assert b["existing"] == ["b_4x.png"]
    assert "no such file" in none["error"]["message"]
    assert summary["exit_code"] == Exit.FAILED
    assert sorted(os.listdir()) == ["a.png", "b.png", "b_4x.png"]


def test_help_says_how_far_tiles_overlap(coser):
    words = " ".join(coser("tile", "--help-all").out.split())
    assert f"by default, {MINI.tile_overlap} with mini and {SD21.tile_overlap} with sd21" in words


def test_dry_run_in_words(coser, photo):
    photo("a.png", size=(30, 20))
    said = coser("tile", "a.png", "--dry-run", *TILES).out
    assert "diffusion: 2 steps after 1 reference of 2 steps, 6 tiles in 6 batches per step" in said
    said = coser("upscale", "a.png", "--dry-run", "--steps", 1, "--reference-mode", "none").out
    assert "diffusion: 1 step, 1 tile in 1 batch per step, 1 evaluation of the U-Net, 1 of" in said


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("4GiB", 2**32),
        ("500 MB", 5 * 10**8),
        ("1.5m", 1500000),
        ("7000000", 7000000),
        ("2TiB", 2**41),
    ],
)
def test_amounts_of_memory(text, amount):
    assert parse_bytes(text) == amount


def test_an_amount_without_its_unit_is_asked_about():
    with pytest.raises(UsageError, match="did you mean 7GiB"):
        parse_bytes("7")


@pytest.mark.parametrize("text", ["", "GB", "-1", "0", "1.2.3", "4 gigs"])
def test_what_is_no_amount(text):
    with pytest.raises(UsageError, match="amount of memory"):
        parse_bytes(text)
