"""The options of `coser bench quality`: what is compared, on what, and where it is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from coser_cli.cli.options.common import file_option
from coser_cli.cli.options.declare import options_of
from coser_cli.errors import UsageError, shown
from coser_cli.settings import DEFAULT_SEED, MAX_SEED, MAX_STEPS, SAMPLERS

if TYPE_CHECKING:
    from coser_cli.evaluation.settings_grid import Grid

measured_option = options_of("What is measured")
DISTILLED_ONLY = ("lcm",)
"""Samplers of distilled models, which the default leaves out."""
EVERY_SAMPLER = ",".join(name for name in SAMPLERS if name not in DISTILLED_ONLY)
SAME = "same"
MAX_SEEDS, MIN_CROP, MAX_CROP, MAX_COUNT = 100, 8, 4096, 100_000


Scale = Annotated[int, measured_option("Scale of the sets.", "--scale -s", min=1, max=16)]
Crop = Annotated[
    int,
    measured_option(
        "Take from each picture the square of this many LR pixels a side that has the most detail.",
        min=MIN_CROP,
        max=MAX_CROP,
    ),
]
Count = Annotated[
    int | None,
    measured_option(
        "Take this many pictures of each set, evenly spaced.",
        min=1,
        max=MAX_COUNT,
        show_default="all",
    ),
]


@dataclass(frozen=True)
class ComparedSettings:
    """The values of the options that say what is compared."""

    samplers: Annotated[
        str, measured_option("Samplers, by commas; lcm is for distilled models.")
    ] = EVERY_SAMPLER
    steps: Annotated[str, measured_option("Steps of the result, by commas.")] = (
        "4,6,8,10,15,20,50,200"
    )
    intervals: Annotated[
        str, measured_option("Parts of the steps that are guided, FROM-TO, by commas.")
    ] = "0-1,0.2-0.8"
    reference_steps: Annotated[
        str,
        measured_option(
            "Steps of the reference, by commas: `same`, or a number, which counts where the "
            "result has more."
        ),
    ] = "same,4"
    strength: Annotated[
        float, measured_option("Start both passes here; 1 is pure noise.", min=0.0, max=1.0)
    ] = 1.0
    baseline_steps: Annotated[
        int,
        measured_option(
            "Compare to ddpm with this many steps, all of them guided.", min=1, max=MAX_STEPS
        ),
    ] = 200
    seeds: Annotated[
        int,
        measured_option(
            "Measure the baseline, and what proves best, with this many seeds.",
            min=2,
            max=MAX_SEEDS,
        ),
    ] = 3
    seed: Annotated[
        int, measured_option("The first seed, and the only one else.", min=0, max=MAX_SEED)
    ] = DEFAULT_SEED

    def grid(self, scale: int) -> Grid:
        """All combinations. Raises `UsageError` that names the option where a value is wrong."""
        from coser_cli.evaluation.settings_grid import Grid

        return Grid(
            _by_commas(self.samplers, "--samplers", _sampler),
            _by_commas(self.steps, "--steps", _number),
            _by_commas(self.intervals, "--intervals", _interval),
            _by_commas(self.reference_steps, "--reference-steps", _number_or_same),
            strength=self.strength,
            scale=scale,
            seeds=tuple((self.seed + index) % (MAX_SEED + 1) for index in range(self.seeds)),
            baseline_steps=self.baseline_steps,
        )


@dataclass(frozen=True)
class OutputOptions:
    """The values of the options about files."""

    results: Annotated[
        Path | None,
        file_option(
            "Keep what has been measured in this file, and measure only what it lacks.",
            metavar="FILE.jsonl",
        ),
    ] = None
    measured: Annotated[
        bool, file_option("Measure nothing: report what the file of --results has.", "--measured")
    ] = False
    plot: Annotated[
        Path | None, file_option("Also draw quality against evaluations.", metavar="FILE.svg")
    ] = None
    overwrite: Annotated[bool, file_option("Draw a plot again that exists.", "--overwrite")] = False

    def require_sane(self) -> None:
        """What could fail only after hours fails now. Raises `UsageError`."""
        if self.measured and (self.results is None or not self.results.is_file()):
            raise UsageError("--measured reports a file that is there", "name it with --results")
        for flag, path in (("--results", self.results), ("--plot", self.plot)):
            if path is not None and (path.is_dir() or not path.parent.is_dir()):
                raise UsageError(
                    f"{flag}: {shown(path)} can be no file", "name one in a folder that exists"
                )
        if self.plot is not None:
            self._require_drawable(self.plot)

    def _require_drawable(self, plot: Path) -> None:
        if plot.suffix.lower() != ".svg":
            raise UsageError(f"--plot: {shown(plot)} is no name of an SVG", "end it in .svg")
        if plot.exists() and not self.overwrite:
            raise UsageError(f"{shown(plot)} exists", "give --overwrite to draw it again")


def _by_commas(text: str, option: str, parse: Callable[[str], Any]) -> tuple[Any, ...]:
    """Each value once, in its order. Raises `UsageError`."""
    values = []
    for each in text.split(","):
        try:
            values.append(parse(each.strip()))
        except ValueError as error:
            raise UsageError(f"{option}: {each.strip()!r} {error}") from None
    return tuple(dict.fromkeys(values))


def _sampler(text: str) -> str:
    if text not in SAMPLERS:
        raise ValueError(f"is none of {', '.join(SAMPLERS)}")
    return text


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= MAX_STEPS:
        raise ValueError(f"is no whole number from 1 to {MAX_STEPS}")
    return int(text)


def _number_or_same(text: str) -> int | None:
    return None if text == SAME else _number(text)


def _interval(text: str) -> tuple[float, float]:
    try:
        first, last = (float(each) for each in text.split("-"))
    except ValueError:
        raise ValueError("is no interval such as 0.2-0.8") from None
    if not 0 <= first < last <= 1:
        raise ValueError("must be two numbers from 0 to 1, the lesser first")
    return first, last
