"""Whether a quality differs from the baseline's by more than chance.

Diffusion draws noise, so the baseline's mean over the pictures is another one with every seed. Its
standard deviation σ over K seeds is what chance does to a mean. A mean over J seeds of something
that is exactly as good differs from the baseline's by σ·√(1/J + 1/K) as standard deviation, since
the baseline's own mean carries that noise too. *Within noise* is what is not worse by more than
twice this, in which the baseline itself would fail in one case of 44. To be better is no fault.

The paired difference and its standard error say something else: how far the pictures agree about
the difference, that is, whether other pictures would show it as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from coser_cli.config import ModelConfig
from coser_cli.evaluation.row_store import Row
from coser_cli.evaluation.settings_grid import Evaluations, Grid
from coser_cli.settings import ResolvedSettings

BETTER = {"st_lpips": -1, "psnr_y": 1}
"""The metrics that are measured, and the sign of a change for the better."""
WIDTH = 2.0
"""How many standard deviations of chance are noise."""


@dataclass(frozen=True)
class Level:
    """One metric of the baseline: by picture as mean over its seeds, the mean of all, and the
    standard deviation over the seeds of the mean over the pictures."""

    pictures: tuple[float, ...]
    mean: float
    deviation: float
    seeds: int

    def limit(self, seeds: int = 1) -> float:
        """The greatest change for the worse of a mean over that many seeds that is noise."""
        return WIDTH * self.deviation * math.sqrt(1 / seeds + 1 / self.seeds)


@dataclass(frozen=True)
class Value:
    """One metric of a setting; what refers to the baseline is None where that is not known.

    `difference` from the baseline (of the pictures' means over seeds), `error` its standard error
    over the pictures (None for a single one).
    """

    mean: float
    difference: float | None = None
    error: float | None = None
    within_noise: bool | None = None


@dataclass(frozen=True)
class SettingResult:
    """A setting, with its first seed, measured with `seeds` of them, against the baseline."""

    settings: ResolvedSettings
    seeds: int
    evaluations: Evaluations
    seconds: float
    values: Mapping[str, Value]

    @property
    def within_noise(self) -> bool | None:
        """In all metrics; None where it is not known."""
        verdicts = [each.within_noise for each in self.values.values()]
        return None if None in verdicts else all(verdicts)


@dataclass(frozen=True)
class Comparison:
    """All settings by evaluations, and the baseline's metrics (none until two seeds are there).
    `missing` counts the settings that are not measured."""

    baseline: ResolvedSettings
    levels: Mapping[str, Level]
    results: tuple[SettingResult, ...]
    missing: int

    @property
    def best(self) -> SettingResult | None:
        """The fewest evaluations within noise in all metrics; ST-LPIPS decides between equals."""
        good = [each for each in self.results if each.within_noise and each.settings.strength]
        return min(
            good,
            key=lambda each: (each.evaluations.total, each.values["st_lpips"].mean),
            default=None,
        )


def compare(grid: Grid, rows: Mapping[ResolvedSettings, Row], config: ModelConfig) -> Comparison:
    """What of the grid has been measured, against its baseline."""
    baseline, wanted = grid.baseline.resolve(config), grid.combinations(config)
    measured = {
        each: [rows[seeded] for seeded in grid.with_seeds(each) if seeded in rows]
        for each in [baseline, *wanted]
    }
    levels = {}
    if len(measured[baseline]) > 1:
        levels = {metric: _level(measured[baseline], metric) for metric in BETTER}
    results = tuple(
        _setting_result(each, measured[each], levels, is_baseline=each == baseline)
        for each in wanted
        if measured[each]
    )
    return Comparison(baseline, levels, results, len(wanted) - len(results))


def _level(rows: Sequence[Row], metric: str) -> Level:
    means = [fmean(row.metrics[metric]) for row in rows]
    return Level(_by_picture(rows, metric), fmean(means), stdev(means), len(rows))


def _by_picture(rows: Sequence[Row], metric: str) -> tuple[float, ...]:
    columns = zip(*(row.metrics[metric] for row in rows), strict=True)
    return tuple(fmean(column) for column in columns)


def _setting_result(
    settings: ResolvedSettings,
    rows: Sequence[Row],
    levels: Mapping[str, Level],
    *,
    is_baseline: bool,
) -> SettingResult:
    values = {metric: _value(metric, rows, levels.get(metric)) for metric in BETTER}
    if is_baseline:  # it is what it is compared to
        values = {metric: replace(value, within_noise=None) for metric, value in values.items()}
    seconds = fmean(row.seconds for row in rows)
    return SettingResult(settings, len(rows), rows[0].evaluations, seconds, values)


def _value(metric: str, rows: Sequence[Row], level: Level | None) -> Value:
    pictures = _by_picture(rows, metric)
    if level is None:
        return Value(fmean(pictures))
    changes = [here - there for here, there in zip(pictures, level.pictures, strict=True)]
    change = fmean(changes)
    error = stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else None
    return Value(fmean(pictures), change, error, BETTER[metric] * change >= -level.limit(len(rows)))
