"""A comparison as one picture: bicubic enlargement, reference, result, and a detail of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from coser_cli.imageio.contact_sheet import font
from coser_cli.imageio.preview import Preview, to_pixels
from coser_cli.imageio.record import Record
from coser_cli.imageio.write import write_photo
from coser_cli.size import Size

MAX_PANEL, MIN_PANEL = 2000, 360
"""Sides of a panel in pixels: larger pictures are reduced, smaller ones repeat their pixels."""
_MARGIN, _LABEL, _FONT_SIZE = 16, 32, 18
# The sheet brings its ground along, so that it can be read whatever surrounds it.
_GROUND, _INK = (36, 36, 36), (245, 245, 245)
_STRIP = 512  # rows that are looked at at once

Area = tuple[int, int, int, int]


@dataclass(frozen=True)
class Detail:
    """Where to look closely: left, top, right, bottom in the result's pixels, and why there."""

    area: Area
    reason: str

    @property
    def size(self) -> Size:
        left, top, right, bottom = self.area
        return Size(bottom - top, right - left)


@dataclass(frozen=True)
class _Layer:
    """A picture in 8 bits, and how it is scaled."""

    label: str
    image: Image.Image
    filter: Image.Resampling

    def cut(self, area: Area, frame: Size, size: Size) -> Image.Image:
        """`area` of a picture of `frame` pixels, which this one is a rendering of, at `size`."""
        across, down = self.image.width / frame.width, self.image.height / frame.height
        box = (area[0] * across, area[1] * down, area[2] * across, area[3] * down)
        return self.image.resize(size.wh, self.filter, box=box)


def write_comparison(
    path: Path,
    source: Preview,
    result: Preview,
    reference: Preview | None,
    record: Record | None = None,
) -> None:
    """Write `comparison` as PNG with its `record`, complete or not at all. Raises `InputError`."""
    sheet = comparison(source, result, reference)
    write_photo(path, to_pixels(sheet), record=record)


def comparison(source: Preview, result: Preview, reference: Preview | None = None) -> Image.Image:
    """The sheet: the source enlarged to the result's size, the reference if there is one, the
    result; below each, its pixels at the place where source and result differ most.

    A result whose preview is smaller than its `size` is compared at the preview's.
    """
    frame = Size.of_wh(result.image.size)
    bicubic, cubic = Image.Resampling.BICUBIC, f"{_sides(source.size)}, enlarged by bicubic"
    layers = [_Layer(f"input {cubic}", source.image, bicubic)]
    if reference is not None:
        layers.append(_Layer("reference", reference.image, bicubic))
    reduced = "" if frame == result.size else f", compared at {_sides(frame)}"
    layers.append(_Layer(f"result {_sides(result.size)}{reduced}", result.image, bicubic))
    detail = find_detail(layers[0].image, layers[-1].image)
    rows = (
        [_panel(layer, frame, detail) for layer in layers],
        [_close_up(layer, frame, detail) for layer in layers],
    )
    place = f"{_sides(detail.size)} at {detail.area[0]}, {detail.area[1]}"
    zoom = f"{rows[1][0].width / detail.size.width:g} times"
    labels = [layer.label for layer in layers], [f"detail {place}, {zoom}: {detail.reason}"]
    return _sheet(rows, labels)


