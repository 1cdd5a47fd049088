"""Results of `coser bench`, as JSON Lines or as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

from coser_cli.cli.output.columns import Cells, plain_columns

if TYPE_CHECKING:
    from coser_cli.bench.ceiling import Ceiling
    from coser_cli.bench.clock import Timing
    from coser_cli.bench.speed import Measurement, Setup
    from coser_cli.bench.stages import Stage
    from coser_cli.bench.tiles import TiledStep
    from coser_cli.cli.output.reporter import Reporter


def report(reporter: Reporter, measurements: Iterable[Measurement], *, as_json: bool) -> None:
    """Print each measurement as a line of JSON, or all of one kind as a table."""
    if as_json:
        for each in measurements:
            kind, to_record = _RECORDS[_kind(each)]
            reporter.record(kind, to_record(each))
        return
    for index, (kind, group) in enumerate(groupby(measurements, key=_kind)):
        if kind == "Setup":
            text = "\n".join(_setup_lines(next(group)))
        else:
            header, cells = _TABLES[kind]
            text = plain_columns([header, *map(cells, group)])
        reporter.output(("\n" if index else "") + text)


def _kind(measurement: Any) -> str:
    return type(measurement).__name__


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
        "ceiling_fraction": stage.ceiling_fraction,
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
    "Ceiling": ("ceiling", lambda each: {"flops_per_second": each.rate, "side": each.side}),
    "Stage": ("stage", _stage_record),
    "NetworkCost": ("network", asdict),
    "TiledStep": ("tiled", _tiled_record),
}


def _setup_lines(setup: Any) -> list[str]:
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
        "" if stage.ceiling_fraction is None else f"{100 * stage.ceiling_fraction:.1f} %",
    )


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
        (
            *("stage", "seconds", "least", "steps", "per step", "peak GiB", "GFLOP", "TFLOP/s"),
            "of ceiling",
        ),
        _stage_cells,
    ),
    "NetworkCost": (("network", "GFLOP"), lambda each: (each.name, f"{each.flops / 1e9:,.1f}")),
    "TiledStep": (
        ("tiles", "tiles", "at once", "step", "per tile", "untiled", "factor"),
        _tiled_cells,
    ),
}


def _seconds(value: float) -> str:
    return f"{value:.4f}" if value < 10 else f"{value:.2f}"


def _tera(rate: float) -> str:
    return f"{rate / 1e12:.4f}" if rate < 1e12 else f"{rate / 1e12:.1f}"
