"""One job that is about to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Work
from coser_cli.batch.resume import Pending
from coser_cli.settings import ResolvedSettings

if TYPE_CHECKING:
    from coser_cli.engine.progress import Progress
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.imageio.mask import Mask
    from coser_cli.imageio.photo import Photo


@dataclass(frozen=True)
class LoadedJob:
    """A job whose picture has been read, and everything that its outputs depend on.

    `tiling` says how it is cut, for the records.
    """

    job: Job
    photo: Photo
    settings: ResolvedSettings
    pending: Pending
    work: Work
    load: Callable[[], Upscaler]
    progress: Progress
    tiling: Mapping[str, Any] | None = None
    mask: Mask | None = None
    conditions: Mapping[str, Photo] = field(default_factory=dict)

    @property
    def missing(self) -> Sequence[Path]:
        return self.pending.missing

    @property
    def upscaler(self) -> Upscaler:
        """The engine, loaded when first asked for."""
        return self.load()

    @property
    def want_reference(self) -> bool:
        """Whether references are written beside the result."""
        return self.job.kind == "upscale" and any(
            path in self.missing for path in self.job.references
        )

    def record(self, path: Path) -> dict[str, Any] | None:
        """The record of an output; a comparison computes nothing."""
        from coser_cli.batch.provenance import compute_of, record_of

        if self.pending.origin is None:
            return None
        record = record_of(self.job, path, self.pending.origin)
        if path == self.job.comparison:
            return record
        engine = self.upscaler.runtime
        compute = compute_of(engine.device, engine.dtype, engine.is_compiled)
        return record | {"tiling": self.tiling, "compute": compute}

    @property
    def only_compares(self) -> bool:
        """Whether only the comparison is missing."""
        return not set(self.missing) - {self.job.comparison}

    def why_tiled(self) -> str | None:
        """Why the picture is done in tiles, "" where that was requested; None: it is done whole."""
        request = self.work.request
        runtime = self.upscaler.runtime
        if request.always_tiles or runtime.low_memory:
            return ""
        return runtime.why_tiled(self.photo.size, self.settings, request.tiles) or None
