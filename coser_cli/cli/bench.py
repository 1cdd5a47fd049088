"""`coser bench`: measure how fast this machine is, and which settings are best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import count
from typing import Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.options import sampling
from coser_cli.cli.options.command import Command, Group
from coser_cli.cli.options.compute import ModelOptions
from coser_cli.cli.options.declare import options_of
from coser_cli.cli.options.groups import with_groups
from coser_cli.cli.output.reporter import Reporter
from coser_cli.cli.quality import quality
from coser_cli.settings import DEFAULT_SEED, Settings

measured_option = options_of("What is measured")
MIN_SIZE, MAX_SIZE, MAX_REPEAT = 8, 4096, 1000
MIN_TILED, MAX_TILED = 64, 65536

bench = typer.Typer(name="bench", cls=Group)


@bench.callback()
def root() -> None:
    """Measure what this machine makes of the models."""


@dataclass(frozen=True)
class Model(ModelOptions):
    """The values of the options about model and device."""

    synthetic: Annotated[
        bool,
        options.model_option(
            "Give the model random weights; so it is done anyway where sd21 is not installed.",
            "--synthetic",
        ),
    ] = False


@dataclass(frozen=True)
class Sampling:
    """The values of the options about sampling that change how long it takes."""

    scale: options.Scale = 4.0
    steps: sampling.Steps = None
    sampler: sampling.Sampler = None
    strength: sampling.Strength = None
    guidance_scale: sampling.GuidanceScale = None
    reference_guidance_scale: sampling.ReferenceGuidanceScale = None
    seed: sampling.Seed = DEFAULT_SEED


@dataclass(frozen=True)
class Measured:
    """The values of the options that say what is measured, and how often."""

    size: Annotated[
        int, measured_option("Side in pixels of the input.", min=MIN_SIZE, max=MAX_SIZE)
    ] = 128
    repeat: Annotated[
        int, measured_option("Measure everything this often.", min=1, max=MAX_REPEAT)
    ] = 3
    warmup: Annotated[
        int, measured_option("Run it this often untimed before.", min=0, max=MAX_REPEAT)
    ] = 1
    networks: Annotated[
        bool, measured_option("Also count the operations of every network.", "--networks")
    ] = False
    tiles: Annotated[
        list[int] | None,
        measured_option(
            "Also measure a step in tiles, of a result with this side; repeat it for several.",
            metavar="SIDE",
            min=MIN_TILED,
            max=MAX_TILED,
        ),
    ] = None


@bench.command(cls=Command)
@with_groups
def speed(
    measured: Measured,
    sampled: Sampling,
    chosen: Model,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure how fast each stage is, against what the device can reach at all.

    Diffusion takes part, with strength 1 where none is given.
    """
    settings = Settings(**asdict(sampled))

    from coser_cli.bench.speed import SpeedTest, measure
    from coser_cli.cli.output.bench import report

    what = asdict(chosen) | asdict(measured) | {"tiles": tuple(measured.tiles or ())}
    test = SpeedTest(settings, **what)

    total, begun = 3 + test.warmup + test.repeat + test.networks + len(test.tiles), count()
    with Reporter(quiet=quiet) as reporter:

        def on_progress(words: str) -> None:
            reporter.begin_part(min(next(begun), total - 1), total, "parts", words)

        report(reporter, measure(test, on_progress), as_json=as_json)


bench.command(cls=Command)(quality)
