"""The tables of `docs/json.md`, and what is wrong with records by them."""

import json
import re
from pathlib import Path

PAGE = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")


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
    kind, *_ = kind.split(", optional")
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
