"""The batch with an upscaler that fails in chosen ways; pictures and files are real."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.batch.jobs import Job, plan
from coser_cli.batch.pipeline import run_in_process
from coser_cli.batch.results import Tally
from coser_cli.engine.reference import Candidates
from coser_cli.engine.upscaler import Upscaled
from coser_cli.errors import DeviceError, Exit, InputError, UsageError, WeightsError
from coser_cli.settings import Settings
from coser_cli.size import Size
from tests.toy_work import InMemory, toy_work


class Repeating(InMemory):
    """Enlarges by repeating pixels; raises or spoils what `faults` says for the n-th picture."""

    def __init__(self, faults=None):
        self.faults = faults or {}
        self.calls = 0

    def upscale(self, pixels, settings=None, *, on_progress=None, want_reference=False, **_):
        self.calls += 1
        fault = self.faults.get(self.calls)
        if isinstance(fault, BaseException):
            raise fault
        scale = int(settings.scale)
        large = pixels.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        if fault == "nan":
            large[0, 0, 0, 0] = float("nan")
        on_progress("decode", 1, 1)
        return Upscaled(large, large.flip(-1) if want_reference else None)

    def candidates(self, pixels, settings=None, on_progress=None):
        count = settings.references
        pictures = torch.cat([pixels.flip(-1)] + [1 - pixels] * (count - 1))
        return Candidates(pictures, (0.5,) * count if count > 1 else None)


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """Three picture files in the current folder."""
    monkeypatch.chdir(tmp_path)
    for index, name in enumerate(("a.png", "b.png", "c.png")):
        Image.new("RGB", (5, 4), (index * 50, 100, 200)).save(name)
    return [Path("a.png"), Path("b.png"), Path("c.png")]


def work(pictures, enlarger, scale=2.0, **options):
    jobs = plan(pictures, None, scale=scale)
    return list(run_in_process(jobs, lambda: enlarger, toy_work(Settings(scale=scale), **options)))


def test_pixels_arrive_unchanged(pictures):
    results = work(pictures, Repeating())
    assert [result.status for result in results] == ["done"] * 3
    assert results[1].source_size == Size(4, 5)
    assert results[1].target_size == Size(8, 10)
    assert np.asarray(Image.open("b_2x.png"))[7, 9].tolist() == [50, 100, 200]


@pytest.mark.parametrize(
    ("fault", "words", "code"),
    [
        ("nan", "not a number", Exit.FAILED),
        (RuntimeError("shapes differ"), "this is a bug in coser", Exit.FAILED),
        (ValueError("odd"), "this is a bug in coser", Exit.FAILED),
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory", Exit.DEVICE),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory", Exit.DEVICE),
        (MemoryError(), "out of memory", Exit.FAILED),
        (RuntimeError("can't start new thread"), "out of memory", Exit.FAILED),
        (DeviceError("needs 9 GiB"), "needs 9 GiB", Exit.DEVICE),
        (InputError("too odd"), "too odd", Exit.FAILED),
        (OSError(28, "No space left on device"), "no space left", Exit.FAILED),
    ],
)
def test_a_fault_stays_with_its_picture(pictures, fault, words, code):
    results = work(pictures, Repeating({2: fault}))
    assert [result.status for result in results] == ["done", "failed", "done"]
    error = results[1].error
    assert error.exit_code == code
    assert words in str(error)
    assert "'b.png'" in str(error)
    assert "\n" not in str(error)
    assert sorted(os.listdir()) == ["a.png", "a_2x.png", "b.png", "c.png", "c_2x.png"]


@pytest.mark.parametrize("error", [WeightsError("gone"), UsageError("no such prompt")])
def test_what_would_fail_every_picture_ends_the_batch(pictures, error):
    with pytest.raises(type(error)):
        work(pictures, Repeating({1: error}))


@pytest.mark.parametrize("error", [WeightsError("gone"), DeviceError("no cuda")])
def test_load_is_needed_once_and_its_failure_ends_the_batch(pictures, error):
    loads = []

    def load():
        loads.append(1)
        raise error

    with pytest.raises(type(error)):
        list(run_in_process(plan(pictures, None, scale=2), load, toy_work()))
    assert loads == [1]


def test_nothing_is_loaded_where_nothing_can_be_done(pictures):
    def load():
        raise AssertionError("not needed")

    Image.new("RGB", (1, 1)).save("a_2x.png")
    jobs = plan([pictures[0], Path("missing.png")], None, scale=2)
    results = list(run_in_process(jobs, load, toy_work()))
    assert [result.status for result in results] == ["skipped", "failed"]


def test_a_bug_shows_itself_when_asked(pictures, monkeypatch):
    monkeypatch.setenv("COSER_DEBUG", "1")
    with pytest.raises(ValueError, match="odd"):
        work(pictures, Repeating({1: ValueError("odd")}))


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], Exit.OK),
        ([None, None], Exit.OK),
        ([None, InputError("x")], Exit.FAILED),
        ([None, DeviceError("x")], Exit.FAILED),
        ([DeviceError("x"), DeviceError("x")], Exit.DEVICE),
        ([DeviceError("x"), InputError("x")], Exit.FAILED),
    ],
)
def test_exit_code_of_a_batch(pictures, statuses, code):
    faults = {index + 1: fault for index, fault in enumerate(statuses) if fault}
    tally = Tally()
    for result in work(pictures[: len(statuses)], Repeating(faults)):
        tally.add(result)
    assert tally.exit_code == code
    assert tally.done + tally.failed == len(statuses)


def test_reference_kind(pictures):
    jobs = plan(pictures[:1], "out", scale=1, kind="reference")
    assert jobs == [Job(Path("a.png"), Path("out/a_reference.png"), kind="reference")]
    results = list(run_in_process(jobs, Repeating, toy_work(Settings(scale=1))))
    assert results[0].status == "done"
    assert Path("out/a_reference.png").exists()


def test_folder_without_permission_is_known_before_the_work(pictures, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    enlarger = Repeating()
    (result,) = work(pictures[:1], enlarger)
    assert "permission denied" in str(result.error)
    assert enlarger.calls == 0


def test_dangling_link_counts_as_existing(pictures):
    Path("a_2x.png").symlink_to("nowhere.png")
    (result,) = work(pictures[:1], Repeating())
    assert result.status == "skipped"
    (result,) = work(pictures[:1], Repeating(), overwrite=True)
    assert result.status == "done"
    assert not Path("nowhere.png").exists()
