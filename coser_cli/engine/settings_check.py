"""Settings held against a model: what it cannot do, and what has no effect with it; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coser_cli.errors import UsageError
from coser_cli.settings import ONE_STEP, ResolvedSettings, Settings

if TYPE_CHECKING:
    from coser_cli.config import ModelConfig

_DIFFUSION = (
    "steps",
    "sampler",
    "guidance_scale",
    "guidance_interval",
    "prompt",
    "negative_prompt",
    "reference_mode",
    "references",
    "reference_select",
    "reference_steps",
    "reference_guidance_scale",
    "reference_strength",
    "control_weight",
    "reference_weight",
    "deep_interval",
    "seed",
)
"""Settings that act through diffusion alone."""

_NO_DIFFUSION = "without diffusion: give a --strength above 0"


@dataclass(frozen=True)
class Idle:
    """The name of a setting that has no effect, and why: "has no effect <why>"."""

    name: str
    why: str


def is_guided(settings: ResolvedSettings, given: bool) -> bool:
    """Whether a reference guides the result: a picture that is `given`, or an imagined one."""
    if settings.strength == 0 or settings.reference_weight == 0:
        return False
    return given or settings.reference_mode != "none"


def require_imagines(config: ModelConfig) -> None:
    """Raise `UsageError` for a model that imagines no references."""
    if not config.imagines:
        raise UsageError(
            f"the model {config.name} imagines no references", "give your own with --reference"
        )


def require_possible(
    settings: Settings, config: ModelConfig, *, files: bool = False, want_reference: bool = False
) -> None:
    """Raise `UsageError` where references are to be imagined by a model that imagines none.

    `files`: pictures of the user are the references. `want_reference`: references are written.
    """
    if not files and (want_reference or is_guided(settings.resolve(config), False)):
        require_imagines(config)


def idle_settings(
    settings: Settings, config: ModelConfig, *, files: bool = False, want_reference: bool = False
) -> list[Idle]:
    """What of the settings that differ from `Settings()` has no effect with the model; the pictures
    of the user are called "reference". Arguments as of `require_possible`.
    """
    usual, complete = Settings(), settings.resolve(config)
    names = [*_DIFFUSION, "fidelity"]
    changed = [name for name in names if getattr(settings, name) != getattr(usual, name)]
    imagined = not files and (want_reference or is_guided(complete, False))
    whys = {name: _why(name, settings, complete, config, imagined) for name in changed}
    if "reference_weight" in whys and complete.reference_weight and complete.strength:
        whys["reference_weight"] = "" if is_guided(complete, files) else "without a reference"
    if files and complete.strength == 0:
        whys["reference"] = _NO_DIFFUSION
    return [Idle(name, why) for name, why in whys.items() if why]


def _why(
    name: str, settings: Settings, complete: ResolvedSettings, config: ModelConfig, imagined: bool
) -> str:
    """Why a setting has no effect; "" where it has one."""
    step = config.one_step
    if name == "fidelity":
        return "with this model's decoder" if config.cfw is None else ""
    if complete.strength == 0 and not imagined:
        return _NO_DIFFUSION
    if step is None:
        return ""
    if name in ONE_STEP or name in ("sampler", "negative_prompt"):
        same = getattr(settings, name) == getattr(complete, name) and name != "negative_prompt"
        return "" if same else "with a model that makes one step"
    seeded = imagined and config.reference is not None and config.reference.noised
    if name == "seed" and not seeded and not (step.noised and complete.strength):
        return "with a model that adds no noise"
    if name in ("references", "reference_select") and imagined and not seeded:
        return "with a model that adds no noise: its references are all alike"
    return ""
