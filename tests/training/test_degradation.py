"""Degraded pictures: sizes, ranges, kernels, and the same ones for the same generator."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from coser_cli.training import degradation
from coser_cli.training.degradation import FIRST, SECOND, DegradationConfig, degrade

HEAVY = DegradationConfig(bicubic=0, blur_only=0)
BLUR = DegradationConfig(bicubic=0, blur_only=1)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("config", [DegradationConfig(), HEAVY, BLUR])
@pytest.mark.parametrize("size", [(64, 64), (48, 80), (32, 36)])
def test_size_and_range(config, size):
    pixels = torch.rand(3, *size)
    for seed in range(6):
        low = degrade(pixels, config, rng(seed))
        assert low.shape == (3, size[0] // 4, size[1] // 4)
        assert low.dtype == torch.float32
        assert low.min() >= 0 and low.max() <= 1


def test_same_generator_same_picture():
    pixels = torch.rand(3, 48, 48)
    assert torch.equal(degrade(pixels, HEAVY, rng(3)), degrade(pixels, HEAVY, rng(3)))
    assert not torch.equal(degrade(pixels, HEAVY, rng(3)), degrade(pixels, HEAVY, rng(4)))


def test_the_picture_itself_is_left_alone():
    pixels = torch.rand(3, 48, 48)
    before = pixels.clone()
    degrade(pixels, HEAVY, rng())
    assert torch.equal(pixels, before)


def test_the_bicubic_share_is_plain_bicubic():
    pixels = torch.rand(3, 40, 32)
    low = degrade(pixels, DegradationConfig(bicubic=1), rng())
    plain = F.interpolate(pixels[None], (10, 8), mode="bicubic", antialias=True)[0].clamp(0, 1)
    assert torch.equal(low, plain)


def test_shares_are_kept():
    config = DegradationConfig(bicubic=0.4, blur_only=0.3)
    pixels = torch.rand(3, 32, 32)
    plain = degradation.resize(pixels, (8, 8), None)
    hits = sum(torch.equal(degrade(pixels, config, rng(seed)), plain) for seed in range(100))
    assert 25 < hits < 55


@pytest.mark.parametrize("stage", [FIRST, SECOND])
def test_kernels_sum_to_one(stage):
    for seed in range(30):
        kernel = degradation.random_kernel(stage, rng(seed))
        assert kernel.shape == (stage.kernel_size,) * 2
        assert kernel.sum() == pytest.approx(1, abs=1e-5)
        torch.testing.assert_close(kernel, kernel.flip(0, 1), atol=1e-6, rtol=0)


def test_gaussian_has_its_deviations_and_direction():
    kernel = degradation.gaussian_kernel(41, 3.0, 1.5, 0.0, 1.0)
    axis = torch.arange(41.0) - 20
    assert (kernel.sum(0) * axis**2).sum() == pytest.approx(9, rel=0.01)  # along x
    assert (kernel.sum(1) * axis**2).sum() == pytest.approx(2.25, rel=0.01)
    turned = degradation.gaussian_kernel(41, 3.0, 1.5, math.pi / 2, 1.0)
    torch.testing.assert_close(turned, kernel.T, atol=1e-6, rtol=0)


def test_sinc_cuts_high_frequencies_off():
    kernel = degradation.sinc_kernel(41, math.pi / 2)
    response = torch.fft.fft2(kernel, s=(64, 64)).abs()
    assert response[0, 0] == pytest.approx(1, abs=1e-4)
    assert response[0, 8] == pytest.approx(1, abs=0.1)  # a quarter of Nyquist passes
    assert response[0, 28:32].max() < 0.1
    assert kernel.min() < 0  # it rings
    torch.testing.assert_close(kernel, kernel.T)


def test_blur_keeps_flat_pictures_and_what_a_point_weighs():
    kernel = degradation.gaussian_kernel(11, 1.5, 1.0, 0.4, 1.0)
    flat = torch.full((3, 20, 24), 0.6)
    torch.testing.assert_close(degradation.blur(flat, kernel), flat)
    point = torch.zeros(3, 21, 21)
    point[1, 10, 10] = 1
    spread = degradation.blur(point, kernel)
    torch.testing.assert_close(spread[1, 5:16, 5:16], kernel.flip(0, 1))
    assert not spread[0].any()


def test_noise_has_its_strength_and_no_bias():
    pixels = torch.full((3, 64, 64), 0.5)
    for seed in range(8):
        difference = degradation.add_noise(pixels, FIRST, rng(seed)) - pixels
        # Poisson of the two levels that a flat picture has is far stronger than any Gaussian
        assert 0.5 / 255 < difference.std() < 1.5
        assert difference.mean().abs() < 5 * difference.std() / 64


def test_grey_noise_is_equal_in_all_channels():
    pixels = torch.rand(3, 16, 16)
    from dataclasses import replace

    grey = replace(FIRST, grey_probability=1.0)
    for seed in range(6):
        red, green, blue = degradation.add_noise(pixels, grey, rng(seed)) - pixels
        torch.testing.assert_close(red, green, atol=1e-6, rtol=0)
        torch.testing.assert_close(red, blue, atol=1e-6, rtol=0)


def test_jpeg_loses_more_at_lower_quality():
    pixels = torch.rand(3, 24, 24)
    errors = [(degradation.jpeg(pixels, q) - pixels).square().mean() for q in (30, 60, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
