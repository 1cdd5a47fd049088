"""Settings checked against a model: what it cannot do, and which settings have no effect; no torch.

The only place that knows how settings depend on each other and on the model's configuration. A
setting without effect is named to the user, is no reason to make a result again, and is not
recorded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from coser_cli.errors import UsageError
from coser_cli.settings import ONE_STEP, ResolvedSettings, Settings

if TYPE_CHECKING:
    from coser_cli.config import ModelConfig

_GUIDANCE = ("guidance_interval", "negative_prompt")
_SAMPLING = ("sampler", "seed", "deep_interval", *_GUIDANCE)
_IMAGINING = ("references", "reference_steps", "reference_guidance_scale", "reference_strength")
_REFERENCE = ("reference_select", "reference_weight", *_IMAGINING)
_DIFFUSION = (
    *("steps", "guidance_scale", "prompt", "control_weight", "reference_mode"),
    *_SAMPLING,
    *_REFERENCE,
)
"""Settings that act through diffusion alone."""
_RESULT_ONLY = (
    *("strength", "fidelity", "color_fix", "steps", "guidance_scale"),
    *("control_weight", "reference_weight"),
)
"""Settings that change no reference."""

NO_DIFFUSION = "without diffusion: give a --strength above 0"
_NO_GUIDANCE = "without guidance: give a --guidance-scale above 1"
_ONE_STEP = "with a model that makes one step"
_NO_NOISE = "with a model that adds no noise"
_FILES = "where --reference gives the reference"


@dataclass(frozen=True)
class Idle:
    """The name of a setting that has no effect, and why: "has no effect <why>"."""

    name: str
    why: str


def is_guided(settings: ResolvedSettings, has_files: bool) -> bool:
    """Whether a reference guides the result: a picture of the user, or an imagined one."""
    if settings.strength == 0 or settings.reference_weight == 0:
        return False
    return has_files or settings.reference_mode != "none"


def require_imagines(config: ModelConfig) -> None:
    """Raise `UsageError` for a model that imagines no references."""
    if not config.imagines:
        raise UsageError(
            f"the model {config.name} imagines no references", "give your own with --reference"
        )


def require_conditions(config: ModelConfig, names: Collection[str]) -> None:
    """Raise `UsageError` where the model was trained without a condition of these names."""
    known = config.unet.conditions
    for name in names:
        if name not in known:
            listed = f"its conditions are {', '.join(known)}" if known else "it has none"
            raise UsageError(
                f"the model {config.name} has no condition {name!r}",
                f"{listed}; docs/training.md says how one is trained",
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
    settings: Settings,
    config: ModelConfig,
    *,
    files: int = 0,
    want_reference: bool = False,
    want_result: bool = True,
    explicit: Collection[str] | None = None,
) -> list[Idle]:
    """What of the settings that are `explicit` (by default, that differ from `Settings()`) has no
    effect with the model; pictures of the user, of which there are so many `files`, are called
    "reference".
    """
    usual, complete = Settings(), settings.resolve(config)
    names = [each.name for each in fields(Settings)]
    if explicit is None:
        explicit = [name for name in names if getattr(settings, name) != getattr(usual, name)]
    whys = dict(idle_in_run(complete, config, files, want_reference, want_result))
    if settings.reference_steps is None and "reference_steps" not in whys:
        whys.pop("steps", None)  # the reference takes as many
    if config.one_step is not None:
        fixed = ("sampler", *ONE_STEP)
        same = [name for name in fixed if getattr(settings, name) == getattr(complete, name)]
        whys = {name: why for name, why in whys.items() if name not in same}
    matters = complete.strength or config.align_references
    return [
        *(Idle(name, whys[name]) for name in names if name in explicit and name in whys),
        *([Idle("reference", NO_DIFFUSION)] if files and not matters else []),
    ]


def decodes(settings: ResolvedSettings, config: ModelConfig) -> bool:
    """Whether a result is decoded from latents, or is the enlargement itself."""
    return settings.strength > 0 or config.plain_result != "low_res"


def idle_in_run(
    settings: ResolvedSettings,
    config: ModelConfig,
    files: int,
    want_reference: bool,
    want_result: bool = True,
) -> Mapping[str, str]:
    """Names of settings that change none of what a run makes, and why."""
    maps = [idle_in_result(settings, config, files)] if want_result else []
    maps += [idle_in_reference(settings, config, files)] if want_reference else []
    return {name: why for name, why in maps[0].items() if all(name in each for each in maps)}


def idle_in_result(
    settings: ResolvedSettings, config: ModelConfig, files: int = 0
) -> dict[str, str]:
    """Names of settings that do not change the result, and why. `files` pictures of the user guide
    it.
    """
    idle = {} if config.cfw is not None else {"fidelity": "with this model's decoder"}
    if settings.strength == 0:
        if not decodes(settings, config):
            idle |= {"fidelity": NO_DIFFUSION}
        idle |= dict.fromkeys(_DIFFUSION, NO_DIFFUSION)
        if files and config.align_references:
            del idle["reference_weight"]
            if files > 1 and settings.reference_weight:
                del idle["reference_select"]
        return idle
    guided = is_guided(settings, bool(files))
    imagined = guided and not files
    if settings.reference_weight == 0:
        idle |= dict.fromkeys(("reference_mode", *_REFERENCE), "with --reference-weight 0")
        del idle["reference_weight"]
    elif not guided:
        idle |= dict.fromkeys(_REFERENCE, "with --reference-mode none")
    elif files:
        idle |= dict.fromkeys(("reference_mode", *_IMAGINING), _FILES)
    else:
        idle |= _idle_while_imagining(settings, config)
    if (files or settings.references) == 1:
        idle.setdefault("reference_select", "with a single reference")
    scales = settings.guidance_scale, settings.reference_guidance_scale if imagined else 1.0
    if config.one_step is None:
        return idle | (dict.fromkeys(_GUIDANCE, _NO_GUIDANCE) if max(scales) == 1 else {})
    idle |= dict.fromkeys(("sampler", "negative_prompt", *ONE_STEP), _ONE_STEP)
    if not config.one_step.noised and not (imagined and _imagines_from_noise(config)):
        idle["seed"] = _NO_NOISE
    return idle


def idle_in_reference(
    settings: ResolvedSettings, config: ModelConfig, files: int = 0
) -> dict[str, str]:
    """Names of settings that do not change a reference that is written, and why."""
    idle = dict.fromkeys(_RESULT_ONLY, "on a reference")
    if files:
        return idle | dict.fromkeys(_DIFFUSION, _FILES)
    idle |= _idle_while_imagining(settings, config)
    if settings.references == 1:
        idle["reference_select"] = "with a single reference"
    if config.one_step is not None:
        idle |= dict.fromkeys(("sampler", "negative_prompt", *ONE_STEP), _ONE_STEP)
        return idle | ({} if _imagines_from_noise(config) else {"seed": _NO_NOISE})
    if settings.reference_strength == 0:
        names = ("prompt", "reference_steps", "reference_guidance_scale", *_SAMPLING)
        return idle | dict.fromkeys(names, "with --reference-strength 0")
    if settings.reference_guidance_scale == 1:
        idle |= dict.fromkeys(_GUIDANCE, _NO_GUIDANCE)
    return idle


def _idle_while_imagining(settings: ResolvedSettings, config: ModelConfig) -> dict[str, str]:
    """What of the settings about references has no effect on what is imagined."""
    if config.one_step is not None and not _imagines_from_noise(config):
        reason = f"{_NO_NOISE}: its references are all alike"
        return dict.fromkeys(("references", "reference_select"), reason)
    if settings.reference_strength == 0:
        names = ("reference_steps", "reference_guidance_scale")
        return dict.fromkeys(names, "with --reference-strength 0")
    return {}


def _imagines_from_noise(config: ModelConfig) -> bool:
    return config.one_step is None or (config.reference is not None and config.reference.noised)
