"""Metrics where their value is known."""

import math

import pytest
import torch

from coser_cli.evaluation.color import luma
from coser_cli.evaluation.libraries import psnr_y, ssim_y, st_lpips
from coser_cli.evaluation.metrics import METRICS


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((1, 1, 1), 235 / 255),
        ((0, 0, 0), 16 / 255),
        ((1, 0, 0), 81.481 / 255),
        ((0, 1, 0), 144.553 / 255),
        ((0, 0, 1), 40.966 / 255),
    ],
)
def test_luma_is_bt_601(colour, expected):
    pixels = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1).expand(1, 3, 4, 5)
    found = luma(pixels)
    assert found.shape == (1, 1, 4, 5)
    torch.testing.assert_close(found, torch.full_like(found, expected))


def test_psnr_of_a_known_error():
    target = torch.rand(1, 3, 16, 16) * 0.8
    error = 0.1 * 219 / 255  # grey by 0.1, in luma
    assert psnr_y(target + 0.1, target) == pytest.approx(-20 * math.log10(error), abs=1e-4)


def test_psnr_ignores_what_luma_ignores():
    target = torch.full((1, 3, 16, 16), 0.5)
    moved = target.clone()
    moved[:, 0] += 128.553 * 0.002
    moved[:, 1] -= 65.481 * 0.002
    assert psnr_y(moved, target) > 100


def test_ssim_is_one_for_equal_pictures_and_falls():
    target = torch.rand(1, 3, 24, 24)
    noise = torch.randn_like(target)
    near, far = (ssim_y((target + s * noise).clamp(0, 1), target) for s in (0.02, 0.3))
    assert ssim_y(target, target) == pytest.approx(1)
    assert 1 > near > far


@pytest.mark.parametrize("trunk", ["alex", "vgg"])
def test_st_lpips_is_zero_for_equal_pictures_and_grows(trunk):
    target = torch.rand(1, 3, 64, 64)
    noise = torch.randn_like(target)
    near, far = (st_lpips((target + s * noise).clamp(0, 1), target, trunk) for s in (0.05, 0.5))
    assert st_lpips(target, target, trunk) == 0
    assert 0 < near < far


def test_the_vgg_metric_is_another_one_than_the_alex():
    output, target = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)
    alex, vgg = (METRICS[name].measure(output, target) for name in ("st_lpips", "st_lpips_vgg"))
    assert alex == st_lpips(output, target)
    assert vgg == st_lpips(output, target, "vgg")
    assert alex != vgg


@pytest.mark.parametrize("name", [name for name, each in METRICS.items() if not each.weights])
def test_every_metric_prefers_the_true_picture(name):
    """To a noisy one; the sign of what is better is right."""
    target = torch.rand(1, 3, 12, 12)
    target = torch.nn.functional.interpolate(target, size=64, mode="bicubic").clamp(0, 1)
    noisy = (target + 0.15 * torch.randn_like(target)).clamp(0, 1)
    if name == "grid_energy":
        noisy = target + 0.05 * (-1.0) ** torch.arange(64)
    if name == "halo":
        target[..., 32:] = 1 - 0.5 * target[..., 32:]
        target[..., :32] *= 0.5
    metric = METRICS[name]
    same, other = metric.measure(target, target), metric.measure(noisy, target)
    assert metric.better * same > metric.better * other
