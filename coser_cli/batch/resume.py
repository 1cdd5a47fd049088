"""Which outputs of a job exist already, by their records: what to compute, and what stays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from coser_cli.batch.jobs import Job
from coser_cli.batch.provenance import KEY, SCHEMA, Origin, differences, hashed, record_of
from coser_cli.errors import shown

if TYPE_CHECKING:
    from coser_cli.batch.request import Work

_KEEPS_BOTH = "--name keeps both, as in --name '{stem}_{scale}x_b{ext}'"
State = Literal["absent", "current", "stale", "foreign"]


@dataclass(frozen=True)
class Pending:
    """Outputs of a job that are to be computed, notes on the others, and the `Origin` of the
    records (None: there will be none).
    """

    missing: tuple[Path, ...]
    notes: tuple[str, ...] = ()
    origin: Origin | None = None


def state_of(path: Path, job: Job, origin: Origin | None) -> tuple[State, list[str]]:
    """Whether an output exists and may be kept, and how its record differs.

    "current": computed from this very input with these settings and weights. "stale": our own, but
    computed otherwise. "foreign": without a record that is understood, or nothing is known to
    compare it with.
    """
    if not os.path.lexists(path):
        return "absent", []
    from coser_cli.imageio.record import read_record
    from coser_cli.imageio.seal import is_sealed

    record = None if origin is None else read_record(path)
    if origin is None or record is None or record.get(KEY) != SCHEMA:
        return "foreign", []
    if is_sealed(path) is False:
        return "stale", ["it is cut off, or was changed since it was made"]
    reasons = differences(record, record_of(job, path, origin), origin)
    return ("stale", reasons) if reasons else ("current", [])


def pending_of(job: Job, work: Work) -> Pending:
    """What a job has to compute. Raises `InputError` where that needs the input's size, and it
    cannot be read.
    """
    origin = _origin(job, work)
    missing, notes = [], []
    for path in job.outputs:
        if work.request.overwrite:
            missing.append(path)
            continue
        state, reasons = state_of(path, job, origin)
        if state in ("absent", "stale"):
            missing.append(path)
        if state == "stale":
            is_setting = any(" was " in each and ", is " in each for each in reasons)
            hint = f" ({_KEEPS_BOTH})" if is_setting else ""
            notes.append(f"{shown(path)} is made again: {', '.join(reasons)}{hint}")
        elif state == "foreign" and origin is not None:
            notes.append(
                f"{shown(path)} has no record of how it was made, and is left as it is (--overwrite"
                " replaces it)"
            )
    return Pending(tuple(missing), tuple(notes), origin)


def _origin(job: Job, work: Work) -> Origin | None:
    """None where no records are kept, or a file cannot be read, which reading it will report."""
    known = work.provenance
    if known is None or not job.source.is_file():
        return None
    try:
        source = hashed(job.source)
        mask = None if job.mask is None else hashed(job.mask)
        conditions = {name: hashed(path) for name, path in job.conditions.items()}
    except OSError:
        return None
    settings, request = work.settings, work.request
    if request.fit is not None:
        from coser_cli.imageio.header import read_header

        settings = work.settings_for(read_header(job.source, job.frame).size)
    return Origin(
        provenance=known,
        input=source,
        settings=settings,
        fit=request.fit,
        encoding=request.encoding,
        tiles=request.tiles,
        always_tiles=request.always_tiles,
        mask=mask,
        conditions=conditions,
    )
