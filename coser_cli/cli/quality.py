"""`coser bench quality`: quality against evaluations of the networks, sampler by sampler."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coser_cli.cli import options
from coser_cli.errors import InputError, UsageError, shown
from coser_cli.settings import DEFAULT_SEED, MAX_SEED, MAX_STEPS, SAMPLERS

if TYPE_CHECKING:
    from coser_cli.evaluation.grid import Grid
    from coser_cli.evaluation.measured import Ledger
    from coser_cli.evaluation.noise import Comparison
    from coser_cli.evaluation.quality import Tell
    from coser_cli.settings import Settings

MEASURED = "What is measured"
DISTILLED_ONLY = ("lcm",)
"""Samplers of distilled models, which the default leaves out."""
SAME = "same"


def _measure(*flags: str, help: str, **more: Any) -> Any:  # noqa: A002 (typer's word)
    return typer.Option(*flags, help=help, rich_help_panel=MEASURED, **more)


def quality(
    sets: Annotated[
        list[Path], typer.Argument(metavar="SETS", help="Folders with HR/ and LR/ pictures (PNG).")
    ],
    samplers: Annotated[
        str, _measure("--samplers", help="Samplers, by commas; lcm is for distilled models.")
    ] = ",".join(name for name in SAMPLERS if name not in DISTILLED_ONLY),
    steps: Annotated[
        str, _measure("--steps", help="Steps of the result, by commas.")
    ] = "4,6,8,10,15,20,50,200",
    intervals: Annotated[
        str, _measure("--intervals", help="Parts of the steps that are guided, FROM-TO by commas.")
    ] = "0-1,0.2-0.8",
    reference_steps: Annotated[
        str,
        _measure(
            "--reference-steps",
            help="Steps of the reference, by commas: `same`, or a number, which counts where the "
            "result has more.",
        ),
    ] = "same,4",
    strength: Annotated[
        float,
        _measure("--strength", min=0.0, max=1.0, help="Start both passes here; 1 is pure noise."),
    ] = 1.0,
    baseline_steps: Annotated[
        int,
        _measure("--baseline-steps", min=1, max=MAX_STEPS, help="Steps of ddpm, the baseline."),
    ] = 200,
    seeds: Annotated[
        int,
        _measure(
            "--seeds",
            min=2,
            max=100,
            help="Measure the baseline, and what proves best, with this many seeds.",
        ),
    ] = 3,
    seed: Annotated[
        int, _measure("--seed", min=0, max=MAX_SEED, help="The first of the seeds.")
    ] = DEFAULT_SEED,
    scale: Annotated[int, _measure("--scale", "-s", min=1, max=16, help="Of the sets.")] = 4,
    crop: Annotated[
        int,
        _measure(
            "--crop",
            min=8,
            max=4096,
            help="Measure the square of this many LR pixels a side that has the most detail.",
        ),
    ] = 32,
    count: Annotated[
        int | None,
        _measure(
            "--count",
            min=1,
            max=100000,
            show_default=False,
            help="Take this many pictures of each set, evenly spaced; default: all.",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        options.choose(
            "--results",
            metavar="FILE.jsonl",
            panel=options.IN_OUT,
            help="Keep what has been measured in this file, and measure only what it lacks.",
        ),
    ] = None,
    measured: Annotated[
        bool,
        typer.Option(
            "--measured",
            help="Measure nothing: report what --results has.",
            rich_help_panel=options.IN_OUT,
        ),
    ] = False,
    plot: Annotated[
        Path | None,
        options.choose(
            "--plot",
            metavar="FILE.svg",
            panel=options.IN_OUT,
            help="Also draw quality against evaluations.",
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Draw a plot again that exists.", rich_help_panel=options.IN_OUT
        ),
    ] = False,
    model: options.Model = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure what quality each sampler reaches with how many evaluations of the networks."""
    _require_packages(plot)
    _require_files(results, plot, measured=measured, overwrite=overwrite)
    from coser_cli.cli.quality_report import report, title
    from coser_cli.evaluation.grid import Grid

    grid = Grid(
        _samplers(samplers),
        _by_commas(steps, "--steps", _count_of),
        _by_commas(intervals, "--intervals", _interval),
        _by_commas(reference_steps, "--reference-steps", _count_or_same),
        strength=strength,
        scale=scale,
        seeds=tuple((seed + index) % (MAX_SEED + 1) for index in range(seeds)),
        baseline_steps=baseline_steps,
    )
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.evaluation.crops import read_crops
    from coser_cli.evaluation.measured import Ledger
    from coser_cli.evaluation.noise import compare
    from coser_cli.evaluation.quality import measure_grid, subject_of

    crops = read_crops(sets, crop, scale, count)
    upscaler = Upscaler.load(model, device=device, dtype=dtype)
    ledger = Ledger(subject_of(model, upscaler, crops), upscaler.model.config, results)
    if measured:
        found = compare(grid, ledger.rows, upscaler.model.config)
    else:
        found = measure_grid(upscaler, crops, grid, ledger, _teller(ledger, quiet=quiet))
    report(found, len(crops), as_json=as_json)
    if plot is not None:
        _draw(found, title(ledger.subject.model, len(crops), crop, grid), plot)


