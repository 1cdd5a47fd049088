from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from coser_cli.engine.color_fix import StreamedColorFix, adain, color_fix, wavelet
from coser_cli.size import Size
from coser_cli.tiling.canvas import TensorMap
from coser_cli.tiling.grid import Box


def pictures(height: int = 20, width: int = 17) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 1, 3, height, width, generator=generator)
    return pixels[0], pixels[1] * 0.3 + 0.5


def test_none_changes_nothing():
    pixels, style = pictures()
    assert color_fix("none", pixels, style) is pixels


def test_adain_gives_the_statistics_of_the_style():
    pixels, style = pictures()
    fixed = color_fix("adain", pixels, style)
    torch.testing.assert_close(fixed.mean((2, 3)), style.mean((2, 3)))
    torch.testing.assert_close(fixed.std((2, 3)), style.std((2, 3)), rtol=1e-3, atol=0)


def test_adain_is_the_published_formula_on_signed_pixels():
    pixels, style = (p * 2 - 1 for p in pictures())

    def statistics(x):
        return x.mean((2, 3), keepdim=True), (x.var((2, 3), keepdim=True) + 1e-5).sqrt()

    (mean, deviation), (style_mean, style_deviation) = statistics(pixels), statistics(style)
    expected = (pixels - mean) / deviation * style_deviation + style_mean
    torch.testing.assert_close(adain(*pictures()) * 2 - 1, expected)


def test_wavelet_is_detail_over_the_coarse_style():
    """Both decomposed level by level, as the method is defined."""
    pixels, style = pictures(40, 36)
    kernel = torch.tensor([[1, 2, 1], [2, 4, 2], [1, 2, 1]]).float().div(16).expand(3, 1, 3, 3)

    def decompose(x):
        detail = torch.zeros_like(x)
        for level in range(5):
            radius = 2**level
            padded = F.pad(x, (radius,) * 4, mode="replicate")
            coarse = F.conv2d(padded, kernel, groups=3, dilation=radius)
            detail, x = detail + x - coarse, coarse
        return detail, x

    expected = decompose(pixels)[0] + decompose(style)[1]
    torch.testing.assert_close(wavelet(pixels, style), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from(["adain", "wavelet"]))
def test_any_size(height, width, fix):
    fixed = color_fix(fix, *pictures(height, width))
    assert fixed.shape == (1, 3, height, width)
    assert fixed.isfinite().all()


def test_equal_pictures_stay_as_they_are():
    pixels, _ = pictures()
    for fix in ("adain", "wavelet"):
        torch.testing.assert_close(color_fix(fix, pixels, pixels), pixels)


@st.composite
def places(draw, height: int, width: int) -> Box:
    top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return Box(top, left, draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.sampled_from(["none", "adain", "wavelet"]),
    st.data(),
)
def test_boxes_of_a_map_are_those_of_the_whole(height, width, fix, data):
    """What lies beyond the size, padding, has no part in it."""
    pixels, style = (F.pad(each, (0, 5, 0, 3), value=9.0) for each in pictures(height, width))
    inner = Box(0, 0, height, width)
    expected = color_fix(fix, inner.crop(pixels), inner.crop(style)).clamp(0, 1)
    streamed = StreamedColorFix(fix, TensorMap(pixels), TensorMap(style), Size(height, width))
    box = data.draw(places(height, width))
    assert streamed.shape == (3, height, width)
    assert (streamed.read(box) - box.crop(expected)).abs().max() <= 1e-5


def test_statistics_of_a_map_are_gathered_over_its_bands(monkeypatch):
    """A dark and a bright half: most of the variance lies between bands."""
    monkeypatch.setattr("coser_cli.engine.color_fix._BAND_PIXELS", 100)
    pixels, style = pictures(40, 30)
    pixels[..., :20, :] *= 0.1
    streamed = StreamedColorFix("adain", TensorMap(pixels), TensorMap(style), Size(40, 30))
    expected = adain(pixels, style).clamp(0, 1)
    assert (streamed.read(Box(0, 0, 40, 30)) - expected).abs().max() <= 1e-5
