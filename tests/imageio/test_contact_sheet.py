"""The contact sheet, read back by its pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from coser_cli.imageio.contact_sheet import (
    LABEL_GROUND,
    LABEL_HEIGHT,
    THUMBNAIL,
    contact_sheet,
    layout,
)
from coser_cli.size import Size

COLOURS = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1)]


def flat(colour, width, height):
    return np.full((height, width, 3), colour, dtype=np.float32).transpose(2, 0, 1)


def part(sheet, area):
    left, top, right, bottom = area
    return sheet[:, top:bottom, left:right]


def labels(count):
    return ["input", *(f"{number}   0.{number:04}" for number in range(1, count))]


@pytest.mark.parametrize("size", [(768, 512), (96, 200), (40, 30), (1, 1), (3000, 20)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_picture_lies_in_its_place(size, count):
    names, plan = labels(count), layout(Size.of_wh(size), labels(count))
    pictures = [flat(COLOURS[index], *size) for index in range(count)]
    sheet = contact_sheet(pictures, names, Size.of_wh(size))
    assert sheet.shape == (3, *plan.size.hw)
    assert sheet.dtype == np.float32
    for index in range(count):
        shown = part(sheet, plan.picture(index))
        assert shown.size
        assert np.abs(shown - np.array(COLOURS[index])[:, None, None]).max() < 0.01
        left, top, right, _ = plan.picture(index)
        above = sheet[:, top - 1, left:right]
        assert not np.allclose(above, np.array(COLOURS[index])[:, None], atol=0.01)


def test_pictures_are_upright_and_not_mirrored():
    picture = np.zeros((3, 100, 150), dtype=np.float32)
    picture[0, :50, :75] = 1
    plan = layout(Size(100, 150), ["input"])
    red = part(contact_sheet([picture], ["input"], Size(100, 150)), plan.picture(0))[0]
    assert red[:45, :70].min() > 0.9
    assert red[55:].max() < 0.1
    assert red[:, 80:].max() < 0.1


def test_a_smaller_input_is_enlarged_to_the_size_of_the_others():
    plan = layout(Size(100, 200), labels(2))
    sheet = contact_sheet(
        [flat((1, 0, 0), 50, 25), flat((0, 1, 0), 200, 100)], labels(2), Size(100, 200)
    )
    assert part(sheet, plan.picture(0)).shape == part(sheet, plan.picture(1)).shape == (3, 100, 200)
    assert part(sheet, plan.picture(0))[0].min() > 0.99


@pytest.mark.parametrize("colour", [0.0, 1.0])
@pytest.mark.parametrize("size", [(300, 200), (2, 2)])
def test_labels_can_be_read_beside_light_and_dark_pictures(colour, size):
    """White on dark ground, wholly inside its own strip, whatever the picture is."""
    plan, names = layout(Size.of_wh(size), labels(3)), labels(3)
    sheet = contact_sheet([flat((colour,) * 3, *size)] * 3, names, Size.of_wh(size))
    ground = np.array(LABEL_GROUND)[:, None, None] / 255
    for index in range(3):
        strip = part(sheet, plan.label(index))
        assert strip.shape[1] == LABEL_HEIGHT
        ink = np.abs(strip - ground).max(0) > 0.1
        assert strip.max() == 1
        assert 0.01 < ink.mean() < 0.5
        assert not ink[0].any() and not ink[-1].any(), "not cut above or below"
        assert not ink[:, 0].any() and not ink[:, -1].any(), "not cut at the sides"
        columns = np.flatnonzero(ink.any(0))
        assert abs((columns[0] + columns[-1]) / 2 - strip.shape[2] / 2) < 3


def test_labels_differ():
    plan = layout(Size(200, 300), labels(3))
    sheet = contact_sheet([flat((0, 0, 0), 300, 200)] * 3, labels(3), Size(200, 300))
    strips = [part(sheet, plan.label(index)) for index in range(3)]
    assert not np.array_equal(strips[1], strips[2])


@given(st.integers(1, 20000), st.integers(1, 20000), st.integers(1, 17))
@hypothesis_settings(max_examples=80, deadline=None)
def test_sizes_are_sane(width, height, count):
    plan = layout(Size(height, width), labels(count))
    assert plan.thumbnail.long_side <= THUMBNAIL
    assert plan.thumbnail.short_side >= 1
    assert plan.thumbnail.width <= width
    assert plan.thumbnail.height <= height
    areas = [area for index in range(count) for area in (plan.picture(index), plan.label(index))]
    covered = np.zeros(plan.size.hw, dtype=np.uint8)
    for left, top, right, bottom in areas:
        assert left >= 0 and top >= 0
        assert right <= plan.size.width and bottom <= plan.size.height
        covered[top:bottom, left:right] += 1
    assert covered.max() == 1, "nothing lies over anything else"
