"""One picture file to another, from Python: all that `coser upscale` does for a single input."""

from __future__ import annotations

import os
import warnings
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from coser_cli.batch.events import Advanced, Event
from coser_cli.batch.inputs import Source
from coser_cli.batch.jobs import plan
from coser_cli.batch.naming import Naming
from coser_cli.batch.pipeline import run_in_process
from coser_cli.batch.request import Request, prepare
from coser_cli.engine.images import chosen
from coser_cli.engine.progress import Progress, silent, tqdm_progress
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import CoserWarning
from coser_cli.settings import Compute, Settings, TileSpec


def upscale_file(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str] | None = None,
    settings: Settings | None = None,
    *,
    model: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    tiles: TileSpec | None = None,
    mask: str | os.PathLike[str] | None = None,
    pre_restorer: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    progress: bool = False,
    **choices: Any,
) -> Path:
    """Enlarge a picture file and return the file that was written.

    `target` is a file or a folder; without it the result lies beside the source, with the scale in
    its name. `mask` is a grey picture: white is restored, black stays bicubic. `pre_restorer` is
    the file of a super-resolution network that takes the place of the model's own.
    `choices` are fields of the settings, as in `scale=2`. Large pictures are done in
    tiles; metadata, transparency and the record of how it was made are kept, and a result that is
    there and current stays unless `overwrite`. The model stays loaded for the next call with the
    same `model`, `device`, `dtype` and `pre_restorer`. What the user should know is a
    `CoserWarning`.
    Raises `CoserError`.
    """
    from coser_cli.weights.store import resolve_model

    settings = chosen(settings, choices)
    precision = str(dtype).removeprefix("torch.")
    own = None if pre_restorer is None else os.fspath(pre_restorer)
    compute = Compute(resolve_model(model), str(device), precision, pre_restorer=own)
    output = None if target is None else os.fspath(target)
    naming = Naming(settings.scale, model=compute.model, seed=settings.seed)
    where = None if mask is None else Path(mask)
    (job,) = plan([Source(Path(source))], output, naming=naming, mask=where)
    request = Request(settings, compute, tiles=tiles or TileSpec(), overwrite=overwrite)
    show = tqdm_progress() if progress else silent
    work = prepare(request)
    weights = work.provenance.fingerprints if work.provenance else ()
    (result,) = run_in_process(
        [job], lambda: _loaded(compute, weights), work, lambda event: _show(event, show)
    )
    if result.error is not None:
        raise result.error
    for note in result.notes:
        warnings.warn(note, CoserWarning, stacklevel=2)
    return result.job.target


@lru_cache(maxsize=1)
def _loaded(compute: Compute, _weights: tuple[str, ...]) -> Upscaler:
    upscaler = Upscaler.from_pretrained(**asdict(compute))
    if upscaler.note:
        warnings.warn(upscaler.note, CoserWarning, stacklevel=2)
    return upscaler


def _show(event: Event, progress: Progress) -> None:
    if isinstance(event, Advanced):
        progress(event.stage, event.done, event.total)
