"""What `coser evaluate` has measured: records, tables, files of scores, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coser_cli.cli.output.columns import plain_columns
from coser_cli.cli.output.evaluation_tables import Section, differences_table, scores_table

if TYPE_CHECKING:
    from coser_cli.cli.output.reporter import Reporter
    from coser_cli.evaluation.comparison import Difference
    from coser_cli.evaluation.methods import Method
    from coser_cli.evaluation.metrics import Metric
    from coser_cli.evaluation.scores import Measurement, MethodScores


@dataclass
class Report:
    """Prints what is measured as soon as it is known, and keeps it for files and for a page."""

    metrics: Sequence[Metric]
    against: str | None
    files: Sequence[Path]
    reporter: Reporter
    as_json: bool = False
    notes: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)

    def note(self, words: str) -> None:
        """Something to know, on stderr and on the page, once."""
        if words not in self.notes:
            self.notes.append(words)
            self.reporter.message(f"note: {words}")

    def begin(self, measurement: Measurement, methods: Sequence[Method]) -> None:
        """A set follows. Raises `UsageError` where `against` is not among the methods."""
        from coser_cli.errors import UsageError
        from coser_cli.evaluation.protocols import FID_PICTURES

        names = [method.name for method in methods]
        if self.against is not None and self.against not in names:
            raise UsageError(f"--against: {self.against!r} is none of {', '.join(names)}")
        count = len(measurement.pictures.pictures)
        if measurement.protocol is not None:
            for words in measurement.protocol.notes(count):
                self.note(words)
        if count < FID_PICTURES and any(metric.kind == "set" for metric in self.metrics):
            self.note(f"FID of {count} pictures is no measure of quality; {FID_PICTURES} are few")
        self.sections.append(Section(measurement))

    def progress(self, method: str, done: int, total: int) -> None:
        """Before each picture: a bar on a terminal, one line per method elsewhere."""
        words = "" if done else f"measuring {method}: {total} pictures"
        self.reporter.begin_part(done, total, f"by {method}", words)

    def add(self, scores: MethodScores) -> None:
        self.reporter.close_bars()
        self.sections[-1].scores.append(scores)
        if self.as_json:
            self.reporter.record("evaluation", _evaluation_record(scores, self.metrics))
        self._write_scores()

    def end(self) -> None:
        from coser_cli.evaluation.comparison import differences

        section = self.sections[-1]
        section.differences = differences(section.scores, self.metrics, self.against)
        if self.as_json:
            for each in section.differences:
                self.reporter.record("comparison", _comparison_record(each))
            return
        tables = [scores_table(section.scores, self.metrics)]
        if section.differences:
            tables.append(differences_table(section.differences))
        separate = "\n" if len(self.sections) > 1 else ""
        self.reporter.output(separate + "\n\n".join(plain_columns(each) for each in tables))

    def page(self) -> bytes:
        """The page about all sets. Raises `InputError` where a picture is gone."""
        from coser_cli.cli.output.evaluation_page import page_of

        return page_of(self.sections, self.metrics, self.notes)

    def _write_scores(self) -> None:
        """After every method: a run that breaks off leaves what it has."""
        from coser_cli.evaluation.comparison import write_scores

        for path in self.files:
            write_scores(path, [each for section in self.sections for each in section.scores])


def _evaluation_record(scores: MethodScores, metrics: Sequence[Metric]) -> dict[str, Any]:
    from coser_cli.evaluation.comparison import summaries

    known = summaries(scores, metrics)
    means = {name: summary.mean for name, summary in known.items()} | dict(scores.whole)
    return {
        "set": scores.set_name,
        "row": scores.method,
        "pictures": len(scores.scores),
        **{metric.name: round(means[metric.name], 4) for metric in metrics},
        "statistics": {
            name: {"mean": s.mean, "median": s.median, "interval": s.interval}
            for name, s in known.items()
        },
    }


def _comparison_record(difference: Difference) -> dict[str, Any]:
    paired = difference.paired
    return {
        "set": difference.set_name,
        "row": difference.method,
        "against": difference.against,
        "metric": difference.metric.name,
        "pictures": len(difference.pictures),
        "difference": paired.mean,
        "interval": paired.interval,
        "wins": paired.wins,
        "losses": paired.losses,
        "ties": paired.ties,
    }
