"""Names and paths that are too long fail their own picture, before anything is computed."""

import os
from pathlib import Path

import pytest
from PIL import Image

from coser_cli.batch.dry_run import plans
from coser_cli.batch.jobs import plan
from coser_cli.batch.lengths import is_short, require_short
from coser_cli.batch.pipeline import run_in_process
from coser_cli.errors import InputError
from coser_cli.settings import Settings
from tests.toy_work import toy_work

pytestmark = pytest.mark.skipif(not hasattr(os, "pathconf"), reason="the system names no limits")


@pytest.fixture
def name_max(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return os.pathconf(".", "PC_NAME_MAX")


def never():
    raise AssertionError("the model was loaded")


@pytest.mark.parametrize("letter", ["a", "é", "写"])
def test_bytes_count_and_the_longest_name_is_none_too_many(name_max, letter):
    size = len(letter.encode())
    longest = letter * ((name_max - 4) // size)
    longest += "b" * (name_max - 4 - len(longest.encode())) + ".png"
    require_short(Path(longest))
    Path(longest).write_bytes(b"")
    with pytest.raises(
        InputError, match=rf"its name is too long: {name_max + 1} bytes, and at most"
    ):
        require_short(Path("b" + longest))


def test_the_longest_path(name_max):
    most = os.pathconf(".", "PC_PATH_MAX")
    folder = "/".join(["d" * 99] * (most // 100 + 1))
    assert is_short(Path(folder[: most - 250]) / "a.png")
    with pytest.raises(InputError, match=r"its path is too long: .* bytes.*shorter path with -o"):
        require_short(Path(folder) / "a.png")


def test_a_folder_of_the_path(name_max):
    with pytest.raises(InputError, match="the name of the folder"):
        require_short(Path("d" * (name_max + 1)) / "a.png")


def pictures(name_max):
    """Names of three pictures; that of the second leaves no room for an ending."""
    names = ("a.png", "b" * (name_max - 4) + ".png", "c.png")
    for name in names:
        Image.new("RGB", (5, 4), "red").save(name)
    return [Path(name) for name in names]


KINDS = {
    "result": {},
    "comparison": {"compare": True, "ending": "_4x_compare"},
    "saved reference": {"save_reference": "", "ending": "_4x_reference"},
    "reference": {"kind": "reference", "ending": "_reference"},
    "several references": {"kind": "reference", "references": 2, "ending": "_reference-1"},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("output", [None, "out/"])
def test_only_that_picture_fails_and_nothing_is_computed(name_max, kind, output):
    options = dict(KINDS[kind])
    ending = options.pop("ending", "_4x")
    name = "b" * (name_max - 4 - len(ending) + 1)
    Image.new("RGB", (5, 4), "red").save(f"{name}.png")
    (job,) = plan([Path(f"{name}.png")], output, **options)
    (result,) = run_in_process([job], never, toy_work(Settings()))
    assert result.status == "failed"
    words = str(result.error)
    assert f"bytes, and at most {name_max} are possible; " in words
    assert "--name" in words
    assert "\n" not in words
    (same,) = plans([job], lambda: None, toy_work(Settings()))
    assert str(same.error) == words


def test_the_others_are_done(name_max):
    jobs = plan(pictures(name_max), "out/")
    dry = [each.error is None for each in plans(jobs, lambda: None, toy_work(Settings()))]
    assert dry == [True, False, True]


def test_a_folder_that_is_too_long_is_left_to_its_pictures(name_max):
    jobs = plan(pictures(name_max)[:1], f"{'d' * (name_max + 1)}/")
    (result,) = run_in_process(jobs, never, toy_work(Settings()))
    assert "the name of the folder" in str(result.error)
