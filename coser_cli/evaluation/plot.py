"""Draws quality against evaluations of the networks, as SVG. Only this module knows matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from coser_cli.evaluation.noise import Comparison, SettingResult
from coser_cli.evaluation.settings_grid import EVERYWHERE
from coser_cli.settings import SAMPLERS

PALETTE = (
    *("#000000", "#e69f00", "#56b4e9", "#009e73", "#cc79a7"),
    *("#0072b2", "#d55e00", "#b5a600", "#777777"),
)
"""Okabe and Ito's colours, that the colour-blind tell apart (the yellow darker, to be seen on
white), and grey."""
MARKERS = "os^vDP*Xp"
LABELS = {"st_lpips": "ST-LPIPS (lower is better)", "psnr_y": "PSNR-Y in dB (higher is better)"}
STYLE = {
    "svg.hashsalt": "coser",  # the same picture is the same file
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "path.simplify": True,
}


def draw(comparison: Comparison, title: str) -> bytes:
    """An SVG with a panel per metric and a line per sampler: solid where all steps are guided,
    dashed where some are; hollow marks, dotted, where the reference has fewer steps. The
    baseline's noise is a band, the result without diffusion a horizontal line, the best setting
    ringed. The same data give the same bytes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11, 5.6), layout="constrained")
        panels = figure.subplots(1, len(LABELS))
        for panel, metric in zip(panels, LABELS, strict=True):
            _panel(panel, comparison, metric)
        figure.suptitle(title, fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
        return svg_of(figure)


def svg_of(figure: Any) -> bytes:
    """A figure as SVG; the same figure gives the same bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": "coser"})
    return file.getvalue()


def _panel(panel: Any, comparison: Comparison, metric: str) -> None:
    _draw_noise(panel, comparison, metric)
    diffused = [each for each in comparison.results if each.settings.strength]
    labelled: set[str] = set()
    for _, group in groupby(sorted(diffused, key=_line), _line):
        results = list(group)
        name = str(results[0].settings.sampler)
        label = "_nolegend_" if name in labelled else name
        labelled.add(name)
        panel.plot(*_points(results, metric), label=label, **_look(results[0]))
    if comparison.best is not None:
        ring = {"marker": "o", "ms": 15, "mfc": "none", "mec": "#333333", "ls": ""}
        panel.plot(*_points([comparison.best], metric), label="best", **ring)
    for each in comparison.results:
        if not each.settings.strength:
            _draw_without_diffusion(panel, each.values[metric].mean, metric)
    panel.set_xscale("log")
    ticks = [each for each in (5, 10, 20, 50, 100, 200, 500, 1000) if _seen(each, diffused)]
    panel.set_xticks(ticks, [str(each) for each in ticks])
    panel.minorticks_off()
    panel.set_xlabel("evaluations of the U-Net, both passes")
    panel.set_ylabel(LABELS[metric])
    panel.grid(visible=True, alpha=0.25)


def _draw_noise(panel: Any, comparison: Comparison, metric: str) -> None:
    if metric in comparison.levels:
        level = comparison.levels[metric]
        band = level.mean - level.limit(), level.mean + level.limit()
        name = f"noise of {comparison.baseline.sampler}, {comparison.baseline.steps} steps"
        panel.axhspan(*band, color="#bbbbbb", alpha=0.5, lw=0, label=name)


def _draw_without_diffusion(panel: Any, mean: float, metric: str) -> None:
    """A line, or a word at the edge where the line would squeeze all else together."""
    low, high = panel.get_ylim()
    margin = (high - low) / 2
    if low - margin <= mean <= high + margin or not panel.has_data():
        style = {"color": "#777777", "ls": (0, (6, 2, 1, 2)), "label": "without diffusion"}
        panel.axhline(mean, **style)
        return
    above = mean > high
    number = f"{mean:.3f}" if metric == "st_lpips" else f"{mean:.2f}"
    words = f"{'↑' if above else '↓'} without diffusion: {number}"
    place = {"transform": panel.transAxes, "ha": "right", "va": "top" if above else "bottom"}
    panel.text(0.98, 0.98 if above else 0.02, words, color="#555555", fontsize=9, **place)


def _line(result: SettingResult) -> tuple[Any, ...]:
    """What is alike along a line; its points follow by steps."""
    settings = result.settings
    fewer = settings.reference_steps if settings.reference_steps != settings.steps else 0
    sampler = SAMPLERS.index(str(settings.sampler))
    return sampler, fewer, settings.guidance_interval


def _look(result: SettingResult) -> dict[str, Any]:
    """A sampler has the same colour and mark in every drawing."""
    settings = result.settings
    index = SAMPLERS.index(str(settings.sampler))
    colour = PALETTE[index % len(PALETTE)]
    fewer = settings.reference_steps != settings.steps
    throughout = settings.guidance_interval == EVERYWHERE
    return {
        "color": colour,
        "marker": MARKERS[index % len(MARKERS)],
        "ms": 4.5,
        "mfc": "white" if fewer else colour,
        "lw": 1.4 if throughout and not fewer else 1.0,
        "ls": ":" if fewer else "-" if throughout else "--",
    }


def _points(results: Sequence[SettingResult], metric: str) -> tuple[list[int], list[float]]:
    ordered = sorted(results, key=lambda each: each.evaluations.total)
    return [each.evaluations.total for each in ordered], [
        each.values[metric].mean for each in ordered
    ]


def _seen(tick: int, results: Sequence[SettingResult]) -> bool:
    totals = [each.evaluations.total for each in results]
    return bool(totals) and min(totals) * 0.8 <= tick <= max(totals) * 1.25
