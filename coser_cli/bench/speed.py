"""`coser bench speed`: what is measured, in order, as data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from coser_cli.bench.ceiling import Ceiling, measure_ceiling
from coser_cli.bench.clock import OnProgress, peak_bytes, reset_peak, silent, time_of
from coser_cli.bench.environment import Environment, environment_of
from coser_cli.bench.flops import network_flops
from coser_cli.bench.loading import load, load_networks
from coser_cli.bench.stages import PictureRun, Stage, measure_stages
from coser_cli.bench.tiles import TiledStep, measure_tiled
from coser_cli.engine.compute.memory import memory_errors_named
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import UsageError
from coser_cli.models.residency import STAGES
from coser_cli.settings import ResolvedSettings, Settings


@dataclass(frozen=True)
class SpeedTest:
    """What to measure, of which model; `synthetic` gives it random weights. `size` is the side in
    pixels of the input; each stage runs `repeat` times after `warmup` untimed ones; `tiles` are
    sides in pixels of pictures to be done in tiles.

    Raises `UsageError` where tiles are wanted and the settings' strength is 0.
    """

    settings: Settings = field(default_factory=Settings)
    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    synthetic: bool = False
    size: int = 128
    repeat: int = 3
    warmup: int = 1
    networks: bool = False
    tiles: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.tiles and self.settings.strength == 0:
            raise UsageError(
                "--tiles measures diffusion, and strength 0 leaves that out",
                "give --strength above 0",
            )


@dataclass(frozen=True)
class Setup:
    """On what, and of what, the measurements that follow are."""

    environment: Environment
    model: str
    synthetic: bool
    size: int
    settings: Settings
    repeat: int
    warmup: int


@dataclass(frozen=True)
class NetworkCost:
    """Operations of one evaluation of a network, for one picture and one guidance branch."""

    name: str
    flops: int


Measurement = Setup | Ceiling | Stage | NetworkCost | TiledStep


def measure(test: SpeedTest, on_progress: OnProgress = silent) -> Iterator[Measurement]:
    """Everything that was asked for, each as soon as it is known.

    Raises `WeightsError`, `DeviceError`, and `UsageError` where the model does not take the tiles.
    """
    upscaler, synthetic = load(
        test.model, test.device, test.dtype, synthetic=test.synthetic, seed=test.settings.seed
    )
    # all stages take part unless the strength was given as 0
    strength = 1.0 if test.settings.strength is None else test.settings.strength
    settings = upscaler.resolve(replace(test.settings, strength=strength))
    if synthetic:
        on_progress(
            f"{upscaler.model.config.name}: random weights, as many and as large as the real ones"
        )
    with memory_errors_named(upscaler.device):
        yield Setup(
            environment_of(upscaler.device, upscaler.dtype),
            upscaler.model.config.name,
            synthetic,
            test.size,
            settings,
            test.repeat,
            test.warmup,
        )
        on_progress("measuring the ceiling")
        ceiling = measure_ceiling(upscaler.device, upscaler.dtype)
        yield ceiling
        for each in _stages_and_more(test, upscaler, settings, on_progress):
            yield replace(each, ceiling=ceiling.rate) if isinstance(each, Stage) else each


def _stages_and_more(
    test: SpeedTest, upscaler: Upscaler, settings: ResolvedSettings, on_progress: OnProgress
) -> Iterator[Measurement]:
    on_progress("loading")
    yield _load_stage(upscaler, settings)
    pixels = picture(test.size, settings.seed)
    run = PictureRun(upscaler, pixels, settings)
    yield from measure_stages(run, test.repeat, test.warmup, on_progress=on_progress)
    # the rest is sampling only, and partly with networks of its own
    upscaler.model.forget(upscaler.model.here - STAGES["sample"])
    if test.networks:
        on_progress("counting the networks' operations")
        latents = run.low_res.latents
        counts = network_flops(upscaler.model.config, latents.shape[2], latents.shape[3])
        yield from (NetworkCost(name, count) for name, count in counts.items())
    if not settings.strength:
        return
    for side in test.tiles:
        cognition = run.cognition
        yield measure_tiled(upscaler, settings, cognition, side, test.repeat, on_progress)


def _load_stage(upscaler: Upscaler, settings: Settings) -> Stage:
    """Every network that takes part, read or made, once."""
    stages = ("prepare", "understand", "sample", "decode") if settings.strength else ("prepare",)
    reset_peak(upscaler.device)
    seconds = time_of(lambda: load_networks(upscaler, stages), upscaler.device, 1, warmup=0)
    return Stage("load", seconds, peak_bytes(upscaler.device))


def picture(size: int, seed: int) -> Tensor:
    """A square picture `(1, 3, size, size)` of noise in [0, 1]."""
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
