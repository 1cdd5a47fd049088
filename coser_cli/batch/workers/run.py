"""Jobs → results: here, in processes for several devices, or on the machines of a cluster."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from coser_cli.batch.events import Emit, Hint, Note, ignore
from coser_cli.batch.jobs import Job
from coser_cli.batch.load import loader
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result

if TYPE_CHECKING:
    from coser_cli.batch.workers.dispatch import Crew

CLUSTER_SHARE = 4
"""Jobs that go to an actor of a cluster at once, unless a batch is more."""


def run(jobs: Sequence[Job], work: Work, emit: Emit = ignore) -> Generator[Result]:
    """A result per job, in order, wherever they are done; what happens meanwhile goes to `emit`.

    Raises what `pipeline.run_in_process` raises, after the results before it.
    """
    request = work.request
    devices = request.devices or (request.compute.device,)
    if request.cluster is None and min(len(devices), len(jobs)) < 2:
        from coser_cli.batch.pipeline import run_in_process

        load = loader(replace(request.compute, device=devices[0]), emit)
        yield from run_in_process(jobs, load, work, emit)
        return
    from coser_cli.batch.workers.dispatch import MAX_SHARE, dispatch

    most = MAX_SHARE if request.cluster is None else CLUSTER_SHARE
    with ExitStack() as stack:
        crew = _crew(stack, work, devices[: len(jobs)], len(jobs), emit)
        yield from dispatch(jobs, crew, max(most, request.batch_size or 1), emit)


def _crew(stack: ExitStack, work: Work, devices: Sequence[str], most: int, emit: Emit) -> Crew:
    """The workers, `most` at most, which end with the stack."""
    cluster = work.request.cluster
    if cluster is not None:
        from coser_cli.batch.workers.ray_cluster import ClusterCrew

        emit(Hint("looking for the cluster ..."))
        actors = stack.enter_context(ClusterCrew(cluster, work, most))
        emit(Note(f"cluster {cluster}: {actors.size} workers"))
        return actors
    from coser_cli.batch.workers.processes import DeviceCrew

    emit(Hint(f"starting {len(devices)} processes ..."))
    return stack.enter_context(DeviceCrew(devices, work))
