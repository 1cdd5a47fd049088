"""The README and `docs/installation.md`: every line of theirs that calls the program runs."""

import re
import subprocess
from pathlib import Path

import pytest

import coser_cli

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")
PAGES = ("README.md", "docs/installation.md")


def program_lines(page):
    """The commands that call the program; what installs it is what `.ci/run` does."""
    blocks = BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    lines = [
        line.split(" && ")[-1].split("  #")[0].strip()
        for text in blocks
        for line in text.splitlines()
    ]
    return [line for line in lines if line.startswith("coser ")]


LINES = [(page, line) for page in PAGES for line in program_lines(page)]


def test_the_readme_is_one_screen():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 70
    assert len([line for page, line in LINES if page == "README.md"]) == 7


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in LINK.findall(text):
        file = (ROOT / page).parent / target
        if target.startswith("coser_cli/"):  # where the package is installed, not beside the tests
            file = Path(coser_cli.__file__).parent / target.removeprefix("coser_cli/")
        assert file.exists(), target


def test_extras_are_those_of_the_package():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    table = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    assert named == set(re.findall(r"^(\w+) = \[", table, re.MULTILINE)) - {"test"}


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line"), LINES, ids=[line for _, line in LINES])
def test_line(page, line, coser, environment):
    if "photo_4x.png" in line:
        assert coser("photo.jpg").code == 0
    line = line.replace("4000", "48")  # the photos of the tests are tiny
    ran = subprocess.run(
        ["bash", "-e", "-c", f"{line}\n:"],  # a shell of its own, which completion looks for
        cwd=coser.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout
