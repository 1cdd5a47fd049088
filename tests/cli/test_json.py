"""Real output of `--json` against the tables of `docs/json.md`."""

import json
import os
import re
from pathlib import Path

import pytest

from coser_cli.errors import Exit

PAGE = (Path(__file__).parents[2] / "docs" / "json.md").read_text(encoding="utf-8")


def tables():
    """Heading → key → kind of value, as the page says."""
    found = {}
    for block in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        heading = block.split("\n", 1)[0].replace("`", "")
        rows = re.findall(r"^\| `(\w+)` \| `([^|]+)` \|", block, flags=re.MULTILINE)
        found[heading] = dict(rows)
    return found


TABLES = tables()


def problems(value, kind):
    """What is wrong with a value; empty where it is of this kind."""
    kind, optional, _ = kind.partition(", optional")
    if " or " in kind:
        return all(problems(value, each) for each in kind.split(" or "))
    if kind.startswith("list of "):
        return not isinstance(value, list) or any(problems(v, kind[8:]) for v in value)
    if kind == "[integer, integer]":
        return not isinstance(value, list) or [type(v) for v in value] != [int, int]
    if kind in TABLES:
        return bool(faults(value, kind))
    if kind == "number":
        return not isinstance(value, int | float) or isinstance(value, bool)
    types = {"text": str, "integer": int, "boolean": bool, "object": dict, "null": type(None)}
    return type(value) is not types[kind] if kind in types else value != json.loads(kind)


def faults(record, heading):
    """Keys that a record has and the page does not, the other way round, or of another kind."""
    if not isinstance(record, dict):
        return ["no object"]
    table = TABLES[heading]
    needed = {key for key, kind in table.items() if ", optional" not in kind}
    wrong = [
        f"{key}: {record[key]!r}"
        for key in table
        if key in record and problems(record[key], table[key])
    ]
    return sorted(record.keys() - table.keys()) + sorted(needed - record.keys()) + wrong


def check(records, *headings):
    """The records are, in order, what the headings say."""
    assert [record["type"] for record in records] == [each.split(" ")[0] for each in headings]
    for record, heading in zip(records, headings, strict=True):
        assert faults(record, heading) == [], record


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


def test_problem_records():
    from coser_cli.cli.records import problem_record
    from coser_cli.errors import InputError

    check([problem_record(InputError("x", "y"))], "problem")


def test_plans(coser, photo):
    photo("a.png")
    whole = coser("upscale", "a.png", "none.png", "-s", 2, "--dry-run", "--json").records
    check(whole, "plan", "plan", "summary")
    assert "memory_bytes" in whole[0]
    tiles = ("--tile-size", 16, "--overlap", 8)
    tiled = coser("tile", "a.png", "-s", 2, *tiles, "--dry-run", "--json").records
    check(tiled, "plan", "summary")
    assert tiled[0]["tiled"] is True


def test_info(coser, photo):
    photo("a.png")
    check(coser("info", "--json").records, "info")
    coser("upscale", "a.png", "-s", 2, "-o", "b.jpg")
    coser("tile", "a.png", "--width", 30, "-o", "c.bmp", "--tile-size", 16, "--overlap", 8)
    records = coser("info", "a.png", "b.jpg", "c.bmp", "--json").records
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
    nowhere = ("--mirror", "http://127.0.0.1:9", "--accept-license", "mit-tianhewu")
    ran = coser("download-weights", *nowhere, "--accept-license", "openrailpp-m", "--json")
    assert ran.code != Exit.OK
    for record in ran.records:
        assert faults(record, f"{record['type']} of a run") == []
    pins = coser("download-weights", "--print-pins", "--json", "--mirror", "http://127.0.0.1:9")
    for record in pins.records[:-1]:
        assert faults(record, "pin of --print-pins") == []
