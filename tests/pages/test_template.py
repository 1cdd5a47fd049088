"""Filling of templates: everything is escaped, nothing is filled twice, nothing is fetched."""

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.pages.template import Markup, fill, href, name_text, read_template

PAGES = ("compare", "evaluation", "report", "study")
ASSETS = ("frame.html", "report_card.html", *(f"{page}.html" for page in PAGES))
SCRIPTS = ("common.css", *(f"{page}.{kind}" for page in PAGES for kind in ("css", "js")))


@given(st.text())
def test_values_cannot_leave_their_place(text):
    filled = fill('<a title="{{text}}">{{text}}</a>', text=text)
    inner = filled.removeprefix('<a title="').removesuffix("</a>")
    assert inner.count("<") == 0
    assert inner.count('"') == 1
    assert filled.count("{{") == text.count("{{") * 2


def test_markup_is_left_as_it_is_and_not_filled_again():
    body = fill("<b>{{name}}</b>", name="{{other}}")
    assert fill("<p>{{body}}</p>", body=body, other="no") == "<p><b>{{other}}</b></p>"
    assert isinstance(body, Markup)


def test_a_place_without_a_value_is_an_error():
    with pytest.raises(KeyError):
        fill("{{missing}}")


@pytest.mark.parametrize("name", ASSETS + SCRIPTS)
def test_templates_fetch_nothing(name):
    text = read_template(name)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|@font-face", text)
    if name in SCRIPTS:
        assert "{{" not in text


def test_policy_forbids_the_network():
    assert "default-src 'none'; img-src data:;" in read_template("frame.html")


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
    assert name_text(Path(path)) == expected
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
