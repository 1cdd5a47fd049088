"""Results of `coser bench`, as JSON Lines or as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from coser_cli.cli.output.columns import Cells, plain_columns

if TYPE_CHECKING:
    from coser_cli.bench.ceiling import Ceiling
    from coser_cli.bench.clock import Timing
    from coser_cli.bench.speed import Finding, NetworkCost, Setup
    from coser_cli.bench.stages import Stage
    from coser_cli.bench.tiles import TiledStep
    from coser_cli.cli.output.reporter import Reporter


def report(reporter: Reporter, findings: Iterable[Finding], *, as_json: bool) -> None:
    """Print each finding as a line of JSON, or all of one kind as a table."""
    writer = _Writer()
    if as_json:
        for each in findings:
            reporter.record(*writer.record(each))
        return
    for index, (_, group) in enumerate(groupby(findings, key=_kind)):
        reporter.output(("\n" if index else "") + writer.table(list(group)))


def _kind(finding: Finding) -> str:
    return type(finding).__name__


class _Writer:
    """Findings as records and as tables; fractions are of the ceiling that came before."""

    def __init__(self) -> None:
        self._ceiling: float | None = None

    def record(self, finding: Finding) -> tuple[str, dict[str, Any]]:
        """Kind and values of a line of `--json`; its keys are a contract with scripts."""
        self._note(finding)
        kind, to_record = _RECORDS[_kind(finding)]
        record = to_record(finding)
        if kind == "stage":
            rate, ceiling = record["flops_per_second"], self._ceiling
            record["ceiling_fraction"] = rate / ceiling if rate and ceiling else None
        return kind, record

    def table(self, findings: Sequence[Any]) -> str:
        """Findings of one kind as lines of text."""
        self._note(findings[0])
        if _kind(findings[0]) == "Setup":
            return "\n".join(_setup_lines(findings[0]))
        header, cells = _TABLES[_kind(findings[0])]
        if _kind(findings[0]) == "Stage":
            header, cells = (*header, "of ceiling"), self._stage_cells
        return plain_columns([header, *(cells(each) for each in findings)])

    def _note(self, finding: Any) -> None:
        if _kind(finding) == "Ceiling":
            self._ceiling = finding.rate

    def _stage_cells(self, stage: Stage) -> Cells:
        rate, ceiling = stage.rate, self._ceiling
        return *_stage_cells(stage), _percent(rate / ceiling) if rate and ceiling else ""


def _timing(timing: Timing | None, prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {"seconds": None, "seconds_min": None, "runs": None}
    if timing is not None:
        values = {"seconds": timing.median, "seconds_min": timing.least, "runs": list(timing.runs)}
    return {f"{prefix}{key}": value for key, value in values.items()}


def _setup_record(setup: Setup) -> dict[str, Any]:
    return {
        **asdict(setup.environment),
        "model": setup.model,
        "synthetic": setup.synthetic,
        "source_size": [setup.size, setup.size],
        "settings": asdict(setup.settings),
        "repeat": setup.repeat,
        "warmup": setup.warmup,
    }


def _ceiling_record(ceiling: Ceiling) -> dict[str, Any]:
    return {"flops_per_second": ceiling.rate, "side": ceiling.side}


def _stage_record(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "path": "engine",
        **_timing(stage.seconds),
        "peak_bytes": stage.peak,
        "flops": stage.flops,
        "flops_per_second": stage.rate,
        "steps": stage.steps,
        **_timing(stage.step_seconds, "step_"),
        "step_flops": stage.step_flops,
    }


def _tiled_record(step: TiledStep) -> dict[str, Any]:
    return {
        "size": [step.side, step.side],
        "tile_size": step.tile_size,
        "tiles": step.tiles,
        "tile_batch": step.batch,
        **_timing(step.seconds),
        "seconds_per_tile": step.per_tile,
        **_timing(step.untiled, "untiled_"),
        "factor": step.factor,
    }


_RECORDS: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "Setup": ("setup", _setup_record),
    "Ceiling": ("ceiling", _ceiling_record),
    "Stage": ("stage", _stage_record),
    "NetworkCost": ("network", asdict),
    "TiledStep": ("tiled", _tiled_record),
}


def _setup_lines(setup: Setup) -> list[str]:
    environment, settings = setup.environment, setup.settings
    packages = ", ".join(
        f"{name} {version or '-'}" for name, version in environment.packages.items()
    )
    weights = "random weights" if setup.synthetic else "its own weights"
    return [
        f"coser {environment.coser} on Python {environment.python}, {environment.platform}",
        f"packages   {packages}",
        f"device     {environment.device}, {environment.device_name} ({environment.capability}),"
        f" {environment.dtype}, {environment.threads} CPU threads",
        f"model      {setup.model}, {weights}",
        f"picture    {setup.size}×{setup.size} pixels, ×{settings.scale:g};"
        f" {settings.steps} steps of {settings.sampler}, strength {settings.strength:g},"
        f" guidance {settings.reference_guidance_scale:g} and {settings.guidance_scale:g}",
        f"seconds    medians of {setup.repeat}, after {setup.warmup} untimed",
    ]


def _ceiling_cells(ceiling: Ceiling) -> Cells:
    return "matrix product", f"{ceiling.side}×{ceiling.side}", _tera(ceiling.rate)


def _stage_cells(stage: Stage) -> Cells:
    step = stage.step_seconds
    return (
        stage.name,
        _seconds(stage.seconds.median),
        _seconds(stage.seconds.least),
        "" if stage.steps is None else str(stage.steps),
        "" if step is None else _seconds(step.median),
        "" if stage.peak is None else f"{stage.peak / 2**30:.2f}",
        "" if stage.flops is None else f"{stage.flops / 1e9:,.1f}",
        "" if not stage.rate else _tera(stage.rate),
    )


def _network_cells(network: NetworkCost) -> Cells:
    return network.name, f"{network.flops / 1e9:,.1f}"


def _tiled_cells(step: TiledStep) -> Cells:
    return (
        f"{step.side}×{step.side}",
        f"{step.tiles} of {step.tile_size}",
        str(step.batch),
        _seconds(step.seconds.median),
        _seconds(step.per_tile),
        _seconds(step.untiled.median),
        f"{step.factor:.2f}",
    )


_TABLES: dict[str, tuple[Cells, Callable[[Any], Cells]]] = {
    "Ceiling": (("ceiling", "size", "TFLOP/s"), _ceiling_cells),
    "Stage": (
        ("stage", "seconds", "least", "steps", "per step", "peak GiB", "GFLOP", "TFLOP/s"),
        _stage_cells,
    ),
    "NetworkCost": (("network", "GFLOP"), _network_cells),
    "TiledStep": (
        ("tiles", "tiles", "at once", "step", "per tile", "untiled", "factor"),
        _tiled_cells,
    ),
}


def _seconds(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.2f}"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.4f}" if rate < 1e12 else f"{rate / 1e12:.1f}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
