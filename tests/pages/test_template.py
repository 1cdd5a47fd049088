"""Templates: every value is escaped, none is missing, nothing is fetched."""

import os
import re
from importlib import resources
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from coser_cli.pages.template import href, jinja, name_text, page

PAGES = ("compare", "evaluation", "report", "study")
ASSETS = ("frame.html", "common.css", *(f"{p}.{k}" for p in PAGES for k in ("html", "css", "js")))


def read(name):
    return (resources.files("coser_cli") / "assets" / "pages" / name).read_text(encoding="utf-8")


@given(st.text())
def test_values_cannot_leave_their_place(text):
    template = jinja().from_string('<a title="{{ text }}">{{ text }}</a>')
    inner = template.render(text=text).removeprefix('<a title="').removesuffix("</a>")
    assert inner.count("<") == 0
    assert inner.count('"') == 1


def test_a_place_without_a_value_is_an_error():
    with pytest.raises(UndefinedError):
        page("study")


@pytest.mark.parametrize("name", ASSETS)
def test_templates_fetch_nothing(name):
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|@font-face", read(name))


def test_policy_forbids_the_network():
    assert "default-src 'none'; img-src data:;" in read("frame.html")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a b.png", "a b.png"),
        ("new\nline.png", "new\\x0aline.png"),
        (os.fsdecode(b"caf\xe9.png"), "caf\\xe9.png"),
        ("ä€.png", "ä€.png"),
    ],
)
def test_names_can_always_be_written(path, expected):
    assert name_text(path) == expected
    name_text(path).encode("utf-8")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("out/a b.png", "./a%20b.png"),
        ("in/a.png", "./../in/a.png"),
        ("out/a:b#c?.png", "./a%3Ab%23c%3F.png"),
        ("out/50%.png", "./50%25.png"),
        (os.fsdecode(b"out/caf\xe9.png"), "./caf%E9.png"),
    ],
)
def test_addresses_are_relative_and_encoded(target, expected):
    found = href(Path(target), Path("out/report.html"))
    assert found == expected
    name = os.path.normpath(b"out/" + unquote_to_bytes(found))
    assert name == os.fsencode(target)
