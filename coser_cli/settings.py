"""What the user chooses, as frozen dataclasses, and the names of the choices; no torch here.

Names are known without torch so that `--help`, completion and validation are instant.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from coser_cli.errors import UsageError

if TYPE_CHECKING:
    from coser_cli.config import ModelConfig

Sampler = Literal[
    "ddpm",
    "ddim",
    "dpmpp-2m",
    "dpmpp-2m-sde",
    "dpmpp-3m-sde",
    "unipc",
    "euler",
    "euler-ancestral",
    "lcm",
]
Preset = Literal["fast", "balanced", "best"]
"""Defaults of the model that go together; "balanced" are those without a name."""
ColorFix = Literal["adain", "wavelet", "none"]
ReferenceMode = Literal["global", "tile", "none"]
ReferenceSelect = Literal["all", "clip"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
Offload = Literal["auto", "none", "model", "sequential"]
"""Which weights lie on the device: all; those of the networks that run; those of the layer that
runs. "auto" is the first of these that leaves memory for the picture."""

SAMPLERS: tuple[str, ...] = get_args(Sampler)
PRESETS: tuple[str, ...] = get_args(Preset)
COLOR_FIXES: tuple[str, ...] = get_args(ColorFix)
REFERENCE_MODES: tuple[str, ...] = get_args(ReferenceMode)
REFERENCE_SELECTS: tuple[str, ...] = get_args(ReferenceSelect)
DTYPES: tuple[str, ...] = get_args(Dtype)
OFFLOADS: tuple[str, ...] = get_args(Offload)

MIN_SCALE, MAX_SCALE = 1.0, 16.0
DEFAULT_TILE_SIZE = 512
MAX_TILE_SIZE, MAX_TILE_BATCH = 8192, 256
MAX_STEPS = 1000
MAX_REFERENCES = 16
MAX_GUIDANCE = 100.0
MAX_WEIGHT = 2.0
MAX_SEED = 2**32 - 1
DEFAULT_SEED = 2887
ONE_STEP: dict[str, Any] = {
    "steps": 1,
    "guidance_scale": 1.0,
    "guidance_interval": (0.0, 1.0),
    "reference_steps": 1,
    "reference_guidance_scale": 1.0,
    "reference_strength": 1.0,
    "deep_interval": 1,
}
"""Values of these settings for a model that makes one step, whatever the user sets; `sampler` is
the model's own.
"""


@dataclass(frozen=True)
class Compute:
    """The model, and where and how it computes; see `Upscaler.from_pretrained`."""

    model: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    offload: str = "auto"
    low_memory: bool = False
    compile: bool = False
    pre_restorer: str | None = None


@dataclass(frozen=True)
class Settings:
    """How to enlarge one picture. `None` means the model's own default (see `resolve`), for
    `reference_steps` as many as `steps`; `preset` selects among the model's defaults.

    `guidance_interval` is the guided part of the steps, as shares from the noisiest step on.
    Features are computed at every step, or at every n-th where `deep_interval` is more than 1: an
    approximation (see `engine/feature_cache.py`). Raises `UsageError` that names the field where a
    value is out of range.
    """

    scale: float = 4.0
    steps: int | None = None
    sampler: str | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] | None = None
    reference_steps: int | None = None
    reference_guidance_scale: float | None = None
    strength: float | None = None
    reference_strength: float | None = None
    fidelity: float | None = None
    color_fix: str | None = None
    prompt: str = ""
    negative_prompt: str | None = None
    reference_mode: str | None = None
    references: int = 1
    reference_select: str = "all"
    control_weight: float = 1.0
    reference_weight: float = 1.0
    deep_interval: int = 1
    seed: int = DEFAULT_SEED
    preset: str = "balanced"

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                check(name, value)

    def resolve(self, config: ModelConfig) -> ResolvedSettings:
        """The same settings with every `None` replaced by the default of the model and preset.
        Settings without effect in a one-step model get one fixed value. Raises `UsageError` where
        the model has no such preset.
        """
        if self.preset != "balanced" and self.preset not in config.presets:
            raise UsageError(
                f"the model {config.name} has no --{self.preset}",
                "leave it out: nothing that was measured differs in that way",
            )
        defaults = config.preset(self.preset)
        values = {
            each.name: getattr(defaults if getattr(self, each.name) is None else self, each.name)
            for each in fields(self)
        }
        values["reference_steps"] = values["reference_steps"] or values["steps"]
        if config.one_step is not None:
            values |= ONE_STEP | {"sampler": defaults.sampler}
        if not config.imagines and self.reference_mode is None:
            values["reference_mode"] = "none"
        return ResolvedSettings(**values | {"preset": "balanced"})

    def with_defaults(self, config: ModelConfig) -> ResolvedSettings:
        """The former name of `resolve`."""
        warnings.warn("Settings.with_defaults is called resolve", DeprecationWarning, stacklevel=2)
        return self.resolve(config)


@dataclass(frozen=True, kw_only=True)
class ResolvedSettings(Settings):
    """Settings without `None`, made by `Settings.resolve`."""

    steps: int
    sampler: str
    guidance_scale: float
    guidance_interval: tuple[float, float]
    reference_steps: int
    reference_guidance_scale: float
    strength: float
    reference_strength: float
    fidelity: float
    color_fix: str
    negative_prompt: str
    reference_mode: str

    def resolve(self, config: ModelConfig) -> ResolvedSettings:
        """These settings: they are resolved."""
        return self


@dataclass(frozen=True)
class TileSpec:
    """How a large picture is cut: lengths are pixels of the result, memory is bytes.

    `overlap` None: the model's own, but half of a tile at most. `tile_batch` and `max_memory` None:
    as the memory suffices. `jitter` moves the tiles from step
    to step. Raises `UsageError` where a value is out of range.
    """

    tile_size: int = DEFAULT_TILE_SIZE
    overlap: int | None = None
    tile_batch: int | None = None
    jitter: bool = False
    max_memory: int | None = None
    temp_dir: Path | None = None

    def __post_init__(self) -> None:
        _number(1, MAX_TILE_SIZE, whole=True)("tile_size", self.tile_size)
        if self.overlap is not None:
            _number(0, MAX_TILE_SIZE, whole=True)("overlap", self.overlap)
        if self.tile_batch is not None:
            _number(1, MAX_TILE_BATCH, whole=True)("tile_batch", self.tile_batch)
        if self.overlap is not None and self.overlap >= self.tile_size:
            raise UsageError(
                f"an overlap of {self.overlap} pixels leaves nothing of a tile of {self.tile_size}",
                "give --overlap less than --tile-size; half of it is usual",
            )

    def overlap_with(self, config: ModelConfig) -> int:
        """By how many pixels the tiles of a model overlap."""
        if self.overlap is not None:
            return self.overlap
        half = self.tile_size // 2 // config.downscale * config.downscale
        return min(config.tile_overlap, half)

    def cells(self, config: ModelConfig) -> tuple[int, int]:
        """Tile and stride in latent cells for a model.

        Raises `UsageError` that names the nearest lengths that fit.
        """
        downscale, multiple = config.downscale, config.pixel_multiple
        overlap = self.overlap_with(config)
        if self.tile_size % multiple:
            below = self.tile_size // multiple * multiple
            fitting = f"{below} or {below + multiple}" if below else f"{multiple} at least"
            raise UsageError(
                f"this model takes no tiles of {self.tile_size} pixels",
                f"--tile-size must be a multiple of {multiple}: {fitting}",
            )
        if overlap % downscale:
            below = overlap // downscale * downscale
            raise UsageError(
                f"this model's tiles cannot overlap by {overlap} pixels",
                f"--overlap must be a multiple of {downscale}: {below} or {below + downscale}",
            )
        return self.tile_size // downscale, (self.tile_size - overlap) // downscale


def _number(low: float, high: float, *, whole: bool = False) -> Callable[[str, Any], None]:
    """A check for numbers in [low, high]."""
    kind = "a whole number" if whole else "a number"
    types = (int,) if whole else (int, float)

    def check(name: str, value: Any) -> None:
        right_type = isinstance(value, types) and not isinstance(value, bool)
        if not right_type or not low <= value <= high:
            raise UsageError(f"{name} must be {kind} from {low} to {high}, not {value!r}")

    return check


def _choice(choices: tuple[str, ...]) -> Callable[[str, Any], None]:
    """A check for one of the names in `choices`."""

    def check(name: str, value: Any) -> None:
        if value not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, not {value!r}")

    return check


def _interval(name: str, value: Any) -> None:
    """A check for two shares, the lesser first."""
    pair = isinstance(value, tuple) and len(value) == 2
    if not pair or not all(isinstance(each, int | float) for each in value):
        raise UsageError(f"{name} must be two numbers, not {value!r}")
    if not 0 <= value[0] < value[1] <= 1:
        raise UsageError(
            f"{name} must be two numbers from 0 to 1, the lesser first, not {value[0]} {value[1]}"
        )


def _text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text, not {value!r}")


_CHECKS: dict[str, Callable[[str, Any], None]] = {
    "scale": _number(MIN_SCALE, MAX_SCALE),
    "steps": _number(1, MAX_STEPS, whole=True),
    "sampler": _choice(SAMPLERS),
    "guidance_scale": _number(1.0, MAX_GUIDANCE),
    "guidance_interval": _interval,
    "reference_steps": _number(1, MAX_STEPS, whole=True),
    "reference_guidance_scale": _number(1.0, MAX_GUIDANCE),
    "strength": _number(0.0, 1.0),
    "reference_strength": _number(0.0, 1.0),
    "fidelity": _number(0.0, 1.0),
    "color_fix": _choice(COLOR_FIXES),
    "prompt": _text,
    "negative_prompt": _text,
    "reference_mode": _choice(REFERENCE_MODES),
    "references": _number(1, MAX_REFERENCES, whole=True),
    "reference_select": _choice(REFERENCE_SELECTS),
    "control_weight": _number(0.0, MAX_WEIGHT),
    "reference_weight": _number(0.0, MAX_WEIGHT),
    "deep_interval": _number(1, MAX_STEPS, whole=True),
    "seed": _number(0, MAX_SEED, whole=True),
    "preset": _choice(PRESETS),
}
