"""The options about how the pictures of a run are shared out: batches, devices, machines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from coser_cli.cli.options import MODEL
from coser_cli.errors import UsageError

if TYPE_CHECKING:
    from coser_cli.cli.report import Reporter
    from coser_cli.cli.running import Compute
    from coser_cli.engine.dispatch import Crew
    from coser_cli.engine.enlarger import Enlarger
    from coser_cli.engine.jobs import Job
    from coser_cli.engine.results import Result
    from coser_cli.engine.worker import Work

MAX_BATCH = 256
CLUSTER_SHARE = 4
"""Jobs that go to an actor of a cluster at once, unless a batch is more."""


@dataclass(frozen=True)
class Spread:
    """The values of these options."""

    batch_size: Annotated[
        str,
        typer.Option(
            "--batch-size",
            metavar="auto|N",
            envvar="COSER_BATCH_SIZE",
            help="Make as many small pictures of one size at once; auto goes by device and memory "
            "(one on a CPU, where more are no faster).",
            rich_help_panel=MODEL,
        ),
    ] = "auto"
    devices: Annotated[
        str | None,
        typer.Option(
            "--devices",
            metavar="NAME,NAME",
            envvar="COSER_DEVICES",
            help="Share the pictures out among these devices, as in cuda:0,cuda:1; instead of "
            "--device.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None
    cluster: Annotated[
        str | None,
        typer.Option(
            "--cluster",
            metavar="auto|ray://HOST:PORT",
            envvar="COSER_CLUSTER",
            help="Share the pictures out among the GPUs (or CPUs) of a Ray cluster; auto is the "
            "one that this machine belongs to, or else this machine.",
            rich_help_panel=MODEL,
            show_default=False,
        ),
    ] = None

    @property
    def batch(self) -> int | None:
        """The number of pictures made at once, None for auto. Raises `UsageError`."""
        if self.batch_size == "auto":
            return None
        if self.batch_size.isascii() and self.batch_size.isdigit():
            number = int(self.batch_size)
            if 1 <= number <= MAX_BATCH:
                return number
        hint = f"give auto or a number from 1 to {MAX_BATCH}"
        raise UsageError(f"--batch-size {self.batch_size!r} is no batch size", hint)

    def require_sane(self, fail_fast: bool) -> None:
        """Raise `UsageError` where the options contradict each other, before anything runs."""
        from coser_cli.engine.devices import parse_devices

        _ = self.batch
        if fail_fast and (self.devices is not None or self.cluster is not None):
            raise UsageError(
                "--fail-fast goes with neither --devices nor --cluster, which work on several "
                "pictures at once",
                "leave one out",
            )
        if self.devices is not None:
            parse_devices(self.devices)
            if self.cluster is not None:
                raise UsageError("--devices and --cluster go not together", "choose one")

    def run(
        self,
        reporter: Reporter,
        jobs: list[Job],
        compute: Compute,
        model: str,
        work: Work,
        load: Callable[[Reporter, Compute, str], Enlarger],
    ) -> Iterator[Result]:
        """A result per job, in order, wherever they are done; what ends the run is raised."""
        from coser_cli.engine.batch import run
        from coser_cli.engine.devices import parse_devices

        work = replace(work, batch_size=self.batch)
        devices = [str(compute.device)] if self.devices is None else parse_devices(self.devices)
        if self.cluster is None and min(len(devices), len(jobs)) < 2:
            here = replace(compute, device=cast("Any", devices[0]))  # one of a list has a number
            get = partial(load, reporter, here, model)
            yield from run(jobs, get, work, on_start=reporter.start, on_progress=reporter.progress)
            return
        from coser_cli.engine.dispatch import MAX_SHARE, dispatch

        most = CLUSTER_SHARE if self.cluster is not None else MAX_SHARE
        with ExitStack() as stack:
            crew = self._crew(stack, reporter, devices, len(jobs), compute, model, work)
            yield from dispatch(
                jobs,
                crew,
                max(most, self.batch or 1),
                on_start=reporter.start,
                on_progress=reporter.progress,
            )

    def _crew(
        self,
        stack: ExitStack,
        reporter: Reporter,
        devices: list[str],
        most: int,
        compute: Compute,
        model: str,
        work: Work,
    ) -> Crew:
        """The workers, at most so many, which end with the stack."""
        from coser_cli.engine.devices import DeviceCrew, Loading

        loading = Loading(**asdict(replace(compute, model=cast("Any", model))))
        if self.cluster is not None:
            from coser_cli.engine.cluster import ClusterCrew

            reporter.hint("looking for the cluster ...")
            cluster = stack.enter_context(ClusterCrew(self.cluster, loading, work, most))
            reporter.message(f"cluster {self.cluster}: {cluster.size} workers")
            return cluster
        loadings = [replace(loading, device=device) for device in devices[:most]]
        reporter.hint(f"starting {len(loadings)} processes ...")
        return stack.enter_context(DeviceCrew(loadings, work))
