"""The options that decide what a result looks like: `Settings`, but for the scale."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any

import typer

from coser_cli import settings as names
from coser_cli.cli.options.common import REFERENCE, SAMPLING, choose
from coser_cli.errors import UsageError
from coser_cli.settings import DEFAULT_SEED, PRESETS, Settings

Fast = Annotated[
    bool,
    typer.Option(
        "--fast",
        help="Take the model's fast settings; single options go before them.",
        rich_help_panel=SAMPLING,
    ),
]
Balanced = Annotated[
    bool,
    typer.Option(
        "--balanced",
        help="Take the model's usual settings, as without any of these three.",
        rich_help_panel=SAMPLING,
    ),
]
Best = Annotated[
    bool,
    typer.Option(
        "--best",
        help="Take the model's best and slowest settings.",
        rich_help_panel=SAMPLING,
    ),
]
Steps = Annotated[
    int | None,
    choose(
        "--steps",
        panel=SAMPLING,
        min=1,
        max=names.MAX_STEPS,
        envvar="COSER_STEPS",
        help="Take this many sampling steps; for the reference and for the result each.",
    ),
]
Sampler = Annotated[
    names.Sampler | None,
    choose("--sampler", panel=SAMPLING, envvar="COSER_SAMPLER", help="Denoise with this sampler."),
]
Seed = Annotated[
    int,
    typer.Option(
        "--seed",
        min=0,
        max=names.MAX_SEED,
        metavar="N",
        envvar="COSER_SEED",
        help="Draw the noise from this seed; it means the same on every device.",
        rich_help_panel=SAMPLING,
    ),
]
_GUIDANCE = {"min": 1.0, "max": names.MAX_GUIDANCE}
_FRACTION = {"min": 0.0, "max": 1.0}
GuidanceScale = Annotated[
    float | None,
    choose(
        "--guidance-scale",
        panel=SAMPLING,
        envvar="COSER_GUIDANCE_SCALE",
        help="Follow prompt and understanding this strongly; 1 is off and takes half the time.",
        **_GUIDANCE,
    ),
]
GuidanceInterval = Annotated[
    tuple[float, float] | None,
    choose(
        "--guidance-interval",
        panel=SAMPLING,
        metavar="FROM TO",
        envvar="COSER_GUIDANCE_INTERVAL",
        help="Guide in this part of the steps only: 0 is the first, noisiest one, 1 the last. "
        "Steps that are not guided take half the time.",
    ),
]
Strength = Annotated[
    float | None,
    choose(
        "--strength",
        panel=SAMPLING,
        envvar="COSER_STRENGTH",
        help="Let diffusion change this much; 0 not at all, 1 from pure noise.",
        **_FRACTION,
    ),
]
Fidelity = Annotated[
    float | None,
    choose(
        "--fidelity",
        panel=SAMPLING,
        envvar="COSER_FIDELITY",
        help="Keep to the input's structures while decoding: 0 free, 1 faithful.",
        **_FRACTION,
    ),
]
ColorFix = Annotated[
    names.ColorFix | None,
    choose(
        "--color-fix",
        panel=SAMPLING,
        envvar="COSER_COLOR_FIX",
        help="Take the colours of the input over by this method.",
    ),
]
Prompt = Annotated[
    str,
    typer.Option(
        "--prompt",
        help="Say what the picture shows.",
        rich_help_panel=SAMPLING,
        show_default=False,
    ),
]
NegativePrompt = Annotated[
    str | None,
    choose("--negative-prompt", panel=SAMPLING, help="Say what the picture must not look like."),
]
ReferenceMode = Annotated[
    names.ReferenceMode | None,
    choose(
        "--reference-mode",
        envvar="COSER_REFERENCE_MODE",
        help="Imagine one reference, steered by what the whole picture shows (global) or, in "
        "tiles, also by what each tile shows; or none.",
        panel=REFERENCE,
    ),
]
References = Annotated[
    int,
    typer.Option(
        "--references",
        "-n",
        min=1,
        max=names.MAX_REFERENCES,
        envvar="COSER_REFERENCES",
        help="Imagine this many references; each from noise of its own.",
        rich_help_panel=REFERENCE,
    ),
]
ReferenceSelect = Annotated[
    names.ReferenceSelect,
    typer.Option(
        "--reference-select",
        envvar="COSER_REFERENCE_SELECT",
        help="Of several references, use all (each place takes what fits best among them), or the "
        "one that the model's image tower finds nearest to the input.",
        rich_help_panel=REFERENCE,
    ),
]
ReferenceSteps = Annotated[
    int | None,
    choose(
        "--reference-steps",
        panel=REFERENCE,
        min=1,
        max=names.MAX_STEPS,
        envvar="COSER_REFERENCE_STEPS",
        help="Imagine the reference in this many steps, where they are not to be as many as those "
        "of the result.",
    ),
]
ReferenceGuidanceScale = Annotated[
    float | None,
    choose(
        "--reference-guidance-scale",
        panel=REFERENCE,
        envvar="COSER_REFERENCE_GUIDANCE_SCALE",
        help="Guidance scale while the reference is imagined.",
        **_GUIDANCE,
    ),
]
ReferenceStrength = Annotated[
    float | None,
    choose(
        "--reference-strength",
        panel=REFERENCE,
        envvar="COSER_REFERENCE_STRENGTH",
        help="Strength while the reference is imagined: 0 is the input itself, 1 pure noise.",
        **_FRACTION,
    ),
]

_WEIGHT: dict[str, Any] = {"min": 0.0, "max": names.MAX_WEIGHT, "metavar": "WEIGHT"}
ControlWeight = Annotated[
    float,
    typer.Option(
        "--control-weight",
        envvar="COSER_CONTROL_WEIGHT",
        help="Hold the result to the low-resolution picture this strongly: 0 not at all, 1 as "
        "trained.",
        rich_help_panel=SAMPLING,
        **_WEIGHT,
    ),
]
ReferenceWeight = Annotated[
    float,
    typer.Option(
        "--reference-weight",
        envvar="COSER_REFERENCE_WEIGHT",
        help="Take this much from the references: 0 nothing, 1 as trained.",
        rich_help_panel=REFERENCE,
        **_WEIGHT,
    ),
]

APPROXIMATIONS = "Approximations (off by default)"


def _every(flag: str, variable: str, what: str) -> Any:
    """An option that says every how many steps `what` is computed."""
    return typer.Option(
        flag,
        min=1,
        max=names.MAX_STEPS,
        metavar="N",
        envvar=variable,
        help=f"Compute {what} at every N-th step only.",
        rich_help_panel=APPROXIMATIONS,
    )


DeepInterval = Annotated[
    int,
    _every(
        "--deep-interval", "COSER_DEEP_INTERVAL", "all levels of the networks but the finest one"
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
        """How to enlarge. Raises `UsageError`."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return Settings(scale, preset=preset, **values)
