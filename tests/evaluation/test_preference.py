"""Counting of exported choices."""

import json

import pytest

from coser_cli.errors import UsageError
from coser_cli.evaluation.preference import read_sessions, tally


def export(path, votes, session="a", study="s", **more):
    """A file as the page saves it; votes are (left, right, choice)."""
    choices = [
        {"picture": f"p{index}", "left": left, "right": right, "choice": choice, "seconds": 1}
        for index, (left, right, choice) in enumerate(votes)
    ]
    head = {"type": "coser-study", "version": 1, "study": study, "session": session}
    path.write_text(json.dumps({**head, "participant": "", "choices": choices} | more))
    return path


def test_sides_do_not_matter(tmp_path):
    votes = [("x", "y", "left"), ("y", "x", "right"), ("y", "x", "left"), ("x", "y", "equal")]
    (found,) = tally(read_sessions([export(tmp_path / "a.json", votes)]))
    assert (found.first, found.second) == ("x", "y")
    assert (found.wins, found.losses, found.equal) == (2, 1, 1)
    assert found.share == pytest.approx(2 / 3)
    assert found.interval[0] < 2 / 3 < found.interval[1]


def test_three_methods_and_two_people(tmp_path):
    files = [
        export(tmp_path / "a.json", [("x", "y", "left"), ("z", "x", "left")], "a"),
        export(tmp_path / "b.json", [("x", "y", "right"), ("y", "z", "equal")], "b"),
    ]
    found = tally(read_sessions(files))
    assert [(each.first, each.second, each.wins, each.losses, each.equal) for each in found] == [
        ("x", "y", 1, 1, 0),
        ("x", "z", 0, 1, 0),
        ("y", "z", 0, 0, 1),
    ]
    assert (found[2].share, found[2].interval) == (None, None)


def test_a_session_that_was_saved_twice_counts_once(tmp_path):
    files = [
        export(tmp_path / "a.json", [("x", "y", "left")]),
        export(tmp_path / "b.json", [("x", "y", "left"), ("x", "y", "left")]),
    ]
    assert tally(read_sessions(files))[0].wins == 2
    assert tally(read_sessions(files[::-1]))[0].wins == 2


def test_other_studies_are_not_mixed(tmp_path):
    files = [
        export(tmp_path / "a.json", [("x", "y", "left")]),
        export(tmp_path / "b.json", [("x", "y", "left")], "b", study="t"),
    ]
    with pytest.raises(UsageError, match=r"b\.json' belongs to another study"):
        read_sessions(files)


@pytest.mark.parametrize(
    "text",
    ["no JSON", "[]", "{}", '{"type": "coser-study", "version": 2}', "\xff",
     '{"type": "coser-study", "version": 1, "study": "s", "session": "a", "participant": ""}',
     '{"type": "coser-study", "version": 1, "study": "s", "session": "a", "participant": "",'
     ' "choices": [{"picture": "p", "left": "x", "right": "x", "choice": "left"}]}',
     '{"type": "coser-study", "version": 1, "study": "s", "session": "a", "participant": "",'
     ' "choices": [{"picture": "p", "left": "x", "right": "y", "choice": "up"}]}'],
)  # fmt: skip
def test_files_that_are_none(tmp_path, text):
    path = tmp_path / "odd.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"odd\.json' has no choices of a study"):
        read_sessions([path])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_sessions([tmp_path / "none.json"])
