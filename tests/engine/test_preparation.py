from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.config import SRResNetConfig
from coser_cli.engine.preparation import enlarge_bicubic, enlarge_srresnet, pad_to_multiple
from coser_cli.models.srresnet import SRResNet
from coser_cli.size import Size, srresnet_passes


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 64))
def test_padding_only_adds(height, width, multiple):
    pixels = torch.rand(1, 3, height, width)
    padded = pad_to_multiple(pixels, multiple)
    assert padded.shape[-2] % multiple == 0
    assert padded.shape[-1] % multiple == 0
    assert torch.equal(padded[..., :height, :width], pixels)
    assert padded.shape[-2] < height + multiple


def test_padding_mirrors_where_the_picture_suffices():
    ramp = torch.arange(6.0).expand(1, 3, 6, 6)
    assert pad_to_multiple(ramp, 4)[0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 4, 3]
    assert pad_to_multiple(ramp[..., :1], 4)[0, 0, 0].tolist() == [0, 0, 0, 0]


def test_target_size_rounds_and_is_never_empty():
    assert Size(3, 5).scaled(2.5) == Size(round(7.5), round(12.5))
    assert Size(1, 1).scaled(1) == Size(1, 1)


@pytest.mark.parametrize(("scale", "passes"), [(1, 1), (4, 1), (5.6, 1), (5.7, 2), (16, 2)])
def test_srresnet_passes(scale, passes):
    assert srresnet_passes(scale) == passes


def test_enlarging_keeps_flat_colours_and_the_range():
    flat = torch.full((1, 3, 5, 7), 0.3)
    torch.testing.assert_close(
        enlarge_bicubic(flat, Size(20, 28)), flat.new_full((1, 3, 20, 28), 0.3)
    )
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1
    assert enlarge_bicubic(edge, Size(32, 32)).max() == 1


@pytest.mark.parametrize("scale", [1, 2.3, 4, 5.5, 9])
def test_srresnet_enlargement_has_the_wanted_size(scale):
    network = SRResNet(SRResNetConfig(num_feat=4, num_block=1)).eval()
    pixels = torch.rand(1, 3, 6, 5)
    size = Size(6, 5).scaled(scale)
    with torch.inference_mode():
        enlarged = enlarge_srresnet(network, network(pixels), scale, size)
    assert enlarged.shape == (1, 3, *size.hw)
    assert enlarged.min() >= 0
    assert enlarged.max() <= 1
