"""What is known of a batch: logs of several runs, logs that are odd, folders without a log."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coser_cli.errors import UsageError
from coser_cli.pages.batch_log import Entry, find_logs, find_pictures, read_batch, read_records
from coser_cli.pages.report import report_page
from coser_cli.size import Size


def image(name, status="done", **more):
    base = {"type": "image", "source": f"{name}.jpg", "target": f"{name}_4x.png", "status": status}
    return base | {"seconds": 2.5, "source_size": [4, 3], "width": 16, "height": 12} | more


def summary(**more):
    return {"type": "summary", "version": 1, "status": "success", "seconds": 10.0} | more


@pytest.fixture
def log(tmp_path, monkeypatch):
    """`log(*records, name)`: a log in the current folder; text is written as it is."""
    monkeypatch.chdir(tmp_path)

    def write(*records, name="log.jsonl"):
        lines = [each if isinstance(each, str) else json.dumps(each) for each in records]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", errors="surrogateescape")
        return path

    return write


def test_a_record_says_everything(log, tmp_path):
    error = {"code": "failed", "message": "cannot read", "hint": "copy it again"}
    path = log(image("a"), image("b", "failed", error=error, notes=["odd"]), summary())
    batch = read_batch(tmp_path, [path])
    first, second = batch.entries
    assert first == Entry(Path("a.jpg"), Path("a_4x.png"), "done", 2.5, Size(3, 4), Size(12, 16))
    assert second.error == "cannot read; copy it again"
    assert second.notes == ("odd",)
    assert (batch.runs, batch.run_seconds, batch.interrupted) == (1, 10.0, False)


def test_the_last_record_of_a_target_counts(log, tmp_path):
    path = log(
        *(image("a", "failed"), image("b"), image("c"), summary(status="interrupted")),
        *(image("a", seconds=7), image("b", "skipped", seconds=0), image("c", "failed"), summary()),
    )
    batch = read_batch(tmp_path, [path])
    found = {entry.name: (entry.status, entry.seconds) for entry in batch.entries}
    assert found == {"a.jpg": ("done", 7), "b.jpg": ("done", 2.5), "c.jpg": ("failed", 2.5)}
    assert batch.runs == 2
    assert not batch.interrupted


def test_skipped_alone_is_skipped(log, tmp_path):
    batch = read_batch(tmp_path, [log(image("a", "skipped"))])
    assert batch.entries[0].status == "skipped"


def test_an_interrupted_last_run_is_told(log, tmp_path):
    assert read_batch(tmp_path, [log(image("a"), summary(status="interrupted"))]).interrupted


def test_lines_that_are_no_records_are_counted(log, tmp_path):
    path = log(
        "", "model: mini", "[1]", '{"type": "image"', image("a"), '{"type": "info"}', "\ud8ff"[:0]
    )
    records, unknown = read_records(path)
    assert unknown == 3
    assert [record["type"] for record in records] == ["image", "info"]
    batch = read_batch(tmp_path, [path])
    assert [entry.name for entry in batch.entries] == ["a.jpg"]
    assert batch.unknown_lines == 3


ODD = (
    None,
    True,
    -1,
    0,
    3,
    1e400,
    float("nan"),
    2.5,
    "",
    "a",
    "a\0b",
    "\udcff",
    "x" * 5000,
    {},
    [],
)
ODD_LISTS = ([1], [0, 3], [2, "a"], [None, None], [4, 3], {"message": 3}, {"hint": None})
KEYS = ("source", "target", "status", "seconds", "source_size", "width", "height", "notes", "error")


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, st.sampled_from(ODD + ODD_LISTS))))
def test_any_record_becomes_an_entry(tmp_path_factory, record):
    folder = tmp_path_factory.mktemp("any")
    path = folder / "log.jsonl"
    path.write_text(json.dumps({"type": "image"} | record))
    batch = read_batch(folder, [path])
    (entry,) = batch.entries
    report_page(batch, folder, folder / "report.html", 64)
    assert isinstance(entry.status, str)
    for size in (entry.source_size, entry.target_size):
        assert size is None or size.short_side > 0


def test_a_log_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        read_batch(tmp_path, [tmp_path / "none.jsonl"])


def test_names_are_found_from_elsewhere(log, tmp_path, picture, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    source, target = picture("a.jpg"), picture("out/a_4x.png")
    path = log(image("a", target="out/a_4x.png"), name="out/log.jsonl")
    for where in (tmp_path, tmp_path / "out", tmp_path / "elsewhere"):
        monkeypatch.chdir(where)
        (entry,) = read_batch(tmp_path / "out", [path]).entries
        assert entry.source.resolve() == source
        assert entry.target.resolve() == target


def test_another_picture_of_the_name_is_not_taken(log, tmp_path, picture, monkeypatch):
    """Source and target belong to one run: the folder that has both goes first."""
    (tmp_path / "run").mkdir()
    picture("a.jpg")
    source, target = picture("run/a.jpg"), picture("run/a_4x.png")
    path = log(image("a"), name="run/log.jsonl")
    (entry,) = read_batch(tmp_path / "run", [path]).entries
    assert (entry.source.resolve(), entry.target.resolve()) == (source, target)


def test_folder_without_a_log(tmp_path, picture):
    names = ("a.jpg", "a_4x.png", "a_4x_compare.png", "a_4x_reference.png", "a_reference-2.png")
    for name in (*names, "b_2.5x.png", "c.tif", "notes_x.png"):
        picture(name)
    (tmp_path / "text.txt").write_text("no picture")
    entries = read_batch(tmp_path, []).entries
    assert [
        (entry.source and entry.source.name, entry.target and entry.target.name)
        for entry in entries
    ] == [
        ("a.jpg", "a_4x.png"),
        (None, "b_2.5x.png"),
        ("c.tif", None),
        ("notes_x.png", None),
    ]
    assert {entry.status for entry in entries} == {"found"}


def test_results_that_carry_a_record_are_known_by_it(log, tmp_path, picture):
    from coser_cli.imageio.write import write_photo

    picture("odd name.jpg")
    pixels = np.zeros((3, 4, 4), dtype=np.float32)
    record = {"coser_record": 1, "role": "result", "input": {"name": "odd name.jpg"}}
    for name, more in (("a.png", {}), ("b.png", {"input": 5}), ("c.png", {"role": "odd"})):
        write_photo(tmp_path / name, pixels, record=record | more)
    entries = {entry.target or entry.source: entry for entry in read_batch(tmp_path, []).entries}
    assert entries.pop(tmp_path / "a.png") == Entry(
        tmp_path / "odd name.jpg", tmp_path / "a.png", "done"
    )
    assert entries.pop(tmp_path / "b.png") == Entry(None, tmp_path / "b.png", "done")
    assert entries == {tmp_path / "c.png": Entry(tmp_path / "c.png", None)}


def test_pictures_of_a_log_are_not_found_again(log, tmp_path, picture):
    for name in ("a.jpg", "a_4x.png", "b.jpg", "b_4x.png"):
        picture(name)
    path = log(image("a"), image("gone"))
    names = [(entry.name, entry.status) for entry in read_batch(tmp_path, [path]).entries]
    assert names == [("a.jpg", "done"), ("gone.jpg", "done"), ("b.jpg", "found")]


def test_folders_below_only_when_asked(tmp_path, picture):
    (tmp_path / "deep").mkdir()
    picture("a.png")
    picture("deep/b.PNG")
    assert [path.name for path in find_pictures(tmp_path)] == ["a.png"]
    assert [path.name for path in find_pictures(tmp_path, recursive=True)] == ["a.png", "b.PNG"]


def test_logs_come_in_the_order_of_their_times(log, tmp_path):
    import os

    new, old = log(name="a.jsonl"), log(name="b.jsonl")
    os.utime(old, (1, 1))
    assert find_logs(tmp_path) == [old, new]


def test_runs_that_only_skipped_made_nothing(log, tmp_path):
    path = log(image("a"), summary(done=1), image("a", "skipped"), summary(done=0, seconds=3.0))
    batch = read_batch(tmp_path, [path])
    assert (batch.runs, batch.run_seconds) == (1, 10.0)
    assert batch.entries[0].seconds == 2.5


def test_how_a_result_was_made_is_read_from_its_file(log, tmp_path):
    from coser_cli.imageio.write import write_photo

    pixels = np.zeros((3, 4, 4), dtype=np.float32)
    record = {
        "coser_record": 1,
        "program": "coser 1",
        "model": {"name": "mini", "weights": "abc"},
        "compute": {"device": "cpu", "dtype": "float32"},
        "settings": {"scale": 4.0, "steps": None, "prompt": "", "guidance_interval": [0, 0.5]},
    }
    write_photo(tmp_path / "a_4x.png", pixels, record=record)
    write_photo(tmp_path / "b_4x.png", pixels, record={"model": 3, "settings": [1]})
    path = log(image("a"), image("b"), image("c"))
    made = [entry.facts for entry in read_batch(tmp_path, [path]).entries]
    assert made == [
        {
            **{"model": "mini", "device": "cpu", "dtype": "float32", "program": "coser 1"},
            **{"scale": "4", "guidance interval": "0 to 0.5"},
        },
        {},
        {},
    ]
