"""Dataclasses through JSON: the same again, and nothing else."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from coser_cli.server.codec import from_json, to_json


@dataclass(frozen=True)
class Inner:
    path: Path
    sizes: tuple[int, int] | None = None


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    many: tuple[Inner, ...] = ()
    share: float = 1.0
    flag: bool = False
    kind: Literal["a", "b"] = "a"
    table: dict[str, str] = field(default_factory=dict)
    number: int | None = None


WHOLE = Outer(
    "ü\n\udc80",  # a file name that is no text
    Inner(Path("a/b\udcff.png"), (3, 4)),
    (Inner(Path("c")), Inner(Path("/d"), (1, 2))),
    0.5,
    True,
    "b",
    {"LANG": "C"},
    7,
)


def test_all_comes_back():
    assert from_json(Outer, json.loads(json.dumps(to_json(WHOLE)))) == WHOLE


def test_defaults_fill_what_is_missing():
    assert from_json(Outer, {"name": "x", "inner": {"path": "p"}}) == Outer("x", Inner(Path("p")))


@pytest.mark.parametrize(
    "change",
    [
        {"name": 3},
        {"name": None},
        {"inner": []},
        {"inner": {"path": 1}},
        {"inner": {"path": "p", "sizes": [1]}},
        {"inner": {"path": "p", "sizes": [1, "2"]}},
        {"inner": {"path": "p", "sizes": [1, True]}},
        {"many": {}},
        {"many": [1]},
        {"share": "1"},
        {"share": True},
        {"flag": 1},
        {"kind": "c"},
        {"table": {"LANG": 1}},
        {"number": 1.5},
        {"other": 1},
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(change):
    with pytest.raises((TypeError, ValueError)):
        from_json(Outer, to_json(WHOLE) | change)


def test_a_missing_field_is_refused():
    with pytest.raises(TypeError):
        from_json(Outer, {"name": "x"})


def test_what_has_no_form_is_refused():
    with pytest.raises(TypeError, match="no form"):
        to_json(object())
