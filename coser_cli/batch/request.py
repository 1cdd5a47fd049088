"""The request of a run: the same for all its jobs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from coser_cli.batch.events import Emit, Note, ignore
from coser_cli.batch.fit import Fit
from coser_cli.errors import InputError, UsageError, reason_of, shown
from coser_cli.imageio.encoding import DEFAULT, Encoding
from coser_cli.settings import Compute, ResolvedSettings, Settings, TileSpec
from coser_cli.size import Size

if TYPE_CHECKING:
    from coser_cli.batch.provenance import Provenance
    from coser_cli.imageio.photo import Photo


@dataclass(frozen=True)
class Request:
    """A request as plain data that can be sent to another process.

    `references` are picture files of the user that guide every job, instead of imagined ones. `fit`
    gives each picture its own scale instead of that of `settings`, `encoding` says how results are
    written. `tiles` says how large pictures are cut; `always_tiles` cuts small ones, too.
    `batch_size` small pictures of one size are processed at once; None: as many as the engine
    advises. `fail_fast`: a job begins when the one before has ended, so that the run can end with
    the first failure. Several `devices`, instead of the one in `compute`, or the machines of a Ray
    `cluster` share the jobs.
    """

    settings: Settings
    compute: Compute = field(default_factory=Compute)
    references: tuple[Path, ...] = ()
    fit: Fit | None = None
    encoding: Encoding = DEFAULT
    tiles: TileSpec = field(default_factory=TileSpec)
    always_tiles: bool = False
    overwrite: bool = False
    batch_size: int | None = 1
    fail_fast: bool = False
    devices: tuple[str, ...] = ()
    cluster: str | None = None


@dataclass(frozen=True)
class Work:
    """A prepared request: settings with the model's defaults, and references read.

    With `provenance` outputs get records, and existing ones are judged by theirs; without, existing
    outputs are kept.
    """

    request: Request
    settings: ResolvedSettings
    references: tuple[Photo, ...] = ()
    provenance: Provenance | None = None

    def settings_for(self, size: Size) -> ResolvedSettings:
        fit = self.request.fit
        return self.settings if fit is None else replace(self.settings, scale=fit.scale(size))


def prepare(request: Request, emit: Emit = ignore) -> Work:
    """Read what all jobs need: the model's configuration, the weights' fingerprint, references.

    Raises `WeightsError`, and `UsageError` where a reference cannot be read: it concerns every job,
    so the run ends before it begins.
    """
    from coser_cli.batch.provenance import provenance

    photos = tuple(_reference(path, emit) for path in request.references)
    try:
        known = provenance(request.compute, request.references)
    except OSError as error:
        reason = reason_of(error)
        raise UsageError(f"cannot read {shown(error.filename)}: {reason}") from None
    return Work(request, request.settings.resolve(known.config), photos, known)


def _reference(path: Path, emit: Emit) -> Photo:
    from coser_cli.imageio.read import read_photo

    try:
        photo = read_photo(path)
    except InputError as error:
        raise UsageError(f"--reference: {error.message}", error.hint) from error
    for note in photo.notes:
        emit(Note(f"note on {shown(path)}: {note}"))
    return photo
