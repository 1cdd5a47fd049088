"""Which settings are measured, in what order, and how often the networks run for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from coser_cli.config import ModelConfig
from coser_cli.engine.passes import Pass, imagining, restoring
from coser_cli.errors import UsageError
from coser_cli.settings import ResolvedSettings, Settings

BASELINE_SAMPLER = "ddpm"
EVERYWHERE = (0.0, 1.0)


@dataclass(frozen=True)
class Evaluations:
    """How often the networks run for one picture. The U-Net counts once per guidance branch, so
    twice in a guided step; the ControlNet once per hint, so twice per step with one reference.
    """

    reference_unet: int = 0
    unet: int = 0
    controlnet: int = 0

    @property
    def total(self) -> int:
        """Of the U-Net in both passes: what a quality is held against."""
        return self.reference_unet + self.unet


def evaluations(settings: ResolvedSettings, config: ModelConfig) -> Evaluations:
    """What these settings take; nothing is computed. With a `deep_interval`
    parts of the networks count as wholes.

    Raises `UsageError` where their sampler is unknown.
    """
    if not settings.strength:
        return Evaluations()
    how, references = restoring(settings, config), 0
    imagined = 0
    if settings.reference_mode != "none":
        references = settings.references
        if settings.reference_strength:
            imagined = references * _branches(imagining(settings, config))
    controls = len(how.sampler.timesteps) * (1 + references)
    return Evaluations(imagined, _branches(how), controls)


def _branches(how: Pass) -> int:
    return sum(map(how.guidance.branches, how.sampler.timesteps))


@dataclass(frozen=True)
class Grid:
    """Every combination of these values, from one start for both passes.

    `reference_steps` None are as many as those of the result; combinations in which they would not
    be fewer are left out. The baseline is `ddpm` in `baseline_steps` steps, both passes guided
    throughout, with each of the `seeds`; all else is measured with the first seed.
    Raises `UsageError`.
    """

    samplers: tuple[str, ...]
    steps: tuple[int, ...]
    intervals: tuple[tuple[float, float], ...] = (EVERYWHERE,)
    reference_steps: tuple[int | None, ...] = (None,)
    strength: float = 1.0
    scale: int = 4
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline_steps: int = 200

    def __post_init__(self) -> None:
        if not self.strength:
            raise UsageError("strength 0 leaves diffusion out", "give --strength above 0")
        list(self._combinations())  # every value is checked where it becomes a setting

    @property
    def without_diffusion(self) -> Settings:
        return Settings(scale=float(self.scale), strength=0.0, seed=self.seeds[0])

    @property
    def baseline(self) -> Settings:
        """What all else is compared to, with the first seed."""
        return self._settings(BASELINE_SAMPLER, self.baseline_steps, EVERYWHERE, None)

    def combinations(self, config: ModelConfig) -> list[ResolvedSettings]:
        """Every setting once, complete, the one without diffusion first, then by evaluations."""
        settings = [each.resolve(config) for each in (self.without_diffusion, self.baseline)]
        settings += [each.resolve(config) for each in self._combinations()]
        return sorted(dict.fromkeys(settings), key=lambda each: evaluations(each, config).total)

    def runs(self, config: ModelConfig) -> list[ResolvedSettings]:
        """What is to be measured, in order: cheap first, but the baseline with all its seeds right
        after the smallest number of steps, because without it nothing can be compared.
        """
        settings = self.combinations(config)
        baselines = self.with_seeds(self.baseline.resolve(config))
        least = min(self.steps)
        early = [each for each in settings if not each.strength or each.steps == least]
        return list(dict.fromkeys([*early, *baselines, *settings]))

    def with_seeds(self, settings: ResolvedSettings) -> list[ResolvedSettings]:
        return [replace(settings, seed=seed) for seed in self.seeds]

    def _combinations(self) -> Iterator[Settings]:
        values = product(self.samplers, self.steps, self.intervals, self.reference_steps)
        for sampler, steps, interval, reference_steps in values:
            if reference_steps is None or reference_steps < steps:
                yield self._settings(sampler, steps, interval, reference_steps)

    def _settings(
        self, sampler: str, steps: int, interval: tuple[float, float], reference_steps: int | None
    ) -> Settings:
        return Settings(
            scale=float(self.scale),
            steps=steps,
            sampler=sampler,
            guidance_interval=interval,
            reference_steps=reference_steps,
            strength=self.strength,
            reference_strength=self.strength,
            seed=self.seeds[0],
        )
