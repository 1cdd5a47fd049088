"""`coser bench quality`: quality against evaluations of the networks, sampler by sampler."""

from __future__ import annotations

import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.options.compute import ModelOptions
from coser_cli.cli.options.groups import with_groups
from coser_cli.cli.options.quality import ComparedSettings, Count, Crop, OutputOptions, Scale
from coser_cli.cli.output.reporter import Reporter
from coser_cli.errors import InputError, UsageError, shown, writing

if TYPE_CHECKING:
    from coser_cli.evaluation.noise import Comparison
    from coser_cli.settings import Settings

Sets = Annotated[
    list[Path], typer.Argument(metavar="SETS", help="Folders with HR/ and LR/ pictures (PNG).")
]


@with_groups
def quality(
    sets: Sets,
    *,
    compared: ComparedSettings,
    scale: Scale = 4,
    crop: Crop = 32,
    count: Count = None,
    outputs: OutputOptions,
    model: ModelOptions,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure what quality each sampler reaches with how many evaluations of the networks.

    Quality is ST-LPIPS (AlexNet) and PSNR-Y against the HR pictures. An
    evaluation is one of the U-Net for one guidance branch: a guided step counts
    two. The baseline is ddpm with several seeds; a setting is within noise
    where its mean is worse than the baseline's by at most 2·σ·√(1/J + 1/K): σ
    is the standard deviation of the baseline's mean over its K seeds, J the
    seeds of the setting. The ± behind a difference is its standard error over
    the pictures, paired. The best setting is the one within noise in both
    metrics with the fewest evaluations; as it may be that by luck, it is named
    only once it has held with all seeds.
    """
    outputs.require_sane()
    _require_packages(outputs.plot)
    from coser_cli.cli.output.quality import report, title, words
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.evaluation.crops import read_crops
    from coser_cli.evaluation.noise import compare
    from coser_cli.evaluation.quality import measure_grid, subject_of
    from coser_cli.evaluation.row_store import RowStore

    grid = compared.grid(scale)
    crops = read_crops(sets, crop, scale, count)
    upscaler = Upscaler.from_pretrained(**asdict(model))
    store = RowStore(
        subject_of(model.model, upscaler, crops), upscaler.model.config, outputs.results
    )
    if outputs.measured:
        comparison = compare(grid, store.rows, upscaler.model.config)
    else:
        began = time.monotonic()
        with Reporter(quiet=quiet) as reporter:

            def on_progress(settings: Settings, done: int, total: int) -> None:
                minutes = (time.monotonic() - began) / 60
                line = f"{minutes:.1f} min, {done + 1} of {total}: {words(settings)}"
                reporter.begin_part(done, total, "settings", line)

            comparison = measure_grid(upscaler, crops, grid, store, on_progress)
    report(comparison, len(crops), as_json=as_json)
    if outputs.plot is not None:
        heading = title(store.subject.model, len(crops), crop, grid)
        _draw(comparison, heading, outputs.plot, quiet=quiet)


def _require_packages(plot: Path | None) -> None:
    """Raises `UsageError` where an optional package is missing."""
    needed = ["torchmetrics", "stlpips_pytorch", *(["matplotlib"] if plot is not None else [])]
    for name in needed:
        if find_spec(name) is None:
            what = "the plot needs" if name == "matplotlib" else "the metrics need"
            raise UsageError(
                f"{what} {name}, which is not installed", "pip install 'coser-cli[eval]'"
            )


def _draw(comparison: Comparison, title: str, plot: Path, *, quiet: bool) -> None:
    from coser_cli.evaluation.plot import draw
    from coser_cli.imageio.atomic import atomic_file

    with writing(plot, InputError), atomic_file(plot) as file:
        file.write(draw(comparison, title))
    if not quiet:
        typer.echo(f"drawn: {shown(plot)}", err=True)