def find_detail(source: Image.Image, result: Image.Image) -> Detail:
    """The place where the enlarged source and the result differ most (mean over the place).

    Where they do not differ at all, the place where the result has most detail.
    """
    width, height = result.size
    across = min(width, max(16, min(width, MAX_PANEL) // 4))
    down = min(height, max(16, across * 3 // 4))
    for measure, reason in (
        (_difference, "where result and bicubic differ most"),
        (_fineness, "where the result has most detail"),
    ):
        corner = _densest(measure, source, result, Size(down, across))
        if corner is not None:
            left, top = corner
            return Detail((left, top, left + across, top + down), reason)
    return Detail((0, 0, across, down), "the picture has no detail")


def _difference(strip: Image.Image, enlarged: Image.Image) -> Image.Image:
    return ImageChops.difference(strip, enlarged)


def _fineness(strip: Image.Image, _: Image.Image) -> Image.Image:
    return ImageChops.difference(strip, strip.filter(ImageFilter.BoxBlur(2)))


def _densest(
    measure: Callable[[Image.Image, Image.Image], Image.Image],
    source: Image.Image,
    result: Image.Image,
    window: Size,
) -> tuple[int, int] | None:
    """Left and top of the window with the largest mean of a measure; None if it is 0 everywhere.

    The measure is averaged over square cells first, strip by strip: results may be huge.
    """
    cell = max(1, window.short_side // 8)
    strips = (measure(*pair) for pair in _strips(source, result, cell * max(1, _STRIP // cell)))
    cells = np.concatenate([_cells(strip, cell) for strip in strips])
    down, across = max(1, window.height // cell), max(1, window.width // cell)
    sums = _window_sums(cells, min(down, cells.shape[0]), min(across, cells.shape[1]))
    if not sums.max() > 0:
        return None
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    most_left, most_top = result.width - window.width, result.height - window.height
    return min(int(left) * cell, most_left), min(int(top) * cell, most_top)


def _strips(
    source: Image.Image, result: Image.Image, rows: int
) -> Iterator[tuple[Image.Image, Image.Image]]:
    """Horizontal strips of the result, and the same of the source enlarged to its size."""
    frame = Size.of_wh(result.size)
    whole = _Layer("", source, Image.Resampling.BICUBIC)
    for top in range(0, frame.height, rows):
        bottom = min(frame.height, top + rows)
        area = (0, top, frame.width, bottom)
        yield result.crop(area), whole.cut(area, frame, Size(bottom - top, frame.width))


def _cells(strip: Image.Image, cell: int) -> NDArray[np.float64]:
    """Means of a strip over square cells, the last of which may be cut off."""
    return np.asarray(strip.convert("L").reduce(cell), dtype=np.float64)


def _window_sums(values: NDArray[np.float64], down: int, across: int) -> NDArray[np.float64]:
    """Sums of `values` under every position of a window."""
    total = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    rows = total[down:] - total[:-down]
    sums: NDArray[np.float64] = rows[:, across:] - rows[:, :-across]
    return sums


def panel_size(frame: Size) -> Size:
    """How large a picture is shown: reduced to `MAX_PANEL`, or enlarged by a whole number."""
    if frame.long_side > MAX_PANEL:
        return frame.within(MAX_PANEL)
    return frame.scaled(
        max(1, min(math.ceil(MIN_PANEL / frame.width), MAX_PANEL // frame.long_side))
    )


def _panel(layer: _Layer, frame: Size, detail: Detail) -> Image.Image:
    """The whole picture, with the detail's place framed."""
    size, whole = panel_size(frame), (0, 0, *frame.wh)
    if size.width > frame.width:  # repeat the result's pixels: nothing is smoothed for it
        panel = layer.cut(whole, frame, frame).resize(size.wh, Image.Resampling.NEAREST)
    else:
        panel = layer.cut(whole, frame, size)
    factor = size.width / frame.width
    left, top, right, bottom = (round(side * factor) for side in detail.area)
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    draw = ImageDraw.Draw(panel)
    draw.rectangle((left, top, right, bottom), outline=_INK)
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=(0, 0, 0))
    return panel


def _close_up(layer: _Layer, frame: Size, detail: Detail) -> Image.Image:
    """The detail, every pixel of the result's size a square."""
    room = max(panel_size(frame).width, MIN_PANEL)
    zoom = max(1, min(room // detail.size.width, MAX_PANEL // detail.size.height))
    small = layer.cut(detail.area, frame, detail.size)
    return small.resize(detail.size.scaled(zoom).wh, Image.Resampling.NEAREST)


def _sheet(
    rows: tuple[list[Image.Image], list[Image.Image]], labels: tuple[list[str], list[str]]
) -> Image.Image:
    """Rows of pictures, each under its label; a row with one label has it on the left."""
    columns = len(rows[0])
    cell = max(MIN_PANEL, *(picture.width for row in rows for picture in row))
    heights = [_LABEL + row[0].height + _MARGIN for row in rows]
    size = (_MARGIN + columns * (cell + _MARGIN), sum(heights) + _MARGIN // 2)
    sheet = Image.new("RGB", size, _GROUND)
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN // 2
    for row, texts, height in zip(rows, labels, heights, strict=True):
        for column, picture in enumerate(row):
            left = _MARGIN + column * (cell + _MARGIN)
            sheet.paste(picture, (left + (cell - picture.width) // 2, top + _LABEL))
            if column < len(texts):
                room = cell if len(texts) > 1 else size[0] - 2 * _MARGIN
                _write_label(draw, (left, top + _LABEL // 2), texts[column], room)
        top += height
    return sheet


def _write_label(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, room: int) -> None:
    """One line of text, smaller where it would not fit."""
    size = _FONT_SIZE
    while size > 10 and draw.textlength(text, font=font(size)) > room:
        size -= 1
    draw.text(place, text, font=font(size), fill=_INK, anchor="lm")


def _sides(size: Size) -> str:
    """Width and height in letters that Pillow's own font has."""
    return f"{size.width} x {size.height}"
