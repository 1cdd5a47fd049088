"""Reading ahead, writing behind, and small pictures in batches: as one after the other."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from coser_cli.batch import pipeline
from coser_cli.batch.events import Started
from coser_cli.batch.jobs import Job
from coser_cli.batch.pipeline import run_in_process
from coser_cli.engine.upscaler import Upscaled
from coser_cli.errors import InputError, WeightsError
from coser_cli.imageio import read, write
from coser_cli.settings import Settings
from tests.toy_work import InMemory, toy_work


class Doubling(InMemory):
    """Repeats pixels; `before(n)` is called before the n-th call."""

    def __init__(self, before=lambda number: None, limit=1):
        self.before, self.limit, self.batches = before, limit, []

    def upscale(self, pixels, settings=None, *, on_progress=None, want_reference=False, **_):
        self.batches.append(len(pixels))
        self.before(len(self.batches))
        return Upscaled(pixels.repeat_interleave(2, 2).repeat_interleave(2, 3))


def jobs_in(folder, sizes):
    """A job per size, each picture of random pixels of its own."""
    made = []
    for index, (width, height) in enumerate(sizes):
        values = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
        source = folder / f"{index}.png"
        Image.fromarray(values).save(source)
        made.append(Job(source, folder / f"{index}_2x.png"))
    return made


def until(condition):
    """Whether it comes true in time."""
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_next_pictures_are_read_while_one_is_made(tmp_path, monkeypatch):
    seen = []
    original = read.read_photo
    monkeypatch.setattr(
        read, "read_photo", lambda path, **more: (seen.append(path), original(path, **more))[1]
    )
    ahead = []
    enlarger = Doubling(lambda number: ahead.append(until(lambda: len(seen) >= 2)))
    results = list(run_in_process(jobs_in(tmp_path, [(4, 3)] * 3), lambda: enlarger, toy_work()))
    assert [result.status for result in results] == ["done"] * 3
    assert ahead[0]


def test_finished_pictures_are_written_while_the_next_is_made(tmp_path, monkeypatch):
    second = threading.Event()
    waited = []
    original = write.write_photo

    def write_photo(path, *more):
        waited.append(second.wait(10))
        original(path, *more)

    monkeypatch.setattr(write, "write_photo", write_photo)
    enlarger = Doubling(lambda number: second.set() if number == 2 else None)
    results = list(run_in_process(jobs_in(tmp_path, [(4, 3)] * 2), lambda: enlarger, toy_work()))
    assert [result.status for result in results] == ["done"] * 2
    assert waited == [True, True]


def test_one_job_needs_no_threads(tmp_path):
    names = []
    enlarger = Doubling(lambda number: names.extend(t.name for t in threading.enumerate()))
    list(run_in_process(jobs_in(tmp_path, [(4, 3)]), lambda: enlarger, toy_work()))
    assert names
    assert not any(name.startswith("coser") for name in names)


def test_what_is_read_ahead_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "AHEAD_BYTES", 2 * 4 * 3 * pipeline.PIXEL_BYTES)
    seen = []
    original = read.read_photo
    monkeypatch.setattr(
        read, "read_photo", lambda path, **more: (seen.append(path), original(path, **more))[1]
    )
    most = []

    def before(number):
        assert until(lambda: len(seen) >= min(number + 2, len(jobs)))
        time.sleep(0.05)
        most.append(len(seen) - number)

    jobs = jobs_in(tmp_path, [(4, 3)] * 6)
    assert len(list(run_in_process(jobs, lambda: Doubling(before), toy_work()))) == 6
    assert max(most) == 2


def test_pictures_too_large_to_wait_are_read_in_their_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "AHEAD_BYTES", 1)
    monkeypatch.setattr(pipeline, "BEHIND_BYTES", 1)
    results = list(run_in_process(jobs_in(tmp_path, [(4, 3)] * 4), Doubling, toy_work()))
    assert [result.status for result in results] == ["done"] * 4


def test_each_error_belongs_to_its_own_job_and_order_is_kept(tmp_path, monkeypatch):
    jobs = jobs_in(tmp_path, [(4, 3)] * 6)
    jobs[1].source.write_bytes(b"no picture")
    jobs[3].target.write_bytes(b"is there")
    original = write.write_photo

    def write_photo(path, *more):
        if path == jobs[4].target:
            raise InputError(f"cannot write '{path}'")
        time.sleep(0.05 if path == jobs[0].target else 0)
        original(path, *more)

    monkeypatch.setattr(write, "write_photo", write_photo)
    events = []
    results = list(run_in_process(jobs, Doubling, toy_work(), events.append))
    assert [result.job for result in results] == jobs
    assert [event.job for event in events if isinstance(event, Started)] == jobs
    statuses = [result.status for result in results]
    assert statuses == ["done", "failed", "done", "skipped", "failed", "done"]
    assert "cannot write" in str(results[4].error)
    assert all(result.seconds > 0 for result in results)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), WeightsError("gone")])
def test_what_is_made_is_told_before_the_run_ends(tmp_path, error):
    jobs = jobs_in(tmp_path, [(4, 3)] * 5)

    def before(number):
        if number == 3:
            raise error

    told = []
    with pytest.raises(type(error)):
        for result in run_in_process(jobs, lambda: Doubling(before), toy_work()):
            told.append(result.job)
    assert told == jobs[:2]
    outputs = sorted(name for name in os.listdir(tmp_path) if "_2x" in name)
    assert outputs == ["0_2x.png", "1_2x.png"]
    assert not any(thread.name.startswith("coser") for thread in threading.enumerate())
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_who_stops_asking_still_gets_what_is_made(tmp_path):
    jobs = jobs_in(tmp_path, [(4, 3)] * 5)
    results = run_in_process(jobs, Doubling, toy_work())
    assert next(results).job == jobs[0]
    results.close()
    assert jobs[0].target.exists()
    assert not any(thread.name.startswith("coser") for thread in threading.enumerate())


def test_batches_are_of_one_size_and_as_long_as_asked(tmp_path):
    sizes = [(4, 3), (3, 4), (4, 3), (3, 4), (4, 3), (5, 5)]
    enlarger = Doubling(limit=3)
    results = list(
        run_in_process(jobs_in(tmp_path, sizes), lambda: enlarger, toy_work(batch_size=None))
    )
    assert [result.status for result in results] == ["done"] * 6
    assert enlarger.batches == [3, 2, 1]
    enlarger = Doubling(limit=3)
    list(
        run_in_process(
            jobs_in(tmp_path, sizes), lambda: enlarger, toy_work(batch_size=2, overwrite=True)
        )
    )
    assert sorted(enlarger.batches) == [1, 1, 2, 2]


def test_a_batch_that_fails_is_made_one_by_one(tmp_path):
    class Weak(Doubling):
        def upscale(self, pixels, *more, **options):
            if len(pixels) > 1:
                self.batches.append(len(pixels))
                raise RuntimeError("CUDA out of memory")
            made = super().upscale(pixels, *more, **options)
            if len(self.batches) == 3:
                raise ValueError("odd")
            return made

    enlarger = Weak(limit=4)
    jobs = jobs_in(tmp_path, [(4, 3)] * 4)
    results = list(run_in_process(jobs, lambda: enlarger, toy_work(batch_size=None)))
    assert [result.status for result in results] == ["done", "failed", "done", "done"]
    assert enlarger.batches == [4, 1, 1, 1, 1]
    assert results[0].notes == ("made by itself, as a batch of 4 failed",)


def photos(count, height=10, width=12, seed=0):
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sampler", ["ddpm", "dpmpp-2m-sde"])
@pytest.mark.parametrize("references", [1, 2])
def test_a_batch_is_its_pictures(upscaler, sampler, references):
    """Two pictures at once are each what it is alone, and so are their references."""
    how = Settings(scale=2.0, steps=2, sampler=sampler, references=references)
    pixels = photos(3)
    together = upscaler.upscale(pixels, how, want_reference=True)
    for index in range(3):
        alone = upscaler.upscale(pixels[index : index + 1], how, want_reference=True)
        assert torch.allclose(together.pixels[index : index + 1], alone.pixels, atol=1e-5)
        assert torch.allclose(together.reference[index::3], alone.reference, atol=1e-5)


def test_given_references_serve_every_picture_of_a_batch(upscaler):
    how = Settings(scale=2.0, steps=2)
    pixels, given = photos(2), [photos(1, 20, 24, 5), photos(1, 30, 30, 6)]
    together = upscaler.upscale(pixels, how, references=given)
    for index in range(2):
        alone = upscaler.upscale(pixels[index : index + 1], how, references=given)
        assert torch.allclose(together.pixels[index : index + 1], alone.pixels, atol=1e-5)


def test_pictures_of_a_batch_cannot_choose(upscaler):
    how = Settings(scale=2.0, steps=2, references=2, reference_select="clip")
    with pytest.raises(InputError, match="2 pictures at once"):
        upscaler.upscale(photos(2), how)
    with pytest.raises(InputError, match="2 pictures at once"):
        upscaler.candidates(photos(2), how)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.sampled_from([(6, 5), (5, 6), (8, 8)]), min_size=2, max_size=5),
    batch=st.integers(2, 4),
    data=st.data(),
)
def test_batch_size_and_order_change_nothing(upscaler, tmp_path_factory, sizes, batch, data):
    folder = tmp_path_factory.mktemp("batch")
    jobs = jobs_in(folder, sizes)
    how = Settings(scale=2.0, steps=1, sampler="ddim")

    def made(some, size):
        results = list(
            run_in_process(some, lambda: upscaler, toy_work(how, batch_size=size, overwrite=True))
        )
        assert [result.job for result in results] == some
        assert all(result.status == "done" and not result.notes for result in results)
        return {job: np.asarray(Image.open(job.target)).astype(int) for job in some}

    wanted = made(jobs, 1)
    for some in (jobs, data.draw(st.permutations(jobs))):
        found = made(some, batch)
        # torch may add up a batch in another order, which can round a value the other way
        assert all(np.abs(found[job] - wanted[job]).max() <= 1 for job in jobs)


def test_paths_are_what_they_were(tmp_path):
    """Jobs with names that are no texts for messages go through, too."""
    source = tmp_path / "line\nbreak.png"
    Image.new("RGB", (3, 2)).save(source)
    jobs = [Job(source, tmp_path / "a.png"), Job(Path("nowhere.png"), tmp_path / "b.png")]
    results = list(run_in_process(jobs, Doubling, toy_work()))
    assert [result.status for result in results] == ["done", "failed"]
