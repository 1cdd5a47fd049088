"""Halos of known width and height beside one edge."""

import pytest
import torch

from coser_cli.evaluation.halo import halo

LOW, HIGH = 0.2, 0.8


@pytest.fixture
def edge():
    """A vertical edge between columns 31 and 32; ten columns count as beside it."""
    pixels = torch.full((1, 3, 64, 64), LOW)
    pixels[..., 32:] = HIGH
    return pixels


def test_the_true_picture_and_a_blur_have_none(edge):
    assert halo(edge, edge) == 0
    blurred = torch.nn.functional.avg_pool2d(edge, 5, 1, 2, count_include_pad=False)
    assert halo(blurred, edge) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize(("width", "height"), [(1, 0.06), (2, 0.06), (4, 0.12)])
@pytest.mark.parametrize("turned", [False, True])
def test_overshoot_in_percent_of_the_contrast(edge, width, height, turned):
    ringing = edge.clone()
    ringing[..., 32 - width : 32] -= height
    ringing[..., 32 : 32 + width] += height
    if turned:
        ringing, edge = ringing.mT, edge.mT
    share = 2 * width / 10
    assert halo(ringing, edge) == pytest.approx(100 * share * height / (HIGH - LOW), rel=1e-5)


def test_what_lies_far_from_edges_does_not_count(edge):
    far = edge.clone()
    far[..., :20] += 0.1
    assert halo(far, edge) == 0


def test_pictures_without_edges_have_none():
    flat, wild = torch.full((1, 3, 16, 16), 0.5), torch.rand(1, 3, 16, 16)
    assert halo(wild, flat) == 0
