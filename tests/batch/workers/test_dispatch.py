"""Jobs over several workers: order, deaths, devices and a local Ray cluster."""

import os
import signal
from collections import deque
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coser_cli.batch.events import Advanced, Started
from coser_cli.batch.jobs import Job
from coser_cli.batch.load import loader
from coser_cli.batch.pipeline import run_in_process
from coser_cli.batch.results import Result
from coser_cli.batch.workers.dispatch import ATTEMPTS, Lost, dispatch
from coser_cli.batch.workers.processes import DeviceCrew
from coser_cli.errors import Exit, WeightsError
from coser_cli.settings import Compute, Settings
from tests.toy_upscaler import save_toy
from tests.toy_work import toy_work


class Scripted:
    """Two workers that end shares last in, first out; `fate(index)` says how."""

    size = 2

    def __init__(self, fate):
        self.fate, self.shares, self.handed = fate, deque(), []

    @property
    def idle(self):
        return self.size - len(self.shares)

    def hand(self, share):
        self.shares.append(share)
        self.handed.append([index for index, _ in share])

    def wait(self):
        return [(index, self.fate(index, job)) for index, job in self.shares.pop()]


def jobs(count):
    return [Job(Path(f"{index}.png"), Path(f"{index}_2x.png")) for index in range(count)]


def done(index, job):
    return Result(job, "done")


def dispatched(some, crew, share=1):
    events = []
    results = list(dispatch(some, crew, share, events.append))
    started = [event.job for event in events if isinstance(event, Started)]
    return results, started, [event for event in events if isinstance(event, Advanced)]


@pytest.mark.parametrize("share", [1, 3, 100])
@pytest.mark.parametrize("count", [1, 2, 17])
def test_results_come_in_order_and_once(count, share):
    some = jobs(count)
    crew = Scripted(done)
    results, started, told = dispatched(some, crew, share)
    assert [result.job for result in results] == some
    assert sorted(job.source.name for job in started) == sorted(job.source.name for job in some)
    assert told[-1] == Advanced("pictures", count, count)
    assert max(map(len, crew.handed)) <= share
    assert len(crew.handed[-1]) == 1


def test_a_job_whose_worker_dies_is_given_to_another():
    deaths = {1: 1, 3: ATTEMPTS}

    def fate(index, job):
        if deaths.get(index):
            deaths[index] -= 1
            return Lost("killed")
        return Result(job, "done")

    results, started, _ = dispatched(jobs(5), Scripted(fate), 2)
    assert [result.status for result in results] == ["done", "done", "done", "failed", "done"]
    assert "another go" in results[1].notes[0]
    assert results[3].error.exit_code == Exit.DEVICE
    assert f"failed {ATTEMPTS} times" in str(results[3].error)
    assert len(started) == 5


def test_what_ends_the_run_is_raised_after_what_comes_before():
    def fate(index, job):
        return WeightsError("gone") if index == 2 else Result(job, "done")

    told = []
    with pytest.raises(WeightsError):
        for result in dispatch(jobs(9), Scripted(fate), 1):
            told.append(result.job.source.name)
    assert told == ["0.png", "1.png"]


@pytest.fixture
def pictures(tmp_path):
    """Eight jobs; the fifth's picture is none."""
    made = []
    for index in range(8):
        values = np.random.default_rng(index).integers(0, 256, (9, 7, 3), dtype=np.uint8)
        source = tmp_path / f"{index}.png"
        Image.fromarray(values).save(source)
        made.append(Job(source, tmp_path / f"{index}_2x.png", (tmp_path / f"{index}_r.png",)))
    made[4].source.write_bytes(b"no picture")
    return made


@pytest.fixture
def work(tmp_path):
    """One step of the toy, which lies in files."""
    compute = Compute(str(save_toy(tmp_path / "toy")), device="cpu", dtype="float32")
    return toy_work(Settings(scale=2.0, steps=1), compute=compute)


def made_here(some, work):
    """The bytes that this process makes of all jobs."""
    list(run_in_process(some, loader(work.request.compute), work))
    return outputs(some)


def outputs(some):
    """The bytes of all outputs, which are then removed."""
    found = {path.name: path.read_bytes() for job in some for path in job.outputs if path.exists()}
    for job in some:
        for path in job.outputs:
            path.unlink(missing_ok=True)
    return found


def checked(some, crew, wanted, kill=False):
    """Do the jobs with a crew, a process of which is killed midway; all must be as wanted."""
    results = []
    for result in dispatch(some, crew, 2):
        if kill and not results:
            os.kill(crew.processes[-1], signal.SIGKILL)
        results.append(result)
    assert [result.job for result in results] == some
    assert [result.status for result in results].count("done") == 7
    error = results[4].error
    assert error is not None and str(some[4].source) in str(error)
    assert outputs(some) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_two_devices_make_the_same_bytes(pictures, work, monkeypatch, kill):
    wanted = made_here(pictures, work)
    assert len(wanted) == 14
    with DeviceCrew(["cpu", "cpu"], work) as crew:
        checked(pictures, crew, wanted, kill)
        processes = crew.processes
    for number in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@pytest.mark.slow
def test_a_device_that_is_not_there_ends_the_run(pictures, work, tmp_path):
    from coser_cli.errors import DeviceError

    with (
        DeviceCrew(["cuda:77"] * 2, work) as crew,
        pytest.raises(DeviceError, match="cuda:77"),
    ):
        list(dispatch(pictures, crew, 1))


@pytest.fixture(scope="module")
def local_ray():
    """A Ray cluster of this machine alone, with two CPU slots."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray", reason="the extra `cluster` is not installed")
    ray.init(
        num_cpus=2,
        object_store_memory=80 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
        address="local",
    )
    yield ray
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("kill", [False, True])
def test_a_cluster_makes_the_same_bytes(local_ray, pictures, work, kill):
    from coser_cli.batch.workers.ray_cluster import ClusterCrew

    wanted = made_here(pictures, work)
    pictures[2].references[0].write_bytes(wanted["2_r.png"])  # is there already, and stays
    with ClusterCrew("auto", work, 8) as crew:
        assert crew.size == 2
        checked(pictures, crew, wanted, kill)


@pytest.mark.slow
def test_a_cluster_tells_what_is_wrong_here(local_ray, pictures, work, tmp_path):
    """What is there, what is not, and what cannot be written is known without an actor."""
    from coser_cli.batch.workers.ray_cluster import ClusterCrew

    some = pictures[:3]
    for path in some[0].outputs:
        path.write_bytes(b"there")
    some[1].source.unlink()
    some[2].target.mkdir()
    with ClusterCrew("auto", work, 8) as crew:
        results = list(dispatch(some, crew, 4))
    assert [result.status for result in results] == ["skipped", "failed", "failed"]
    assert str(some[1].source) in str(results[1].error)


@pytest.mark.slow
def test_missing_weights_end_a_cluster_s_run(local_ray, pictures, tmp_path):
    from coser_cli.batch.workers.ray_cluster import ClusterCrew

    with (
        ClusterCrew("auto", toy_work(compute=Compute(str(tmp_path / "none"))), 8) as crew,
        pytest.raises(WeightsError),
    ):
        list(dispatch(pictures, crew, 1))
