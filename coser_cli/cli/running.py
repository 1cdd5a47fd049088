"""What the commands that make pictures share: the model, the run, and how it is told."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import typer

from coser_cli.cli import options
from coser_cli.errors import Exit, UsageError, shown

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from coser_cli.cli.files import Planned
    from coser_cli.cli.report import Reporter
    from coser_cli.cli.spread import Spread
    from coser_cli.engine.jobs import Job
    from coser_cli.engine.records import Provenance
    from coser_cli.engine.results import Result, Tally
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.engine.worker import Work


@dataclass(frozen=True)
class Compute:
    """The values of the options about model and device."""

    model: options.Model = "auto"
    device: options.Device = "auto"
    dtype: options.Dtype = "auto"
    offload: options.Offload = "auto"
    low_memory: options.LowMemory = False
    compile: options.Compile = False
    cuda_graphs: options.CudaGraphs = False


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
    from coser_cli.engine.records import provenance

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
    from coser_cli.engine.results import Result, Tally

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
    for result in spread.run(reporter, planned.jobs, compute, model, job, load_model):
        yield result.job, planned.pipes.finish(result)


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
    from coser_cli.engine.planning import plans
    from coser_cli.engine.results import Tally

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
