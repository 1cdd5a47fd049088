"""What the commands that make pictures share: the model, the run, and how it is told."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import typer

from coser_cli.errors import Exit, UsageError, shown

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from coser_cli.batch.jobs import Job
    from coser_cli.batch.provenance import Provenance
    from coser_cli.batch.request import Work
    from coser_cli.batch.results import Result, Tally
    from coser_cli.batch.workers.dispatch import Crew
    from coser_cli.cli.options.compute import Compute
    from coser_cli.cli.options.workers import Spread
    from coser_cli.cli.output.reporter import Reporter
    from coser_cli.cli.plan import Planned
    from coser_cli.engine.upscaler import Upscaler

CLUSTER_SHARE = 4
"""Jobs that go to an actor of a cluster at once, unless a batch is more."""


def choose_model(reporter: Reporter, model: str) -> str:
    """The model to use, sure to be there; says which one "auto" has become."""
    from coser_cli.weights.store import model_folder, resolve_model

    name = resolve_model(model)
    folder = model_folder(name)
    if model == "auto":
        reporter.message(f"model: {folder.name}")
    return name


def load_model(reporter: Reporter, compute: Compute, model: str) -> Upscaler:
    """Load the engine, having said so before the seconds that torch takes."""
    reporter.hint("loading weights ...")
    _listen(reporter)
    from coser_cli.engine.upscaler import Upscaler

    loaded = Upscaler.load(
        model,
        device=compute.device,
        dtype=compute.dtype,
        offload=compute.offload,
        low_memory=compute.low_memory,
        compile=compute.compile,
        cuda_graphs=compute.cuda_graphs,
    )
    if loaded.note:
        reporter.message(loaded.note)
    return loaded


def _listen(reporter: Reporter) -> None:
    """Tell what the engine has to say while it computes; in one place, whoever listened before."""

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            reporter.message(record.getMessage())

    logger = logging.getLogger("coser_cli.engine")
    logger.handlers[:] = [Listener()]
    logger.setLevel(logging.INFO)


def provenance_of(model: str, references: Sequence[Path], dtype: str) -> Provenance:
    """What the records of a run have in common. Raises `UsageError` where a reference is gone."""
    from coser_cli.batch.provenance import provenance

    try:
        return provenance(model, references, dtype)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UsageError(f"cannot read {shown(error.filename)}: {reason}") from None


def act(
    reporter: Reporter,
    planned: Planned,
    compute: Compute,
    model: str,
    job: Work,
    spread: Spread,
    *,
    dry_run: bool,
    fail_fast: bool,
) -> None:
    """Do the jobs, or only tell what they would be."""
    if dry_run:
        tell_plans(reporter, planned, compute, model, job)
    job = replace(job, one_by_one=fail_fast)
    work(reporter, planned, compute, model, job, spread, fail_fast=fail_fast)


def work(
    reporter: Reporter,
    planned: Planned,
    compute: Compute,
    model: str,
    job: Work,
    spread: Spread,
    *,
    fail_fast: bool = False,
) -> None:
    """Run the jobs, report each, and end with the exit code they add up to.

    With `fail_fast` the first failure ends the run, and the exit code is 1.
    """
    from coser_cli.batch.results import Result, Tally

    def stops(tally: Tally) -> bool:
        return fail_fast and tally.failed > 0

    tally = Tally()
    reporter.begin(len(planned.jobs) + len(planned.problems), tally)
    try:
        _tell_problems(reporter, planned, tally)
        _tidy(planned)
        rest = set(planned.jobs)
        results = _results(reporter, planned, compute, model, job, spread)
        for begun, result in [] if stops(tally) else results:
            rest.discard(begun)
            tally.add(result)
            reporter.result(result)
            if stops(tally):
                break
        results.close()
        for each in (each for each in planned.jobs if each in rest):
            left = planned.pipes.finish(Result(each, "not_started"))
            tally.add(left)
            reporter.result(left)
    except KeyboardInterrupt:
        reporter.interrupted()
        raise typer.Exit(Exit.INTERRUPTED) from None
    reporter.end(tally)
    raise typer.Exit(tally.exit_code)


def _results(
    reporter: Reporter, planned: Planned, compute: Compute, model: str, job: Work, spread: Spread
) -> Generator[tuple[Job, Result]]:
    """Each job that has ended, and what became of it, as it is to be reported."""
    for result in _shared_out(reporter, planned.jobs, compute, model, job, spread):
        yield result.job, planned.pipes.finish(result)


def _shared_out(
    reporter: Reporter, jobs: list[Job], compute: Compute, model: str, work: Work, spread: Spread
) -> Iterator[Result]:
    """A result per job, in order, wherever they are done; what ends the run is raised."""
    from coser_cli.batch.run import run
    from coser_cli.batch.workers.processes import parse_devices

    work = replace(work, batch_size=spread.batch)
    devices = [str(compute.device)] if spread.devices is None else parse_devices(spread.devices)
    if spread.cluster is None and min(len(devices), len(jobs)) < 2:
        here = replace(compute, device=cast("Any", devices[0]))  # one of a list has a number
        get = partial(load_model, reporter, here, model)
        yield from run(jobs, get, work, on_start=reporter.start, on_progress=reporter.progress)
        return
    from coser_cli.batch.workers.dispatch import MAX_SHARE, dispatch

    most = CLUSTER_SHARE if spread.cluster is not None else MAX_SHARE
    with ExitStack() as stack:
        crew = _crew(stack, reporter, spread, devices, len(jobs), compute, model, work)
        yield from dispatch(
            jobs,
            crew,
            max(most, spread.batch or 1),
            on_start=reporter.start,
            on_progress=reporter.progress,
        )


def _crew(
    stack: ExitStack,
    reporter: Reporter,
    spread: Spread,
    devices: list[str],
    most: int,
    compute: Compute,
    model: str,
    work: Work,
) -> Crew:
    """The workers, at most so many, which end with the stack."""
    from coser_cli.batch.workers.processes import DeviceCrew, Loading

    loading = Loading(**asdict(replace(compute, model=cast("Any", model))))
    if spread.cluster is not None:
        from coser_cli.batch.workers.ray_cluster import ClusterCrew

        reporter.hint("looking for the cluster ...")
        cluster = stack.enter_context(ClusterCrew(spread.cluster, loading, work, most))
        reporter.message(f"cluster {spread.cluster}: {cluster.size} workers")
        return cluster
    loadings = [replace(loading, device=device) for device in devices[:most]]
    reporter.hint(f"starting {len(loadings)} processes ...")
    return stack.enter_context(DeviceCrew(loadings, work))


def _tidy(planned: Planned) -> None:
    """Remove what killed runs have left in the folders that are written to."""
    from coser_cli.imageio.atomic import remove_stale_parts
    from coser_cli.imageio.record import FOLDER

    for folder in {path.parent for job in planned.jobs for path in job.outputs}:
        remove_stale_parts(folder)
        remove_stale_parts(folder / FOLDER)


def tell_plans(
    reporter: Reporter, planned: Planned, compute: Compute, model: str, job: Work
) -> None:
    """`--dry-run`: say what the jobs would be and take, and end as a run that can start would."""
    from coser_cli.batch.dry_run import plans
    from coser_cli.batch.results import Tally

    tally = Tally()
    reporter.begin(len(planned.jobs) + len(planned.problems), tally)
    _tell_problems(reporter, planned, tally)
    for plan in plans(planned.jobs, partial(load_model, reporter, compute, model), job):
        tally.add_plan(plan.error)
        reporter.plan(plan)
    reporter.planned(tally)
    raise typer.Exit(tally.exit_code)


def _tell_problems(reporter: Reporter, planned: Planned, tally: Tally) -> None:
    for note in planned.notes:
        reporter.message(note)
    for problem in planned.problems:
        tally.add_problem(problem)
        reporter.problem(problem)
