"""The options that decide what a result looks like: `Settings`, but for the scale."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from coser_cli import settings as names
from coser_cli.cli.options.common import reference_option, sampling_option
from coser_cli.cli.options.declare import options_of
from coser_cli.errors import UsageError
from coser_cli.settings import DEFAULT_SEED, PRESETS, Settings

Fast = Annotated[
    bool,
    sampling_option("Take the model's fast settings; single options go before them.", "--fast"),
]
Balanced = Annotated[
    bool,
    sampling_option(
        "Take the model's usual settings, as without any of these three.", "--balanced"
    ),
]
Best = Annotated[bool, sampling_option("Take the model's best and slowest settings.", "--best")]
Steps = Annotated[
    int | None,
    sampling_option(
        "Take this many sampling steps; for the reference and for the result each.",
        min=1,
        max=names.MAX_STEPS,
        envvar="COSER_STEPS",
    ),
]
Sampler = Annotated[
    names.Sampler | None, sampling_option("Denoise with this sampler.", envvar="COSER_SAMPLER")
]
Seed = Annotated[
    int,
    sampling_option(
        "Draw the noise from this seed; it means the same on every device.",
        min=0,
        max=names.MAX_SEED,
        metavar="N",
        envvar="COSER_SEED",
    ),
]
_GUIDANCE = {"min": 1.0, "max": names.MAX_GUIDANCE}
_FRACTION = {"min": 0.0, "max": 1.0}
GuidanceScale = Annotated[
    float | None,
    sampling_option(
        "Follow prompt and understanding this strongly; 1 is off and takes half the time.",
        envvar="COSER_GUIDANCE_SCALE",
        **_GUIDANCE,
    ),
]
GuidanceInterval = Annotated[
    tuple[float, float] | None,
    sampling_option(
        "Guide in this part of the steps only: 0 is the first, noisiest one, 1 the last. "
        "Steps that are not guided take half the time.",
        metavar="FROM TO",
        envvar="COSER_GUIDANCE_INTERVAL",
    ),
]
Strength = Annotated[
    float | None,
    sampling_option(
        "Let diffusion change this much; 0 not at all, 1 from pure noise.",
        envvar="COSER_STRENGTH",
        **_FRACTION,
    ),
]
Fidelity = Annotated[
    float | None,
    sampling_option(
        "Keep to the input's structures while decoding: 0 free, 1 faithful.",
        envvar="COSER_FIDELITY",
        **_FRACTION,
    ),
]
ColorFix = Annotated[
    names.ColorFix | None,
    sampling_option("Take the colours of the input over by this method.", envvar="COSER_COLOR_FIX"),
]
Prompt = Annotated[str, sampling_option("Say what the picture shows.")]
NegativePrompt = Annotated[str | None, sampling_option("Say what the picture must not look like.")]
ReferenceMode = Annotated[
    names.ReferenceMode | None,
    reference_option(
        "Imagine one reference, steered by what the whole picture shows (global) or, in "
        "tiles, also by what each tile shows; or none.",
        envvar="COSER_REFERENCE_MODE",
    ),
]
References = Annotated[
    int,
    reference_option(
        "Imagine this many references; each from noise of its own.",
        "--references -n",
        min=1,
        max=names.MAX_REFERENCES,
        envvar="COSER_REFERENCES",
    ),
]
ReferenceSelect = Annotated[
    names.ReferenceSelect,
    reference_option(
        "Of several references, use all (each place takes what fits best among them), or the "
        "one that the model's image tower finds nearest to the input.",
        envvar="COSER_REFERENCE_SELECT",
    ),
]
ReferenceSteps = Annotated[
    int | None,
    reference_option(
        "Imagine the reference in this many steps, where they are not to be as many as those "
        "of the result.",
        min=1,
        max=names.MAX_STEPS,
        envvar="COSER_REFERENCE_STEPS",
    ),
]
ReferenceGuidanceScale = Annotated[
    float | None,
    reference_option(
        "Guidance scale while the reference is imagined.",
        envvar="COSER_REFERENCE_GUIDANCE_SCALE",
        **_GUIDANCE,
    ),
]
ReferenceStrength = Annotated[
    float | None,
    reference_option(
        "Strength while the reference is imagined: 0 is the input itself, 1 pure noise.",
        envvar="COSER_REFERENCE_STRENGTH",
        **_FRACTION,
    ),
]

_WEIGHT = {"min": 0.0, "max": names.MAX_WEIGHT}
ControlWeight = Annotated[
    float,
    sampling_option(
        "Hold the result to the low-resolution picture this strongly: 0 not at all, 1 as trained.",
        envvar="COSER_CONTROL_WEIGHT",
        **_WEIGHT,
    ),
]
ReferenceWeight = Annotated[
    float,
    reference_option(
        "Take this much from the references: 0 nothing, 1 as trained.",
        envvar="COSER_REFERENCE_WEIGHT",
        **_WEIGHT,
    ),
]

approximation_option = options_of("Approximations (off by default)")


DeepInterval = Annotated[
    int,
    approximation_option(
        "Compute all levels of the networks but the finest one at every N-th step only.",
        metavar="N",
        min=1,
        max=names.MAX_STEPS,
        envvar="COSER_DEEP_INTERVAL",
    ),
]


@dataclass(frozen=True)
class Presets:
    """The values of the options that stand for several others."""

    fast: Fast = False
    balanced: Balanced = False
    best: Best = False

    @property
    def chosen(self) -> str:
        """The preset whose flag is set; "balanced" without any. Raises `UsageError` for several."""
        chosen = [name for name in PRESETS if getattr(self, name)]
        if len(chosen) > 1:
            raise UsageError(
                f"{' and '.join(f'--{name}' for name in chosen)} exclude each other",
                "give one of them; the configuration file may hold another",
            )
        return chosen[0] if chosen else "balanced"


@dataclass(frozen=True)
class Diffusion:
    """The values of the options about sampling and references; `None` is the model's default."""

    steps: Steps = None
    sampler: Sampler = None
    seed: Seed = DEFAULT_SEED
    guidance_scale: GuidanceScale = None
    guidance_interval: GuidanceInterval = None
    strength: Strength = None
    prompt: Prompt = ""
    negative_prompt: NegativePrompt = None
    fidelity: Fidelity = None
    color_fix: ColorFix = None
    reference_mode: ReferenceMode = None
    references: References = 1
    reference_select: ReferenceSelect = "all"
    reference_steps: ReferenceSteps = None
    reference_guidance_scale: ReferenceGuidanceScale = None
    reference_strength: ReferenceStrength = None
    control_weight: ControlWeight = 1.0
    reference_weight: ReferenceWeight = 1.0
    deep_interval: DeepInterval = 1

    def settings(self, scale: float, preset: str) -> Settings:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Settings(scale, preset=preset, **values)
