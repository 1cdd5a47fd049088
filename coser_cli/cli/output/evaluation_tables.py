"""What `coser evaluate` has measured, as tables of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coser_cli.cli.output.columns import Cells

if TYPE_CHECKING:
    from coser_cli.evaluation.bootstrap import Interval
    from coser_cli.evaluation.comparison import Difference
    from coser_cli.evaluation.metrics import Metric
    from coser_cli.evaluation.scores import Measurement, MethodScores


@dataclass
class Section:
    """What is known of one set."""

    measurement: Measurement
    scores: list[MethodScores] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)


def scores_table(scores: Sequence[MethodScores], metrics: Sequence[Metric]) -> list[Cells]:
    """Heads and a row per method: each metric's mean and its 95 % interval."""
    from coser_cli.evaluation.comparison import summaries

    rows: list[Cells] = [(scores[0].set_name, "pictures", *(metric.name for metric in metrics))]
    for each in scores:
        known = summaries(each, metrics)
        cells = [
            number(each.whole[metric.name])
            if metric.kind == "set"
            else with_interval(known[metric.name].mean, known[metric.name].interval)
            for metric in metrics
        ]
        rows.append((each.method, str(len(each.scores)), *cells))
    return rows


def differences_table(differences: Sequence[Difference]) -> list[Cells]:
    """Heads and a row per method and metric: mean difference, interval, and pictures better, worse
    and equal."""
    against = differences[0].against
    rows: list[Cells] = [(f"against {against}", "metric", "difference", "better", "worse", "equal")]
    for each in differences:
        paired = each.paired
        counts = (str(count) for count in (paired.wins, paired.losses, paired.ties))
        change = with_interval(paired.mean, paired.interval, sign="+")
        rows.append((each.method, each.metric.name, change, *counts))
    return rows


def with_interval(mean: float, interval: Interval | None, sign: str = "") -> str:
    """`26.01 [25.20, 26.83]`; the mean alone where there is no interval."""
    if interval is None:
        return number(mean, sign)
    low, high = (number(each, sign) for each in interval)
    return f"{number(mean, sign)} [{low}, {high}]"


def number(value: float, sign: str = "") -> str:
    """With the decimals that its size deserves."""
    return f"{value:{sign}.2f}" if abs(value) >= 10 else f"{value:{sign}.4f}"
