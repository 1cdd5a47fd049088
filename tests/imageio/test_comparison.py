"""The comparison sheet: what is shown, where it looks closely, how large it gets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from coser_cli.imageio import comparison as module
from coser_cli.imageio.comparison import MAX_PANEL, MIN_PANEL, find_detail, panel_size
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.preview import preview_of
from coser_cli.size import Size

sizes = st.tuples(st.integers(1, 9000), st.integers(1, 9000))


def plain(size, colour=(0.5, 0.5, 0.5), **more):
    pixels = np.empty((3, size[1], size[0]), dtype=np.float32)
    pixels[:] = np.array(colour, dtype=np.float32)[:, None, None]
    return Photo(pixels, **more)


def comparison(*photos):
    return module.comparison(*map(preview_of, photos))


def image(photo):
    return Image.fromarray((photo.pixels * 255).astype(np.uint8).transpose(1, 2, 0))


@given(sizes)
def test_panels_are_neither_huge_nor_tiny(size):
    width, height = panel_size(Size.of_wh(size)).wh
    assert min(width, height) >= 1
    assert max(width, height) <= MAX_PANEL
    if max(size) <= MAX_PANEL:
        assert width % size[0] == height % size[1] == 0
        assert width >= MIN_PANEL or 2 * height > MAX_PANEL or width + size[0] > MIN_PANEL


@settings(deadline=None, max_examples=25)
@given(st.integers(40, 700), st.integers(40, 700), st.data())
def test_the_place_that_differs_most_is_found(width, height, data):
    left, top = data.draw(st.integers(0, width - 16)), data.draw(st.integers(0, height - 16))
    source = plain((max(1, width // 4), max(1, height // 4)))
    result = plain((width, height))
    result.pixels[:, top : top + 12, left : left + 12] = 1.0
    detail = find_detail(image(source), image(result))
    assert "differ most" in detail.reason
    a, b, c, d = detail.area
    assert 0 <= a < c <= width
    assert 0 <= b < d <= height
    # Cells at the very edge may be cut off; all of the rest of the spot is inside.
    seen = result.pixels[0, b:d, a:c] == 1.0
    assert seen.sum() >= 0.5 * 144


def test_without_any_difference_it_looks_at_the_detail():
    photo = plain((300, 200))
    photo.pixels[:, 150:160, 250:260] = 0.9
    detail = find_detail(image(photo), image(photo))
    assert "most detail" in detail.reason
    assert detail.area[0] < 255 < detail.area[2]
    assert detail.area[1] < 155 < detail.area[3]
    assert "no detail" in find_detail(image(plain((9, 9))), image(plain((9, 9)))).reason


def columns(sheet, row):
    """The colours met along a row, without repetitions."""
    values = [sheet.getpixel((x, row)) for x in range(sheet.width)]
    return [each for each, last in zip(values, [None, *values], strict=False) if each != last]


def test_input_reference_and_result_stand_side_by_side():
    red, green, blue = np.eye(3)
    source, result = plain((100, 75), red), plain((400, 300), blue)
    two = comparison(source, result)
    three = comparison(source, result, plain((400, 300), green))
    assert three.width > two.width > 2 * 400
    close_up = three.height - 60
    colours = [each for each in columns(three, close_up) if max(each) > 250]
    assert colours == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert [each for each in columns(two, close_up) if max(each) > 250] == [
        (255, 0, 0),
        (0, 0, 255),
    ]


def test_the_first_panel_is_the_bicubic_enlargement():
    noise = np.random.default_rng(0).random((3, 90, 120), dtype=np.float32)
    source, result = Photo(noise), plain((480, 360))
    sheet = comparison(source, result)
    small = Image.fromarray(np.rint(noise * 255).astype(np.uint8).transpose(1, 2, 0))
    expected = small.resize((480, 360), Image.Resampling.BICUBIC)
    # The corner away from the frame round the detail.
    panel = sheet.crop((16, 40, 16 + 480, 40 + 360))
    different = np.asarray(panel, dtype=int) - np.asarray(expected, dtype=int)
    assert (np.abs(different).max(axis=2) <= 1).mean() > 0.95


def test_the_close_up_shows_the_results_own_pixels():
    noise = np.random.default_rng(1).random((3, 360, 480), dtype=np.float32)
    sheet = comparison(plain((120, 90)), Photo(noise))
    exact = np.rint(noise * 255).astype(np.uint8).transpose(1, 2, 0)
    left, top, right, bottom = find_detail(image(plain((120, 90))), Image.fromarray(exact)).area
    zoom = 480 // (right - left)
    start = sheet.height - 16 - (bottom - top) * zoom
    column = 16 + 480 + 16
    corner = sheet.crop(
        (column, start, column + (right - left) * zoom, start + (bottom - top) * zoom)
    )
    again = np.asarray(corner)[zoom // 2 :: zoom, zoom // 2 :: zoom]
    assert np.array_equal(again, exact[top:bottom, left:right])


def test_huge_results_are_reduced():
    sheet = comparison(plain((500, 300)), plain((5000, 3000)))
    assert sheet.width <= 2 * (MAX_PANEL + 16) + 16
    assert sheet.height <= 2 * MAX_PANEL + 200


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2)])
def test_odd_shapes(size):
    sheet = comparison(plain((1, 1)), plain(size), plain(size))
    assert sheet.width >= 3 * MIN_PANEL


def test_labels_are_legible_on_any_ground():
    """Ground and ink are the sheet's own: opaque, and far apart."""
    sheet = comparison(plain((100, 75)), plain((400, 300)))
    assert sheet.mode == "RGB"
    label = np.asarray(sheet.convert("L"))[8:36, 16:300]
    assert label.min() < 60
    assert label.max() > 220


def test_transparency_is_white():
    alpha = np.zeros((75, 100), dtype=np.float32)
    sheet = comparison(plain((100, 75), alpha=alpha), plain((400, 300), (0, 0, 0), alpha=alpha))
    assert sheet.getpixel((sheet.width - 30, sheet.height - 60)) == (255, 255, 255)


def test_written_whole(tmp_path):
    photos = preview_of(plain((10, 10))), preview_of(plain((20, 20)))
    module.write_comparison(tmp_path / "c.png", *photos, None)
    with Image.open(tmp_path / "c.png") as sheet:
        sheet.load()
        assert sheet.format == "PNG"
    assert [path.name for path in tmp_path.iterdir()] == ["c.png"]


def test_a_reduced_result_is_compared_as_it_is():
    """Its label has the true size and the reduced one, and is longer for it."""
    source, result = preview_of(plain((100, 75))), plain((400, 300))
    whole = module.comparison(source, preview_of(result))
    reduced = module.comparison(source, preview_of(result, Size(30000, 40000)))
    label = (16 + 400 + 16, 8, whole.width, 40)
    written = [(np.asarray(each.crop(label).convert("L")) > 150).sum() for each in (whole, reduced)]
    assert whole.size == reduced.size
    assert written[1] > 1.5 * written[0]
