"""The stages of one picture, each measured by itself: seconds, memory, operations."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from coser_cli.bench.clock import Marks, OnProgress, Peak, Timing, peak_memory, silent
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
    its last step, None where they were not counted.
    """

    name: str
    seconds: Timing
    peak: int | None
    flops: int | None = None
    steps: int | None = None
    step_seconds: Timing | None = None
    step_flops: int | None = None

    @property
    def rate(self) -> float | None:
        """Operations per second."""
        return None if self.flops is None else self.flops / self.seconds.median


class Walkthrough:
    """One picture on its way through the engine: each stage keeps what the later ones need."""

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
        stages = {"prepare": self.prepare, "decode": self.decode, "write": self.write}
        if self.settings.strength:
            stages |= {"text": self.text, "understand": self.understand}
            stages |= {"imagine": self.imagine, "restore": self.restore}
        order = ("text", "prepare", "understand", "imagine", "restore", "decode", "write")
        return {name: stages[name] for name in order if name in stages}

    def text(self, on_step: OnStep = NO_STEPS) -> None:
        """Embed both prompts, which the engine does once per model."""
        prompts = self.settings.prompt, self.settings.negative_prompt or ""
        with torch.inference_mode():
            self.upscaler.model.text.encode(prompts)

    def prepare(self, on_step: OnStep = NO_STEPS) -> None:
        """Enlarge, pad and, where the result needs it, encode."""
        self.low_res = self.upscaler.prepare(self.pixels, self.settings)

    def understand(self, on_step: OnStep = NO_STEPS) -> None:
        """The cognitive embedding."""
        self.cognition = self.upscaler.understand(self.low_res, self.settings)

    def imagine(self, on_step: OnStep = NO_STEPS) -> None:
        """The reference."""
        self.reference = self.upscaler.imagine(
            self.low_res, self.cognition, self.settings, on_step=on_step
        )

    def restore(self, on_step: OnStep = NO_STEPS) -> None:
        """The latents of the result."""
        self.latents = self.upscaler.restore(
            self.low_res, self.cognition, self.reference, self.settings, on_step=on_step
        )

    def decode(self, on_step: OnStep = NO_STEPS) -> None:
        """The pixels. Raises `DeviceError` where they are not finite."""
        self.result = self.upscaler.decode(self.latents, self.low_res, self.settings)

    def write(self, on_step: OnStep = NO_STEPS) -> None:
        """A PNG, which is deleted again."""
        with tempfile.TemporaryDirectory() as folder:
            write_photo(Path(folder) / "result.png", self.result[0].numpy())


@dataclass
class _Measured:
    """What the repetitions of one stage have given."""

    name: str
    seconds: list[float] = field(default_factory=list)
    step_seconds: list[float] = field(default_factory=list)
    steps: int | None = None
    peak: int | None = None
    flops: int = 0
    step_flops: int | None = None

    def frozen(self) -> Stage:
        step_seconds = Timing(tuple(self.step_seconds)) if self.step_seconds else None
        timing = Timing(tuple(self.seconds))
        return Stage(
            self.name,
            timing,
            self.peak,
            self.flops,
            self.steps,
            step_seconds,
            self.step_flops,
        )


def measure_stages(
    walkthrough: Walkthrough,
    repeat: int,
    warmup: int = 1,
    on_progress: OnProgress = silent,
) -> list[Stage]:
    """Every stage, `repeat` times in turn, as a picture goes through them.

    Before, they run once while operations are counted, and `warmup` further times untimed.
    """
    stages = walkthrough.stages()
    measured = {name: _Measured(name) for name in stages}
    on_progress("counting operations")
    for name, run in stages.items():
        _count(run, measured[name])
    for round_ in range(warmup):
        on_progress(f"warming up: {round_ + 1} of {warmup}")
        for run in stages.values():
            run(NO_STEPS)
    for round_ in range(repeat):
        on_progress(f"measuring: {round_ + 1} of {repeat}")
        for name, run in stages.items():
            _time(run, walkthrough.upscaler.device, measured[name])
    return [each.frozen() for each in measured.values()]


def _count(run: Callable[[OnStep], None], measured: _Measured) -> None:
    """Operations of a stage, and of its last step."""
    reached = [0]
    with counting() as counter:
        run(lambda *_: reached.append(counter.get_total_flops()))
        measured.flops = counter.get_total_flops()
    if len(reached) > 1:
        measured.steps = len(reached) - 1
        measured.step_flops = reached[-1] - reached[-2]


def _time(run: Callable[[OnStep], None], device: torch.device, measured: _Measured) -> None:
    """One repetition. The first step of several is left out of the steps' median: it prepares what
    the others share."""
    marks = Marks(device)
    with peak_memory(device) as peak:
        marks.set()
        run(lambda *_: marks.set())
        marks.set()
        seconds = marks.seconds()
    measured.seconds.append(sum(seconds))
    steps = seconds[:-1]
    measured.step_seconds += steps[1:] if len(steps) > 1 else steps
    measured.peak = _higher(measured.peak, peak)


def _higher(before: int | None, peak: Peak) -> int | None:
    known = [each for each in (before, peak.bytes) if each is not None]
    return max(known, default=None)
