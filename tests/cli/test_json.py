"""Real output of `--json` against the tables of `docs/json.md`."""

import json
import os

import pytest
from json_page import check, faults


def test_the_check_can_fail():
    good = {
        "type": "problem",
        "version": 1,
        "error": {"code": "usage", "exit_code": 2, "message": "", "hint": ""},
    }
    assert faults(good, "problem") == []
    assert faults(good | {"more": 1}, "problem") == ["more"]
    assert faults(good | {"version": 2}, "problem") == ["version: 2"]
    assert faults(good | {"error": None}, "problem") == ["error: None"]
    assert faults({"type": "problem", "version": 1}, "problem") == ["error"]
    assert faults(good | {"error": good["error"] | {"code": "odd"}}, "problem")


def test_pictures(coser, photo):
    photo("a.png")
    words = ("upscale", "a.png", "none.png", "-s", 2, "--json")
    check(coser(*words).records, "image", "image", "summary")
    check(coser(*words, "--save-reference", "--compare").records, "image", "image", "summary")
    check(coser(*words, "--fail-fast", "--seed", 3).records, "image", "image", "summary")
    several = ("--references", 2, "--reference-select", "clip", "--strength", 0.5)
    check(coser("upscale", "a.png", *several, "-s", 3, "--json").records, "image", "summary")
    check(coser("reference", "a.png", "-n", 2, "-s", 2, "--json").records, "image", "summary")
    check(coser("upscale", "a.png", "--json", "--model", "none").records, "summary")
    check(
        coser("upscale", "none.png", "a.png", "--fail-fast", "--json").records,
        "image",
        "image",
        "summary",
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_problems(coser, photo, tmp_path):
    photo("a.png")
    (tmp_path / "closed").mkdir(mode=0)
    check(coser("upscale", "a.png", "closed", "--json").records, "problem", "image", "summary")


def test_problem_records(capsys):
    from coser_cli.cli.output.pictures import PictureReporter
    from coser_cli.errors import InputError

    PictureReporter(as_json=True, quiet=False).problem(InputError("x", "y"))
    check([json.loads(capsys.readouterr().out)], "problem")


def test_plans(coser, photo):
    photo("a.png")
    tiles = ("--tile-size", 16, "--overlap", 8)
    whole = coser("upscale", "a.png", "none.png", "-s", 2, *tiles, "--dry-run", "--json").records
    check(whole, "plan", "plan", "summary")
    assert "memory_bytes" in whole[0]
    tiled = coser("tile", "a.png", "-s", 2, *tiles, "--dry-run", "--json").records
    check(tiled, "plan", "summary")
    assert tiled[0]["tiled"] is True


def test_info(coser, photo):
    photo("a.png")
    check(coser("info", "--json").records, "info")
    coser("upscale", "a.png", "-s", 2, "-o", "b.jpg")
    coser(
        "tile",
        "a.png",
        "--width",
        30,
        "-o",
        "c.tif",
        "--strip-metadata",
        "--tile-size",
        16,
        "--overlap",
        8,
    )
    records = coser("info", "a.png", "b.jpg", "c.tif", "--json").records
    check(records, "record", "record", "record")
    assert records[2]["record"]["tiling"]["tile_size"] == 16


def test_pages(coser, photo):
    photo("a.png")
    photo("b.png")
    check(coser("compare", "a.png", "b.png", "--json").records, "compare")
    check(coser("compare", "a.png", "b.png", "--json").records, "compare")
    check(coser("compare", "a.png", "none.png", "--json").records, "compare")
    check(coser("report", ".", "--json").records, "report")
    check(coser("report", "none", "--json").records, "report")


def test_weights(coser, tmp_path, monkeypatch):
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(tmp_path / "weights"))
    listed = coser("download-weights", "--list", "--json").records
    for record in listed[:-1]:
        assert faults(record, f"{record['type']} of --list") == []
    assert {record["type"] for record in listed} >= {"set", "file", "license"}
    planned = coser("download-weights", "--dry-run", "--json").records
    assert faults(planned[0], "plan of --dry-run") == []
    assert faults(planned[-1], "summary of a run") == []
