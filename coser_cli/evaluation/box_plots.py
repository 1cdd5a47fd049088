"""Box plots of scores per picture, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from coser_cli.evaluation.plot import PALETTE, STYLE, svg_of


def box_plot(scores: Mapping[str, Sequence[float]], title: str) -> bytes:
    """An SVG with a box per method: median, quartiles, whiskers to 1.5 quartile distances, the
    mean as a diamond, and every picture as a dot. The same data give the same bytes.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.42 * len(scores)), layout="constrained")
        axes = figure.subplots()
        boxes = axes.boxplot(
            list(scores.values())[::-1],
            tick_labels=list(scores)[::-1],
            orientation="horizontal",
            widths=0.6,
            showmeans=True,
            showfliers=False,
            meanprops={"marker": "D", "ms": 4, "mfc": "white", "mec": PALETTE[0]},
            medianprops={"color": PALETTE[0]},
            patch_artist=True,
        )
        for box in boxes["boxes"]:
            box.set(facecolor="#dfe8f0", edgecolor="#444444")
        for height, values in enumerate(list(scores.values())[::-1], start=1):
            axes.plot(values, [height] * len(values), "o", ms=2, alpha=0.5, color=PALETTE[5])
        axes.set_title(title, fontsize=10)
        axes.grid(visible=True, axis="x", alpha=0.25)
        return svg_of(figure)
