"""The options that decide what a result looks like: `Settings`, but for the scale."""

from __future__ import annotations

from dataclasses import dataclass, fields

from coser_cli.cli import options
from coser_cli.settings import DEFAULT_SEED, Settings


@dataclass(frozen=True)
class Diffusion:
    """The values of the options about sampling and references; `None` is the model's default."""

    steps: options.Steps = None
    sampler: options.Sampler = None
    seed: options.Seed = DEFAULT_SEED
    guidance_scale: options.GuidanceScale = None
    strength: options.Strength = None
    prompt: options.Prompt = ""
    negative_prompt: options.NegativePrompt = None
    fidelity: options.Fidelity = None
    color_fix: options.ColorFix = None
    reference_mode: options.ReferenceMode = "global"
    references: options.References = 1
    reference_select: options.ReferenceSelect = "all"
    reference_guidance_scale: options.ReferenceGuidanceScale = None
    reference_strength: options.ReferenceStrength = None

    def settings(self, scale: float) -> Settings:
        """How to enlarge. Raises `UsageError`."""
        return Settings(scale, **{each.name: getattr(self, each.name) for each in fields(self)})
