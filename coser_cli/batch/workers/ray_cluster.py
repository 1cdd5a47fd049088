"""Several machines: jobs over the actors of a Ray cluster, which only this module knows.

An actor is a process with a model of its own: one per GPU of the cluster or, where it has none, one
per CPU slot. Files travel as bytes through Ray's object store, so that machines need not share a
file system: an actor works in a folder of its own on the picture under its own name, and what it
makes is written here. Ray's own retries are off: it would begin a job again on the actor that died
with it, once that can start anew, while others wait; `dispatch` gives the job to one of these.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from coser_cli.batch.checks import require_writable
from coser_cli.batch.jobs import Job
from coser_cli.batch.load import loader
from coser_cli.batch.pipeline import run_in_process
from coser_cli.batch.request import Work
from coser_cli.batch.results import Result
from coser_cli.batch.resume import pending_of
from coser_cli.batch.workers.dispatch import Lost, Outcome
from coser_cli.errors import CoserError, DeviceError, InputError, UsageError, reason_of, shown
from coser_cli.size import Size

MAX_STARTS = 3
"""How often in a row an actor may end before it has done anything, until the run ends."""
_LOCAL_STORE = 80 * 2**20
"""Bytes of the object store of a cluster that is started here, on this machine alone."""


@dataclass(frozen=True)
class Parcel:
    """A job with its files, by name: the source's bytes, those of its mask and conditions, and
    outputs that exist already.
    """

    job: Job
    source: bytes
    existing: dict[Path, bytes] = field(default_factory=dict)
    beside: dict[Path, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What an actor reports of a job: its result, or what ends the run; files it has written."""

    outcome: Result | CoserError
    files: dict[Path, bytes] = field(default_factory=dict)


class Bench:
    """What an actor does: jobs in files of its own folder, with a model that is loaded once."""

    def __init__(self, work: Work, pre_restorer: bytes | None = None) -> None:
        compute = work.request.compute
        if pre_restorer is not None:
            self._folder = tempfile.TemporaryDirectory(prefix="coser-")
            file = Path(self._folder.name) / Path(str(compute.pre_restorer)).name
            file.write_bytes(pre_restorer)
            compute = replace(compute, pre_restorer=str(file))
        self._load, self._work = loader(compute), work

    def number(self) -> int:
        """The process's number."""
        return os.getpid()

    def do(self, parcels: Sequence[Parcel]) -> list[Reply]:
        """A reply per job; fewer, where the last one ends the run."""
        replies: list[Reply] = []
        with tempfile.TemporaryDirectory(prefix="coser-") as folder:
            benched = [
                _Benched(parcel, Path(folder) / str(index)) for index, parcel in enumerate(parcels)
            ]
            try:
                results = run_in_process([each.job for each in benched], self._load, self._work)
                for each, result in zip(benched, results, strict=True):
                    replies.append(each.reply(result))
            except CoserError as error:
                replies.append(Reply(error))
        return replies


class _Benched:
    """A job in a folder of its own: the same names, one folder per file."""

    def __init__(self, parcel: Parcel, folder: Path) -> None:
        self._parcel = parcel
        own = parcel.job
        self._places = {
            path: folder / str(number) / path.name
            for number, path in enumerate((own.source, *own.outputs, *parcel.beside))
        }
        for place in self._places.values():
            place.parent.mkdir(parents=True, exist_ok=True)
        contents = {own.source: parcel.source, **parcel.existing, **parcel.beside}
        for path, content in contents.items():
            self._places[path].write_bytes(content)
        places = self._places
        self.job = replace(
            own,
            source=places[own.source],
            target=places[own.target],
            references=tuple(places[path] for path in own.references),
            comparison=None if own.comparison is None else places[own.comparison],
            mask=None if own.mask is None else places[own.mask],
            conditions={name: places[path] for name, path in own.conditions.items()},
        )

    def reply(self, result: Result) -> Reply:
        """What happened, by the names that the user knows."""
        own = self._parcel.job
        error = result.error
        if error is not None:
            error = type(error)(self._named(error.message), self._named(error.hint))
        notes = tuple(map(self._named, result.notes))
        files = {}
        if result.status == "done":
            files = {path: self._places[path].read_bytes() for path in own.outputs}
            files = {
                path: content
                for path, content in files.items()
                if content != self._parcel.existing.get(path)
            }
        return Reply(replace(result, job=own, error=error, notes=notes), files)

    def _named(self, text: str) -> str:
        for own, here in self._places.items():
            text = text.replace(shown(here), shown(own)).replace(str(here), str(own))
        return text


