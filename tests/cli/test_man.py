"""The manual page: current, complete, and clean for groff."""

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.cli_docs import man
from tools.cli_docs.commands import commands
from tools.cli_docs.roff import escaped, from_markdown, inline, line

PAGE = Path(__file__).parents[2] / "docs" / "coser.1"


def groff(text):
    """What a reader sees, and what groff warns of."""
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    ran = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=200n", "-rHY=0"],
        input=text.encode(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    return ran.stdout.decode(), ran.stderr.decode()


def test_the_page_is_current():
    hint = "run: python -m tools.cli_docs.man > docs/coser.1"
    assert PAGE.read_text(encoding="utf-8") == man.page(), hint


def test_the_page_is_plain_ascii():
    assert PAGE.read_bytes().isascii()


def test_groff_has_nothing_to_warn_of():
    shown, warnings = groff(man.page())
    assert warnings == ""
    assert "coser - enlarge photographs" in shown


def test_every_command_and_option_is_there():
    shown, _ = groff(man.page())
    for command in commands():
        assert f"coser {command.name} {command.usage}" in shown
        for panel in command.panels:
            for parameter in panel.parameters:
                assert ", ".join(parameter.names) in shown
                assert parameter.variable in shown
    for heading in ("FILES", "STREAMS", "PAGES", "SETTINGS", "EXIT CODES", "EXAMPLES"):
        assert f"\n{heading}\n" in shown


def body(markdown):
    shown, warnings = groff("\n".join(['.TH X 1 "" ""', ".SH X", *from_markdown(markdown)]) + "\n")
    assert warnings == ""
    return shown


def test_paragraphs_lists_code_and_tables():
    shown = body(
        "One `--code` and **bold** [link](x.md).\n\n- first\n  goes on\n- second\n\n"
        "```sh\n.dot 'q' \\n -x\n\n  deep\n```\n\n| a | b |\n|---|---|\n| `x\\|y` | why |\n"
    )
    assert "One --code and bold link." in shown
    assert "• first goes on" in shown
    assert ".dot 'q' \\n -x\n\n" in shown
    assert "  deep\n" in shown
    assert "x|y" in shown and "why" in shown


def test_a_table_of_three_columns_is_refused():
    with pytest.raises(ValueError, match="3 columns"):
        list(from_markdown("| a | b | c |\n|---|---|---|\n| 1 | 2 | 3 |\n"))


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"])))
def test_escaped_text_is_ascii_and_no_request(text):
    made = line(inline(text))
    assert made.isascii()
    assert not made.startswith((".", "'"))


def test_letters_with_a_meaning_in_roff_are_shown_as_they_are():
    text = r".\fB'x' `y` ^ ~ - -- \e \" × – ä €"
    shown, warnings = groff(f'.TH X 1 "" ""\n.SH X\n{line(escaped(text))}\n')
    assert warnings == ""
    assert text in shown


def test_the_wheel_brings_the_page():
    import tomllib

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    shared = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    assert shared == {"docs/coser.1": "share/man/man1/coser.1"}
