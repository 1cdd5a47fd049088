"""Rows across runs: kept, found again, and never mixed with those of other subjects."""

import json
from dataclasses import replace

import pytest

from coser_cli.errors import UsageError
from coser_cli.evaluation.row_store import Row, RowStore, Subject
from coser_cli.evaluation.settings_grid import Evaluations
from coser_cli.settings import Settings

SUBJECT = Subject("toy", "aa", "bb", "cpu", "float32")


@pytest.fixture
def config(upscaler):
    return upscaler.model.config


@pytest.fixture
def row(config):
    settings = Settings(steps=3, guidance_interval=(0.2, 0.8)).resolve(config)
    metrics = {"st_lpips": (0.1, 1 / 3), "psnr_y": (20.0, 21.5)}
    return Row(settings, metrics, Evaluations(4, 5, 6), 1.25)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "rows.jsonl"


def test_rows_come_back_as_they_were(config, row, file):
    other = replace(row, settings=replace(row.settings, seed=9))
    store = RowStore(SUBJECT, config, file)
    store.add(row)
    store.add(other)
    found = RowStore(SUBJECT, config, file).rows
    assert found == {row.settings: row, other.settings: other}


@pytest.mark.parametrize("field", ["model", "weights", "pictures", "device", "dtype"])
def test_rows_of_other_subjects_are_left_alone(config, row, file, field):
    RowStore(SUBJECT, config, file).add(row)
    before = file.read_bytes()
    other = RowStore(replace(SUBJECT, **{field: "other"}), config, file)
    assert other.rows == {}
    other.add(row)
    assert file.read_bytes().startswith(before)
    assert RowStore(SUBJECT, config, file).rows == {row.settings: row}


@pytest.mark.parametrize("length", [1, 40])
def test_a_line_that_was_cut_off_is_measured_again(config, row, file, length):
    RowStore(SUBJECT, config, file).add(row)
    whole = file.read_bytes()
    file.write_bytes(whole + whole[:length])
    store = RowStore(SUBJECT, config, file)
    assert store.rows == {row.settings: row}
    second = replace(row, settings=replace(row.settings, seed=1))
    store.add(second)
    assert file.read_bytes().startswith(whole + whole[:length] + b"\n")
    assert json.loads(file.read_text().splitlines()[2])["settings"]["seed"] == 1
    assert RowStore(SUBJECT, config, file).rows == {row.settings: row, second.settings: second}


def test_settings_that_did_not_exist_yet_have_their_defaults(config, row, file):
    RowStore(SUBJECT, config, file).add(row)
    record = json.loads(file.read_text())
    del record["settings"]["preset"]
    file.write_text(json.dumps(record) + "\n")
    assert RowStore(SUBJECT, config, file).rows == {row.settings: row}
    record["settings"]["magic"] = 1  # of a later version: another setting
    file.write_text(json.dumps(record) + "\n")
    assert RowStore(SUBJECT, config, file).rows == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"type": "image"}\n', "line 1: no row"),
        ("[1]\n", "line 1: no row"),
        ('{"type": "quality"\n{}\n', "line 2: no row"),
        ("quality\n", "line 1: not JSON"),
        ("\xe9", "not text"),
    ],
)
def test_other_files_are_refused(config, file, text, message):
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=message):
        RowStore(SUBJECT, config, file)


def test_a_file_that_cannot_be_written(config, row, tmp_path):
    store = RowStore(SUBJECT, config, tmp_path / "none" / "rows.jsonl")
    with pytest.raises(UsageError, match=r"cannot write .*no such file"):
        store.add(row)
