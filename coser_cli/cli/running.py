"""What the commands that make pictures share: the model, the run, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import typer

from coser_cli.cli import options
from coser_cli.errors import Exit

if TYPE_CHECKING:
    from coser_cli.cli.files import Planned
    from coser_cli.cli.report import Reporter
    from coser_cli.cli.spread import Spread
    from coser_cli.engine.results import Tally
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
    from coser_cli.engine.upscaler import Upscaler

    loaded = Upscaler.load(
        model,
        device=compute.device,
        dtype=compute.dtype,
        offload=compute.offload,
        low_memory=compute.low_memory,
    )
    if loaded.note:
        reporter.message(loaded.note)
    return loaded


def work(
    reporter: Reporter, planned: Planned, compute: Compute, model: str, job: Work, spread: Spread
) -> None:
    """Run the jobs, report each, and end with the exit code they add up to."""
    from coser_cli.engine.results import Tally

    tally = Tally()
    reporter.begin(len(planned.jobs) + len(planned.problems), tally)
    _tell_problems(reporter, planned, tally)
    try:
        results = spread.run(reporter, planned.jobs, compute, model, job, load_model)
        for result in results:
            final = planned.pipes.finish(result)
            tally.add(final)
            reporter.result(final)
    except KeyboardInterrupt:
        reporter.interrupted()
        raise typer.Exit(Exit.INTERRUPTED) from None
    reporter.end(tally)
    raise typer.Exit(tally.exit_code)


def tell_plans(
    reporter: Reporter, planned: Planned, compute: Compute, model: str, job: Work, _: Spread
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
    reporter.end(tally)
    raise typer.Exit(tally.exit_code)


def _tell_problems(reporter: Reporter, planned: Planned, tally: Tally) -> None:
    for note in planned.notes:
        reporter.message(note)
    for problem in planned.problems:
        tally.add_problem(problem)
        reporter.problem(problem)
