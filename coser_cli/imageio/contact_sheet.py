"""A contact sheet: pictures of one size as labelled thumbnails in a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageDraw, ImageFont

from coser_cli.imageio.photo import FloatArray, Photo
from coser_cli.imageio.preview import to_image, to_pixels
from coser_cli.size import Size

THUMBNAIL = 512
"""Longest side of a thumbnail, in pixels."""
MARGIN = 12
FONT_SIZE = 20
LABEL_HEIGHT = 32
# Labels bring their own ground along, so that they can be read whatever surrounds the sheet.
GROUND, LABEL_GROUND, INK = (96, 96, 96), (24, 24, 24), (255, 255, 255)

Area = tuple[int, int, int, int]


@dataclass(frozen=True)
class Layout:
    """Where things lie, in pixels: `count` cells in `columns`, row by row, margins between them.

    A cell has a thumbnail on top and its label below.
    """

    count: int
    columns: int
    thumbnail: Size
    cell: Size

    @property
    def size(self) -> Size:
        """That of the sheet."""
        rows = math.ceil(self.count / self.columns)
        down, across = self.cell.height + MARGIN, self.cell.width + MARGIN
        return Size(MARGIN + rows * down, MARGIN + self.columns * across)

    def picture(self, index: int) -> Area:
        """Left, top, right and bottom of a thumbnail, centred in its cell."""
        left, top = self._corner(index)
        left += (self.cell.width - self.thumbnail.width) // 2
        return left, top, left + self.thumbnail.width, top + self.thumbnail.height

    def label(self, index: int) -> Area:
        """Left, top, right and bottom of a label."""
        left, top = self._corner(index)
        right, bottom = left + self.cell.width, top + self.cell.height
        return left, bottom - LABEL_HEIGHT, right, bottom

    def _corner(self, index: int) -> tuple[int, int]:
        row, column = divmod(index, self.columns)
        across, down = self.cell.width + MARGIN, self.cell.height + MARGIN
        return MARGIN + column * across, MARGIN + row * down


def layout(size: Size, labels: Sequence[str]) -> Layout:
    """A sheet, about square, of one picture of `size` per label.

    Thumbnails are never larger than the pictures; cells are wide enough for every label.
    """
    thumbnail = size.within(THUMBNAIL)
    text = max(math.ceil(font(FONT_SIZE).getlength(label)) for label in labels) + MARGIN
    cell = Size(thumbnail.height + LABEL_HEIGHT, max(thumbnail.width, text))
    square = math.sqrt(len(labels) * (cell.height + MARGIN) / (cell.width + MARGIN))
    columns = min(len(labels), max(1, math.ceil(square)))
    return Layout(len(labels), columns, thumbnail, cell)


def contact_sheet(pictures: Sequence[FloatArray], labels: Sequence[str], size: Size) -> FloatArray:
    """The sheet, float32 `(3, H, W)` in [0, 1], of pictures `(3, h, w)` and a label for each.

    All are shown as pictures of `size`, resized by bicubic interpolation.
    """
    plan = layout(size, labels)
    sheet = Image.new("RGB", plan.size.wh, GROUND)
    draw = ImageDraw.Draw(sheet)
    for index, (pixels, label) in enumerate(zip(pictures, labels, strict=True)):
        picture = to_image(Photo(pixels)).resize(plan.thumbnail.wh, Image.Resampling.BICUBIC)
        sheet.paste(picture, plan.picture(index))
        left, top, right, bottom = plan.label(index)
        draw.rectangle((left, top, right - 1, bottom - 1), LABEL_GROUND)
        middle = (left + right) / 2, (top + bottom) / 2
        draw.text(middle, label, INK, font(FONT_SIZE), anchor="mm")
    return to_pixels(sheet)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font: the same on every machine."""
    return ImageFont.load_default(size)
