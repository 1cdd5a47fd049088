"""What options do to a picture, as strips: `python -m tools.dial_pictures [FOLDER]`.

One JPEG per option that shows with `mini`: a detail, enlarged four times, for each value. stdout
gets what `docs/limits.md` says of it: the mean differences to the first value, in levels of 255.
Everything that is not named is as `mini` has it by default. Writes to `docs/dials` if no folder is
given.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from coser_cli import Settings, Upscaler

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
DETAIL = (44, 24, 100, 80)
"""Of `cat.jpg`: an eye and the nose, 56 × 56 pixels, 224 × 224 in a panel."""
FULL = {"strength": 1.0}
"""The step's picture alone."""
Panel = tuple[str, Mapping[str, Any]]
STRIPS: dict[str, tuple[Mapping[str, Any], Sequence[Panel]]] = {
    "strength": ({}, [(f"{v:g}", {"strength": v}) for v in (0.0, 0.25, 0.5, 1.0)]),
    "control-weight": (FULL, [(f"{v:g}", {"control_weight": v}) for v in (0.0, 1.0, 2.0)]),
    "reference-weight": (
        {"reference": "cat_reference.jpg"},
        [(f"{v:g}", {"reference_weight": v}) for v in (0.0, 0.5, 1.0, 2.0)],
    ),
    "reference-mode": (FULL, [(v, {"reference_mode": v}) for v in ("none", "global")]),
    "mask": ({}, [("without", {}), ("left half black", {"mask": True})]),
    "color-fix": ({}, [(v, {"color_fix": v}) for v in ("none", "wavelet", "adain")]),
}
UNSEEN = ("control-weight", "reference-mode")
"""Too weak to be seen: numbers only."""
GAP, CAPTION, QUALITY = 6, 16, 85


def panel(upscaler: Upscaler, options: dict[str, Any]) -> Image.Image:
    """The detail, enlarged four times; one of `cat_small.jpg` where a reference guides it."""
    reference = options.pop("reference", None)
    mask = None
    if options.pop("mask", False):
        mask = Image.new("L", (2, 1), 255)
        mask.putpixel((0, 0), 0)
    settings = Settings(scale=4, **options)
    if reference is None:
        detail = Image.open(EXAMPLES / "cat.jpg").crop(DETAIL)
        return upscaler.upscale(detail, settings, mask=mask).image
    with Image.open(EXAMPLES / "cat_small.jpg") as small, Image.open(EXAMPLES / reference) as own:
        result = upscaler.upscale(small, settings, references=[own]).image
    return result.crop((120, 60, 344, 284))


def strip(panels: Mapping[str, Image.Image], option: str) -> Image.Image:
    """Panels side by side, each below its value."""
    width, height = next(iter(panels.values())).size
    size = (len(panels) * (width + GAP) - GAP, height + CAPTION)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for number, (value, image) in enumerate(panels.items()):
        left = number * (width + GAP)
        draw.text((left + 2, 2), f"--{option} {value}", fill="black")
        sheet.paste(image, (left, CAPTION))
    return sheet


def main() -> None:
    """Draw all strips."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "dials"
    folder.mkdir(parents=True, exist_ok=True)
    upscaler = Upscaler.from_pretrained("mini", device="cpu")
    for name, (common, values) in STRIPS.items():
        panels = {value: panel(upscaler, {**common, **options}) for value, options in values}
        first, *others = (np.asarray(image, np.float32) for image in panels.values())
        differences = ", ".join(f"{np.abs(each - first).mean():.2f}" for each in others)
        sys.stdout.write(f"`--{name}`: {differences}.\n")
        if name not in UNSEEN:
            strip(panels, name).save(folder / f"{name}.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
