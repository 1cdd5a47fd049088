"""Draws quality against evaluations of the networks, as SVG. Only this module knows matplotlib."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from coser_cli.evaluation.grid import EVERYWHERE
from coser_cli.evaluation.noise import Comparison, Standing
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


def draw(found: Comparison, title: str) -> bytes:
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
            _panel(panel, found, metric)
        figure.suptitle(title, fontsize=11)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=9)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": "coser"})
    return file.getvalue()


def _panel(panel: Any, found: Comparison, metric: str) -> None:
    _draw_levels(panel, found, metric)
    diffused = [each for each in found.standings if each.settings.strength]
    for _, group in groupby(sorted(diffused, key=_line), _line):
        standings = list(group)
        panel.plot(*_points(standings, metric), label=_label(standings[0]), **_look(standings[0]))
    if found.best is not None:
        ring = {"marker": "o", "ms": 15, "mfc": "none", "mec": "#333333", "ls": ""}
        panel.plot(*_points([found.best], metric), label="best", **ring)
    panel.set_xscale("log")
    ticks = [each for each in (5, 10, 20, 50, 100, 200, 500, 1000) if _seen(each, diffused)]
    panel.set_xticks(ticks, [str(each) for each in ticks])
    panel.minorticks_off()
    panel.set_xlabel("evaluations of the U-Net, both passes")
    panel.set_ylabel(LABELS[metric])
    panel.grid(visible=True, alpha=0.25)


def _draw_levels(panel: Any, found: Comparison, metric: str) -> None:
    """The baseline's band, and what lies around diffusion by itself."""
    if metric in found.levels:
        level = found.levels[metric]
        band = level.mean - level.limit(), level.mean + level.limit()
        name = f"noise of {found.baseline.sampler}, {found.baseline.steps} steps"
        panel.axhspan(*band, color="#bbbbbb", alpha=0.5, lw=0, label=name)
    for each in found.standings:
        if not each.settings.strength:
            mean = each.values[metric].mean
            panel.axhline(mean, color="#999999", ls=(0, (6, 2, 1, 2)), label="without diffusion")


def _line(standing: Standing) -> tuple[Any, ...]:
    """What is alike along a line; its points follow by steps."""
    settings = standing.settings
    fewer = settings.reference_steps if settings.reference_steps != settings.steps else 0
    return settings.sampler, settings.guidance_interval, fewer


def _look(standing: Standing) -> dict[str, Any]:
    """A sampler has the same colour and mark in every drawing."""
    settings = standing.settings
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


def _label(standing: Standing) -> str:
    """In the legend: a line that is guided throughout; others differ by their look alone."""
    settings = standing.settings
    plain = settings.guidance_interval == EVERYWHERE and settings.reference_steps == settings.steps
    return str(settings.sampler) if plain else "_nolegend_"


def _points(standings: Sequence[Standing], metric: str) -> tuple[list[int], list[float]]:
    ordered = sorted(standings, key=lambda each: each.evaluations.total)
    return [each.evaluations.total for each in ordered], [
        each.values[metric].mean for each in ordered
    ]


def _seen(tick: int, standings: Sequence[Standing]) -> bool:
    totals = [each.evaluations.total for each in standings]
    return bool(totals) and min(totals) * 0.8 <= tick <= max(totals) * 1.25