def _require_packages(plot: Path | None) -> None:
    needed = ["torchmetrics", "stlpips_pytorch", *(["matplotlib"] if plot is not None else [])]
    for name in needed:
        if find_spec(name) is None:
            raise UsageError(
                f"what this needs is not installed ({name})", "pip install 'coser-cli[eval]'"
            )


def _require_files(
    results: Path | None, plot: Path | None, *, measured: bool, overwrite: bool
) -> None:
    """What could fail only after hours fails now."""
    if measured and (results is None or not results.is_file()):
        raise UsageError("--measured reports a file that is there", "name it with --results")
    for option, path in (("--results", results), ("--plot", plot)):
        if path is None:
            continue
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(f"{option}: {shown(path)} can be no file", "name one in a folder")
    if plot is not None and plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot: {shown(plot)} is no name of an SVG", "end it in .svg")
    if plot is not None and plot.exists() and not overwrite:
        raise UsageError(f"{shown(plot)} exists", "give --overwrite to draw it again")


def _by_commas(text: str, option: str, parse: Callable[[str], Any]) -> tuple[Any, ...]:
    """Each value once, in its order. Raises `UsageError`."""
    found = []
    for each in text.split(","):
        try:
            found.append(parse(each.strip()))
        except ValueError as error:
            raise UsageError(f"{option}: {each.strip()!r} {error}") from None
    return tuple(dict.fromkeys(found))


def _samplers(text: str) -> tuple[str, ...]:
    def known(name: str) -> str:
        if name not in SAMPLERS:
            raise ValueError(f"is none of {', '.join(SAMPLERS)}")
        return name

    return _by_commas(text, "--samplers", known)


def _count_of(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_STEPS:
        raise ValueError(f"is no whole number from 1 to {MAX_STEPS}")
    return int(text)


def _count_or_same(text: str) -> int | None:
    return None if text == SAME else _count_of(text)


def _interval(text: str) -> tuple[float, float]:
    try:
        first, last = (float(each) for each in text.split("-"))
    except ValueError:
        raise ValueError("is no interval, as 0.2-0.8") from None
    if not 0 <= first < last <= 1:
        raise ValueError("must be two numbers from 0 to 1, the lesser first")
    return first, last


def _teller(ledger: Ledger, *, quiet: bool) -> Tell:
    """Says on stderr what comes next, and how long the one before took."""
    began = time.monotonic()

    def tell(settings: Settings, done: int, total: int) -> None:
        if not quiet:
            from coser_cli.cli.quality_report import words

            minutes = (time.monotonic() - began) / 60
            line = f"[{minutes:.0f} min] {done + 1} of {total}: {words(settings)}"
            typer.echo(line, err=True)

    return tell


def _draw(found: Comparison, title: str, plot: Path) -> None:
    from coser_cli.evaluation.plot import draw
    from coser_cli.imageio.atomic import atomic_file

    try:
        with atomic_file(plot) as file:
            file.write(draw(found, title))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"cannot write {shown(plot)}: {reason}") from None
    typer.echo(f"drawn: {shown(plot)}", err=True)
