"""Enlargement by tiles against that of the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coser_cli.config import SRResNetConfig
from coser_cli.engine import preparation
from coser_cli.engine.preparation import pad_to_multiple, prepare
from coser_cli.engine.tiled import enlarging
from coser_cli.engine.tiled.enlarging import enlarge, pad, pre_restore, reach, scratch_bytes
from coser_cli.models.srresnet import SRResNet
from coser_cli.size import Size
from coser_cli.tiling.canvas import Scratch, TensorMap
from coser_cli.weights.load import load_model


def noise(height, width):
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def tiled(model, pixels, scale, size):
    padded = TensorMap(torch.full((1, 3, *size), float("nan")))
    told = []
    with Scratch() as scratch:
        unpadded = Size.of(pixels).scaled(scale)
        source = TensorMap(pixels)
        found = enlarge(model, source, unpadded, scale, padded, scratch, lambda *a: told.append(a))
        kept = None if found is None else found.read(whole(found))
    count = told[-1][1]
    assert told == [(done, count) for done in range(1, count + 1)]
    return padded.tensor, kept


def whole(source):
    return enlarging.Box(0, 0, *source.shape[1:])


@pytest.mark.parametrize("low_res_source", ["srresnet", "bicubic"])
@pytest.mark.parametrize("scale", [1, 2.3, 4, 5.5, 7])
@torch.inference_mode()
def test_the_padded_enlargement_is_that_of_the_whole(monkeypatch, make_toy, low_res_source, scale):
    monkeypatch.setattr(enlarging, "NETWORK_TILE", 16)
    monkeypatch.setattr(enlarging, "RESIZE_TILE", 48)
    model = make_toy(low_res_source=low_res_source).upscaler.model
    pixels = noise(33, 41)
    expected = prepare(model, pixels, scale)
    padded, pre_restored = tiled(model, pixels, scale, expected.padded.shape[-2:])
    assert (padded - expected.padded).abs().max() <= 1e-5
    if low_res_source == "bicubic":
        assert pre_restored is None
    else:
        assert pre_restored.min() < 0 or pre_restored.max() > 1  # not clamped
        assert (pre_restored - expected.pre_restored).abs().max() <= 1e-5


@torch.inference_mode()
def test_with_the_bundled_network():
    model = load_model("mini")
    pixels = noise(150, 140)
    network = model.srresnet
    expected = network(pixels)
    with Scratch() as scratch:
        found = pre_restore(model, TensorMap(pixels), scratch)
        assert (found.read(whole(found)) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("num_block", [0, 1, 3])
def test_an_output_sees_as_far_as_is_said_and_no_farther(num_block):
    network = SRResNet(SRResNetConfig(num_feat=4, num_block=num_block)).double()
    for parameter in network.parameters():  # nothing is zero, nothing cancels
        torch.nn.init.uniform_(parameter, 0.1, 0.2)
    side = 2 * reach(network) + 5
    pixels = torch.rand(1, 3, side, side, dtype=torch.float64, requires_grad=True)
    middle = side // 2
    place = network(pixels)[..., middle * 4 : middle * 4 + 4, middle * 4 : middle * 4 + 4]
    (gradient,) = torch.autograd.grad(place.sum(), pixels)
    rows = gradient.abs().sum(dim=(0, 1, 3)).nonzero().flatten()
    assert (rows.min(), rows.max()) == (middle - reach(network), middle + reach(network))


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 32))
def test_padding_is_that_of_the_whole(height, width, multiple):
    pixels = noise(height, width)
    expected = pad_to_multiple(pixels, multiple)
    padded = TensorMap(torch.zeros_like(expected))
    padded.tensor[..., :height, :width] = pixels
    pad(padded, Size(height, width))
    assert torch.equal(padded.tensor, expected)


def test_tall_maps_are_padded_in_bands(monkeypatch):
    monkeypatch.setattr(enlarging, "RESIZE_TILE", 7)
    test_padding_is_that_of_the_whole.hypothesis.inner_test(40, 33, 16)


def test_temporary_space_is_given_back(make_toy, tmp_path):
    """Of all passes only the first stays."""
    model = make_toy(low_res_source="srresnet").upscaler.model
    canvases, peaks = [], []
    with Scratch(tmp_path) as scratch:
        make = scratch.canvas

        def noted(shape):
            canvases.append(make(shape))
            peaks.append(sum(each.nbytes for each in canvases if not each._file.closed))
            return canvases[-1]

        scratch.canvas = noted
        padded = TensorMap(torch.zeros(1, 3, 3 * 100, 2 * 100))
        kept = enlarge(model, TensorMap(noise(3, 2)), Size(300, 200), 100, padded, scratch)
        assert [each for each in canvases if not each._file.closed] == [kept]
    assert preparation.srresnet_passes(100) == len(canvases) == 4
    assert max(peaks) == scratch_bytes(Size(3, 2), 100)
    assert scratch_bytes(Size(3, 2), 4) == 3 * 4 * 12 * 8
