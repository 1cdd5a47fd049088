"""`--dry-run`: what each job would make, and what it would take; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coser_cli.engine.costs import Cost
from coser_cli.engine.jobs import Job
from coser_cli.errors import CoserError

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Plan:
    """What a job would be. Sizes are (width, height); `tiled` whether it is done in tiles, and
    `cost` what it takes; `seconds` as a short calibration tells; `existing` outputs that are there
    already; `error` why it would fail.
    """

    job: Job
    source_size: tuple[int, int] | None = None
    cost: Cost | None = None
    tiled: str | None = None
    seconds: float | None = None
    existing: tuple[Path, ...] = ()
    error: CoserError | None = None
