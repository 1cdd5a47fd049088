"""The compare page: sizes, labels, limits. What it does in a browser: `test_browser.py`."""

import base64
import io
import re

import pytest
from PIL import Image

from coser_cli.errors import InputError
from coser_cli.pages.compare import compare_page


def embedded(html):
    """The pictures of a page, in their order."""
    found = re.findall(rb'src="data:image/(png|jpeg);base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for _, data in found]


def test_bs_size_decides_and_a_is_enlarged_by_bicubic(picture):
    before, after = picture("a.png", (12, 8)), picture("b.png", (48, 32))
    page = compare_page([before, after])
    over, under = embedded(page.html)
    assert page.shown_size.wh == under.size == over.size == (48, 32)
    with Image.open(before) as image:
        expected = image.resize((48, 32), Image.Resampling.BICUBIC)
    assert over.tobytes() == expected.tobytes()
    with Image.open(after) as image:
        assert under.tobytes() == image.tobytes()
    text = page.html.decode()
    assert "12 × 8, enlarged by bicubic" in text
    assert 'data-tag="A enlarged by bicubic"' in text
    assert page.notes == ()


def test_same_sizes_are_not_called_enlarged(picture):
    page = compare_page([picture("a.png"), picture("b.png")])
    assert "bicubic" not in page.html.decode()


def test_a_larger_a_is_reduced(picture):
    page = compare_page([picture("a.png", (48, 32)), picture("b.png", (12, 8))])
    assert page.shown_size.wh == (12, 8)
    assert "48 × 32, reduced by bicubic" in page.html.decode()


def test_another_shape_is_told(picture):
    page = compare_page([picture("a.png", (10, 10)), picture("b.png", (40, 20))])
    assert any("differ in shape" in note for note in page.notes)
    assert "differ in shape" in page.html.decode()


@pytest.mark.parametrize(("size", "shown"), [((300, 150), (100, 50)), ((1, 200), (1, 100))])
def test_large_pictures_are_reduced_and_the_page_says_so(picture, size, shown):
    page = compare_page([picture("a.png", (10, 10)), picture("b.png", size)], max_side=100)
    assert page.shown_size.wh == shown
    assert [each.size for each in embedded(page.html)] == [shown, shown]
    assert (
        f"shown at {shown[0]} × {shown[1]}, reduced from {size[0]} × {size[1]}"
        in page.html.decode()
    )


def test_many_pixels_are_embedded_as_jpeg_and_the_page_says_so(picture):
    page = compare_page([picture("a.png"), picture("b.png", (1200, 1000), (9, 9, 9))])
    assert [each.format for each in embedded(page.html)] == ["JPEG", "JPEG"]
    assert "JPEG of quality 95" in page.html.decode()


def test_a_picture_that_is_none(picture, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"bad\.png"):
        compare_page([picture("a.png"), bad])


def test_several_results_to_choose_from(picture):
    paths = [picture("a.png", (12, 8)), picture("b.png", (48, 32)), picture("c.png", (24, 16))]
    page = compare_page(paths)
    assert [each.wh for each in page.sizes] == [(12, 8), (48, 32), (24, 16)]
    assert [each.size for each in embedded(page.html)] == [(48, 32)] * 3
    text = page.html.decode()
    assert "24 × 16, enlarged by bicubic" in text
    assert text.count('<option value="2">C c.png</option>') == 2
    assert "B, result" in text
