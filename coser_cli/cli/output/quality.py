"""What `coser bench quality` has measured, as JSON Lines or as a table that Markdown takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from coser_cli.cli.output.json_lines import print_record

if TYPE_CHECKING:
    from coser_cli.evaluation.noise import Comparison, SettingResult, Value
    from coser_cli.evaluation.settings_grid import Grid
    from coser_cli.settings import Settings

HEADER = (
    "sampler", "steps", "reference", "guided", "evaluations", "U-Net", "ControlNet", "s/picture",
    "ST-LPIPS", "± baseline", "PSNR-Y", "± baseline", "within noise",
)  # fmt: skip
NAMES = {"st_lpips": "ST-LPIPS", "psnr_y": "PSNR-Y"}
DIGITS = {"st_lpips": 4, "psnr_y": 2}


def report(comparison: Comparison, pictures: int, *, as_json: bool) -> None:
    """Print every setting, the baseline's noise, and the best setting."""
    if as_json:
        levels = {
            name: {
                "mean": level.mean,
                "deviation": level.deviation,
                "seeds": level.seeds,
                "limit": level.limit(),
            }
            for name, level in comparison.levels.items()
        }
        noise = {
            "pictures": pictures,
            "missing": comparison.missing,
            "settings": asdict(comparison.baseline),
            "levels": levels,
        }
        print_record("noise", noise)
        for each in comparison.results:
            print_record("setting", _record(each))
        print_record("best", {} if comparison.best is None else _record(comparison.best))
        return
    rows = [
        _cells(each, is_baseline=each.settings == comparison.baseline)
        for each in comparison.results
    ]
    typer.echo(_markdown(HEADER, rows))
    typer.echo("\n" + "\n".join(_noise_lines(comparison, pictures)))


def words(settings: Settings) -> str:
    """A setting on one line."""
    if not settings.strength:
        return "without diffusion"
    return (
        f"{settings.sampler}, {settings.steps} steps, reference {settings.reference_steps},"
        f" guided {_guided(settings)}, seed {settings.seed}"
    )


def title(model: str, pictures: int, crop: int, grid: Grid) -> str:
    """Of a drawing."""
    return (
        f"{model}, {pictures} pictures of {crop}×{crop} pixels enlarged ×{grid.scale},"
        f" both passes from strength {grid.strength:g}\n"
        "solid: all steps guided · dashed: a part of them · dotted: reference in fewer steps"
    )


def _guided(settings: Settings) -> str:
    assert settings.guidance_interval
    first, last = settings.guidance_interval
    return f"{first:g}-{last:g}"


def _cells(row: SettingResult, *, is_baseline: bool) -> list[str]:
    settings, count = row.settings, row.evaluations
    how = ["none", "", "", ""]
    if settings.strength:
        steps = str(settings.steps), str(settings.reference_steps)
        how = [str(settings.sampler), *steps, _guided(settings)]
    verdict = {None: "", True: "yes", False: "no"}[row.within_noise]
    return [
        *how,
        str(count.total),
        f"{count.reference_unet}+{count.unet}",
        str(count.controlnet),
        f"{row.seconds:.2f}",
        *(text for name in NAMES for text in _value_cells(row.values[name], name)),
        "baseline" if is_baseline else verdict,
    ]


def _value_cells(value: Value, name: str) -> tuple[str, str]:
    digits = DIGITS[name]
    mean = f"{value.mean:.{digits}f}"
    if value.difference is None:
        return mean, ""
    change = f"{value.difference:+.{digits}f}"
    return mean, change if value.error is None else f"{change} ± {value.error:.{digits}f}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of Markdown that is aligned as text as well, the first column to the left."""
    table = [list(header), *(list(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in table]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], rule, *lines[1:]])


def _noise_lines(comparison: Comparison, pictures: int) -> list[str]:
    baseline, best = comparison.baseline, comparison.best
    lines = [f"pictures: {pictures}; settings not measured: {comparison.missing}"]
    if not comparison.levels:
        return [*lines, f"the baseline ({words(baseline)}) lacks seeds: nothing is compared yet"]
    for name, level in comparison.levels.items():
        digits = DIGITS[name] + 1
        lines.append(
            f"noise of {baseline.sampler}, {baseline.steps} steps, {level.seeds} seeds, in"
            f" {NAMES[name]}: mean {level.mean:.{digits}f}, standard deviation"
            f" {level.deviation:.{digits}f}; one seed is within noise when at most"
            f" {level.limit():.{digits}f} worse"
        )
    if best is None:
        return [*lines, "best: none is within noise in both metrics"]
    seconds = f"{best.seconds:.2f} s per picture"
    lines.append(
        f"best: {words(best.settings)} ({best.seeds} seeds): {best.evaluations.total} evaluations"
        f" within noise in both metrics, {seconds}"
    )
    return lines


def _record(row: SettingResult) -> dict[str, Any]:
    return {
        "settings": asdict(row.settings),
        "seeds": row.seeds,
        "evaluations": {"total": row.evaluations.total, **asdict(row.evaluations)},
        "seconds": row.seconds,
        "metrics": {name: asdict(value) for name, value in row.values.items()},
        "within_noise": row.within_noise,
    }
