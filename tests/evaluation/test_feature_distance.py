"""The distance of classifier features: zero, order, and what it sees."""

import pytest
import torch
from torch.nn import functional as F

from coser_cli.evaluation import feature_distance as module
from coser_cli.evaluation.feature_distance import LEVELS, feature_distance


@pytest.fixture(scope="module")
def target():
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 12, 12, generator=generator)
    return F.interpolate(coarse, size=96, mode="bicubic").clamp(0, 1)


def noisy(pixels, deviation):
    generator = torch.Generator().manual_seed(1)
    return (pixels + deviation * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)


def test_equal_pictures_have_none_and_it_grows(target):
    near, far = (feature_distance(noisy(target, each), target) for each in (0.02, 0.2))
    assert feature_distance(target, target) == 0
    assert 0 < near < far < 4 * (len(LEVELS) + 1)


def test_it_is_the_same_both_ways(target):
    other = noisy(target, 0.1)
    assert feature_distance(other, target) == pytest.approx(feature_distance(target, other))


def test_it_sees_a_mesh_that_psnr_hardly_sees(target):
    mesh = target + 0.02 * (-1.0) ** torch.arange(96)
    moved = target + 0.02
    assert feature_distance(mesh, target) > 5 * feature_distance(moved, target)


def test_levels_and_their_strides(target):
    levels = list(module._features(target))
    assert [96 // each.shape[-1] for each in levels] == [2, 2, 4, 8, 16, 16]
    for each in levels:
        lengths = each.square().sum(dim=1)
        assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4)


def test_the_network_classifies_as_its_package_does(target):
    """Weights, names and normalisation fit: the block features are those of the package's own
    pass."""
    network = module._network()
    pixels = module._normalized(target)
    features = network._swish(network._bn0(network._conv_stem(pixels)))
    for block in network._blocks:
        features = block(features)
    expected = network.extract_features(pixels)
    assert torch.equal(network._swish(network._bn1(network._conv_head(features))), expected)
