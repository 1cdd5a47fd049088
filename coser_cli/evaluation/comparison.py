"""What scores say: summaries per method, differences between methods, and files of all scores."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coser_cli.errors import InputError, writing
from coser_cli.evaluation.bootstrap import (
    PairedDifference,
    Summary,
    paired_difference,
    summarize,
)
from coser_cli.evaluation.metrics import Metric
from coser_cli.evaluation.scores import MethodScores, Score
from coser_cli.imageio.atomic import atomic_file


@dataclass(frozen=True)
class Difference:
    """A method minus another on the pictures that both have, in one metric."""

    set_name: str
    method: str
    against: str
    metric: Metric
    pictures: tuple[str, ...]
    changes: tuple[float, ...]
    paired: PairedDifference

    def extremes(self, count: int) -> list[tuple[str, float]]:
        """The pictures with the largest differences, the best for the method first: as many at
        both ends."""
        ordered = sorted(
            zip(self.pictures, self.changes, strict=True),
            key=lambda each: -self.metric.better * each[1],
        )
        if len(ordered) <= 2 * count:
            return ordered
        return ordered[:count] + ordered[-count:]


def summaries(scores: MethodScores, metrics: Sequence[Metric]) -> dict[str, Summary]:
    """Mean, median and interval of every metric that has values per picture."""
    return {
        metric.name: summarize(scores.column(metric.name))
        for metric in metrics
        if metric.kind != "set"
    }


def differences(
    scores: Sequence[MethodScores], metrics: Sequence[Metric], against: str | None = None
) -> list[Difference]:
    """Every method against one of them, by default the first, in every metric; of one set."""
    if not scores:
        return []
    names = [each.method for each in scores]
    base = scores[0 if against is None else names.index(against)]
    return [
        difference
        for each in scores
        if each is not base
        for metric in metrics
        if metric.kind != "set" and (difference := _difference(each, base, metric)) is not None
    ]


def _difference(scores: MethodScores, base: MethodScores, metric: Metric) -> Difference | None:
    there = {each.picture: each for each in base.scores}
    shared: list[tuple[Score, Score]] = [
        (each, there[each.picture]) for each in scores.scores if each.picture in there
    ]
    if not shared:
        return None
    first, second = ([pair[side].values[metric.name] for pair in shared] for side in (0, 1))
    return Difference(
        scores.set_name,
        scores.method,
        base.method,
        metric,
        tuple(pair[0].picture for pair in shared),
        tuple(a - b for a, b in zip(first, second, strict=True)),
        paired_difference(first, second, metric.better),
    )


def write_scores(path: Path, scores: Sequence[MethodScores]) -> None:
    """All scores, a line per picture, set and method: CSV, or JSON Lines for `.jsonl`.

    Raises `InputError` where the file cannot be written.
    """
    records = [
        {
            "set": method.set_name,
            "row": method.method,
            "picture": score.picture,
            **score.values,
            "seconds": round(score.seconds, 3),
        }
        for method in scores
        for score in method.scores
    ]
    if path.suffix.lower() == ".jsonl":
        text = "".join(json.dumps({"type": "score", **each}) + "\n" for each in records)
    else:
        text = _csv(records)
    with writing(path, InputError, "check the folder and free space"), atomic_file(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def _csv(records: Sequence[dict[str, Any]]) -> str:
    names = dict.fromkeys(name for record in records for name in record)
    columns = [*(name for name in names if name != "seconds"), "seconds"]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return buffer.getvalue()
