"""The stages of one picture, each measured by itself: seconds, memory, operations."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.bench.clock import OnProgress, Timestamps, Timing, peak_bytes, reset_peak, silent
from coser_cli.bench.flops import counting
from coser_cli.imageio.write import write_photo
from coser_cli.sampling.types import OnStep
from coser_cli.settings import Settings

if TYPE_CHECKING:
    from coser_cli.engine.cognition import Cognition
    from coser_cli.engine.preparation import LowRes
    from coser_cli.engine.upscaler import Upscaler

NO_STEPS: OnStep = lambda done, total, latents: None  # noqa: E731


@dataclass(frozen=True)
class Stage:
    """What one stage takes. `steps` is None where a stage is no pass of diffusion.

    `peak` in bytes, None where it cannot be known; `flops` of the whole stage and `step_flops` of
    its last step, None where they were not counted. `ceiling` is the device's best rate in
    operations per second.
    """

    name: str
    seconds: Timing
    peak: int | None
    flops: int | None = None
    steps: int | None = None
    step_seconds: Timing | None = None
    step_flops: int | None = None
    ceiling: float | None = None

    @property
    def rate(self) -> float | None:
        return None if self.flops is None else self.flops / self.seconds.median

    @property
    def ceiling_fraction(self) -> float | None:
        return self.rate / self.ceiling if self.rate and self.ceiling else None


class PictureRun:
    """One picture that goes through the engine: each stage keeps what the later ones need."""

    def __init__(self, upscaler: Upscaler, pixels: Tensor, settings: Settings) -> None:
        self.upscaler = upscaler
        self.pixels = pixels
        self.settings = upscaler.resolve(settings)
        self.low_res: LowRes
        self.cognition: Cognition
        self.reference: Tensor
        self.latents: Tensor | None = None
        self.result: Tensor

    def stages(self) -> dict[str, Callable[[OnStep], None]]:
        """Every stage in order; without diffusion there are fewer."""
        stages = {
            "text": self.text,
            "prepare": self.prepare,
            "understand": self.understand,
            "imagine": self.imagine,
            "restore": self.restore,
            "decode": self.decode,
            "write": self.write,
        }
        if self.settings.strength:
            return stages
        return {name: stages[name] for name in ("prepare", "decode", "write")}

    def text(self, _: OnStep) -> None:
        """Embed both prompts, which the engine does once per model."""
        with torch.inference_mode():
            self.upscaler.model.text.encode((self.settings.prompt, self.settings.negative_prompt))

    def prepare(self, _: OnStep) -> None:
        self.low_res = self.upscaler.prepare(self.pixels, self.settings)

    def understand(self, _: OnStep) -> None:
        self.cognition = self.upscaler.understand(self.low_res, self.settings)

    def imagine(self, on_step: OnStep) -> None:
        self.reference = self.upscaler.imagine(
            self.low_res, self.cognition, self.settings, on_step=on_step
        )

    def restore(self, on_step: OnStep) -> None:
        self.latents = self.upscaler.restore(
            self.low_res, self.cognition, self.reference, self.settings, on_step=on_step
        )

    def decode(self, _: OnStep) -> None:
        self.result = self.upscaler.decode(self.latents, self.low_res, self.settings)

    def write(self, _: OnStep) -> None:
        """Write a PNG, which is deleted again."""
        with tempfile.TemporaryDirectory() as folder:
            write_photo(Path(folder) / "result.png", self.result[0].numpy())


def measure_stages(
    run: PictureRun, repeat: int, warmup: int = 1, on_progress: OnProgress = silent
) -> list[Stage]:
    """Every stage, `repeat` times in turn, as a picture goes through them.

    Before, they run once while operations are counted, and `warmup` further times untimed.
    """
    stages, device = run.stages(), run.upscaler.device
    on_progress("counting operations")
    counts = {name: _count(stage) for name, stage in stages.items()}
    for index in range(warmup):
        on_progress(f"warming up: {index + 1} of {warmup}")
        for stage in stages.values():
            stage(NO_STEPS)
    times: dict[str, list[list[float]]] = {name: [] for name in stages}
    peaks: dict[str, list[int | None]] = {name: [] for name in stages}
    for index in range(repeat):
        on_progress(f"measuring: {index + 1} of {repeat}")
        for name, stage in stages.items():
            reset_peak(device)
            times[name].append(_time(stage, device))
            peaks[name].append(peak_bytes(device))
    return [_stage(name, counts[name], times[name], peaks[name]) for name in stages]


def _count(stage: Callable[[OnStep], None]) -> list[int]:
    """Operations until the end of each step, and of the whole stage."""
    reached = []
    with counting() as counter:
        stage(lambda *_: reached.append(counter.get_total_flops()))
        reached.append(counter.get_total_flops())
    return reached


def _time(stage: Callable[[OnStep], None], device: torch.device) -> list[float]:
    """Seconds of each step, and of what follows the last one."""
    timestamps = Timestamps(device)
    timestamps.take()
    stage(lambda *_: timestamps.take())
    timestamps.take()
    return timestamps.seconds()


def _stage(
    name: str, counts: list[int], times: list[list[float]], peaks: list[int | None]
) -> Stage:
    """One stage from all its repetitions. The first step of several is left out of the steps'
    median: it prepares what the others share.
    """
    peak = max((each for each in peaks if each is not None), default=None)
    whole = Timing(tuple(map(sum, times)))
    *steps, flops = counts
    if not steps:
        return Stage(name, whole, peak, flops)
    step_times = [each[1:-1] or each[:-1] for each in times]
    step_seconds = Timing(tuple(seconds for each in step_times for seconds in each))
    step_flops = steps[-1] - (steps[-2] if len(steps) > 1 else 0)
    return Stage(name, whole, peak, flops, len(steps), step_seconds, step_flops)