class ClusterCrew:
    """At most `most` actors of a cluster; see `dispatch.Crew`. `address` is "auto" or that of one.

    "auto" is the cluster that this machine is part of or, without one, one of this machine alone.
    Raises `UsageError` without ray, `DeviceError` where there is no cluster.
    """

    def __init__(self, address: str, work: Work, most: int) -> None:
        self._ray, self._ours = _connected(address)
        self._work = work
        count, per_actor = _slots(self._ray, work.request.compute.device)
        remote = self._ray.remote(max_restarts=0, max_task_retries=0, **per_actor)(Bench)
        own = work.request.compute.pre_restorer
        shared = [self._ray.put(each) for each in (work, Path(own).read_bytes() if own else None)]
        self._start = lambda: remote.remote(*shared)
        self._members = [_Actor(self._start()) for _ in range(min(count, most))]
        self._starts = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for member in self._members:
            with suppress(Exception):  # it may be gone
                self._ray.kill(member.handle)
        if self._ours:
            self._ray.shutdown()

    @property
    def size(self) -> int:
        return len(self._members)

    @property
    def idle(self) -> int:
        return sum(member.ready and not member.share for member in self._members)

    @property
    def processes(self) -> list[int]:
        """The numbers of the actors that are there."""
        return [member.number for member in self._members if member.ready]

    def hand(self, share: Sequence[tuple[int, Job]]) -> None:
        member = next(each for each in self._members if each.ready and not each.share)
        member.take(share, self._work)

    def wait(self) -> Iterable[tuple[int, Outcome]]:
        outcomes = [each for member in self._members for each in member.outcomes]
        for member in self._members:
            member.outcomes = []
        if outcomes:
            return outcomes
        waited = {member.awaited: member for member in self._members if member.awaited is not None}
        if not waited:
            return []
        arrived, _ = self._ray.wait(list(waited), num_returns=1)
        return self._received(waited[arrived[0]])

    def _received(self, member: _Actor) -> Iterable[tuple[int, Outcome]]:
        """What an actor answers; a new one takes its place where it has died."""
        try:
            reply = self._ray.get(member.awaited)
        except self._ray.exceptions.RayActorError as error:
            self._starts += not member.ready
            if self._starts >= MAX_STARTS:
                message = "the cluster's workers do not start: " + _first_line(error)
                raise DeviceError(message, "install the same coser on every node") from None
            lost, reason = member.share, _first_line(error)
            self._members[self._members.index(member)] = _Actor(self._start())
            return [(index, Lost(reason)) for index, _ in lost]
        except self._ray.exceptions.RayError as error:  # it lives, but could not do these
            lost, member.share, member.awaited = member.share, [], None
            return [(index, Lost(_first_line(error))) for index, _ in lost]
        if not member.ready:
            member.number, member.awaited, self._starts = reply, None, 0
            return []
        return member.settle(reply)


class _Actor:
    """One actor and its present jobs."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.number = 0
        self.awaited: Any = handle.number.remote()
        self.share: list[tuple[int, Job]] = []
        self.outcomes: list[tuple[int, Outcome]] = []

    @property
    def ready(self) -> bool:
        return self.number != 0

    def take(self, share: Sequence[tuple[int, Job]], work: Work) -> None:
        """Send jobs; what already fails here, or is there, is reported from here."""
        parcels = []
        for index, job in share:
            packed = _packed(job, work)
            if isinstance(packed, Result):
                self.outcomes.append((index, packed))
            else:
                parcels.append(packed)
                self.share.append((index, job))
        if parcels:
            self.awaited = self.handle.do.remote(parcels)

    def settle(self, replies: Sequence[Reply]) -> list[tuple[int, Outcome]]:
        """Write what has come, and say what has become of the share."""
        share, self.share, self.awaited = self.share, [], None
        return [
            (index, _written(job, reply))
            for (index, job), reply in zip(share, replies, strict=False)
        ]


def _packed(job: Job, work: Work) -> Parcel | Result:
    """A job ready to be sent; what is wrong or there already is known before."""
    try:
        pending = pending_of(job, work)
        if not pending.missing and job.source.exists():
            return Result(job, "skipped", notes=pending.notes)
        existing = [
            each for each in job.outputs if each not in pending.missing and os.path.lexists(each)
        ]
        require_writable(pending.missing, Size(1, 1))
        source = job.source.read_bytes()
        files = [*([] if job.mask is None else [job.mask]), *job.conditions.values()]
        beside = {path: path.read_bytes() for path in files}
        return Parcel(job, source, {path: path.read_bytes() for path in existing}, beside)
    except CoserError as error:
        return Result(job, "failed", error=error)
    except OSError as error:
        reason = reason_of(error)
        message = f"cannot read {shown(job.source)}: {reason}"
        return Result(job, "failed", error=InputError(message, "check the file"))


def _written(job: Job, reply: Reply) -> Result | CoserError:
    """The result, once its files lie where they belong; the target last."""
    from coser_cli.imageio.atomic import atomic_file
    from coser_cli.imageio.write import writing

    try:
        for path in (*job.outputs[1:], job.target):
            if path in reply.files:
                with writing(path), atomic_file(path) as file:
                    file.write(reply.files[path])
    except CoserError as error:
        return Result(job, "failed", error=error)
    return reply.outcome


def _connected(address: str) -> tuple[Any, bool]:
    """The module ray, connected, and whether it was not before."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise UsageError(
            "--cluster needs ray, which is not installed", "pip install 'coser-cli[cluster]'"
        ) from None
    if ray.is_initialized():
        return ray, False
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    try:
        try:
            ray.init(address=address, **common)
        except ConnectionError:
            if address != "auto":
                raise
            local = {"include_dashboard": False, "object_store_memory": _LOCAL_STORE}
            ray.init(address="local", **local, **common)
    except Exception as error:  # whatever ray raises where there is no cluster
        raise DeviceError(
            f"there is no cluster at {address}: {_first_line(error)}", "see ray status"
        ) from error
    return ray, True


def _slots(ray: Any, device: str) -> tuple[int, dict[str, Any]]:
    """How many actors the cluster holds, and what each of them takes of it."""
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    if gpus and device != "cpu":
        return gpus, {"num_cpus": 0, "num_gpus": 1}
    cpus = int(resources.get("CPU", 0))
    if not cpus:
        raise DeviceError("the cluster has neither GPU nor CPU slots", "see ray status")
    return cpus, {"num_cpus": 1}


def _first_line(error: BaseException) -> str:
    """What an error says first."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
