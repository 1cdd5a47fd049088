"""Run what a command has planned, and report it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import typer

from coser_cli.errors import Exit

if TYPE_CHECKING:
    from coser_cli.batch.request import Work
    from coser_cli.batch.results import Result, Tally
    from coser_cli.cli.output.pictures import PictureReporter
    from coser_cli.cli.plan import Planned


def execute(
    reporter: PictureReporter, planned: Planned, work: Work, *, dry_run: bool, warm: bool | None
) -> NoReturn:
    """Do the jobs, or only say what they would be, and end with the exit code they add up to.

    `warm`: see `run_warm`.
    """
    from coser_cli.batch.results import Tally

    tally = Tally()
    reporter.begin(len(planned.jobs) + len(planned.problems), tally)
    try:
        _report_problems(reporter, planned, tally)
        if dry_run:
            _estimate(reporter, planned, work, tally)
        else:
            _run(reporter, planned, work, tally, warm)
    except KeyboardInterrupt:
        reporter.interrupted()
        raise typer.Exit(Exit.INTERRUPTED) from None
    raise typer.Exit(tally.exit_code)


def _run(
    reporter: PictureReporter, planned: Planned, work: Work, tally: Tally, warm: bool | None
) -> None:
    """Run the jobs and report each; the first failure ends the run where that is asked for."""
    from coser_cli.batch.results import Result
    from coser_cli.cli.warm import run_warm

    def stops() -> bool:
        return work.request.fail_fast and tally.failed > 0

    _remove_stale_parts(planned)
    rest = dict.fromkeys(planned.jobs)
    jobs = [] if stops() else planned.jobs
    results = run_warm(jobs, work, reporter.report, warm=warm, progress=reporter.live)
    for result in results:
        rest.pop(result.job)
        _report(reporter, planned, result, tally)
        if stops():
            break
    results.close()
    for job in rest:
        _report(reporter, planned, Result(job, "not_started"), tally)
    reporter.end(tally)


def _report(reporter: PictureReporter, planned: Planned, result: Result, tally: Tally) -> None:
    result = planned.pipes.finish(result)
    tally.add(result)
    reporter.result(result)


def _estimate(reporter: PictureReporter, planned: Planned, work: Work, tally: Tally) -> None:
    """`--dry-run`: say what the jobs would be and take; the tally is that of such a run."""
    from coser_cli.batch.dry_run import plans
    from coser_cli.batch.load import loader

    for plan in plans(planned.jobs, loader(work.request.compute, reporter.report), work):
        tally.add_plan(plan.error)
        reporter.plan(plan)
    reporter.planned(tally)


def _remove_stale_parts(planned: Planned) -> None:
    """Remove what killed runs have left in the folders that are written to."""
    from coser_cli.imageio.atomic import remove_stale_parts
    from coser_cli.paths import RECORDS_FOLDER

    for folder in {path.parent for job in planned.jobs for path in job.outputs}:
        remove_stale_parts(folder)
        remove_stale_parts(folder / RECORDS_FOLDER)


def _report_problems(reporter: PictureReporter, planned: Planned, tally: Tally) -> None:
    for note in planned.notes:
        reporter.message(note)
    for problem in planned.problems:
        tally.add_problem(problem)
        reporter.problem(problem)
