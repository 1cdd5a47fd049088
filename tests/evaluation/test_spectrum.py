"""Grid energy of meshes whose power is known: cosines on white noise."""

import math

import pytest
import torch

from coser_cli.errors import InputError
from coser_cli.evaluation.spectrum import SEGMENT, grid_energy, peaks, spectrum

NOISE = 0.02


@pytest.fixture(scope="module")
def noise():
    generator = torch.Generator().manual_seed(0)
    return (0.5 + NOISE * torch.randn(1, 1, 512, 512, generator=generator)).expand(1, 3, -1, -1)


def cosine(period, amplitude, size=512):
    return amplitude * torch.cos(2 * math.pi * torch.arange(size) / period)


def test_the_true_picture_has_one(noise):
    assert grid_energy(noise, noise) == 1


def test_noise_has_no_peaks(noise):
    assert peaks(noise) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize(("period", "power"), [(4, 1 / 4), (2, 1)])
@pytest.mark.parametrize("amplitude", [0.005, 0.01, 0.03])
def test_a_mesh_of_known_amplitude(noise, period, power, amplitude):
    """A Hann window gives a cosine A²(L/2)²/4, at half the sampling rate four times that, and
    white noise of variance v gives 3vL/8. One of four ratios is raised.
    """
    raised = 1 + power * amplitude**2 * (SEGMENT / 2) ** 2 / (NOISE**2 * 3 * SEGMENT / 8)
    expected = (raised + 3) / 4
    found = grid_energy(noise + cosine(period, amplitude), noise)
    assert found == pytest.approx(expected, rel=0.05)
    turned = grid_energy(noise + cosine(period, amplitude)[:, None], noise)
    assert turned == pytest.approx(expected, rel=0.05)


def test_the_size_of_the_picture_does_not_matter(noise):
    mesh = noise + cosine(4, 0.01)
    part = grid_energy(mesh[..., :200, :130], noise[..., :200, :130])
    assert part == pytest.approx(grid_energy(mesh, noise), rel=0.15)


def test_other_periods_are_no_mesh(noise):
    assert grid_energy(noise + cosine(64 / 24, 0.05), noise) == pytest.approx(1, abs=0.05)
    assert grid_energy(noise + cosine(16, 0.05), noise) == pytest.approx(1, abs=0.05)


def test_flat_pictures_have_a_value():
    flat = torch.full((1, 3, 40, 33), 0.3)
    assert grid_energy(flat, flat) == 1


def test_white_noise_has_its_variance_at_every_frequency():
    generator = torch.Generator().manual_seed(1)
    power = spectrum(3 * torch.randn(2000, 256, generator=generator, dtype=torch.float64))
    assert power[2:-1] == pytest.approx(torch.full_like(power[2:-1], 9), rel=0.05)


def test_small_pictures_are_refused():
    with pytest.raises(InputError, match="needs 32 pixels per side, and not 31"):
        peaks(torch.rand(1, 3, 40, 31))
