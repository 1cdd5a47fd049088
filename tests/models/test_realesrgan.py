"""Real-ESRGAN's network and the reader of its weights, at toy size and with the real file."""

import numpy as np
import pytest
import torch
from torch import nn

from coser_cli.errors import UsageError, WeightsError
from coser_cli.models import realesrgan
from coser_cli.models.realesrgan import RRDBNet, read_weights


def written(network, path, mark=0x01306B47, more=b""):
    """A file in ncnn's format with a network's weights, rounded to float16."""
    parts = []
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            weights = layer.weight.detach().numpy().astype("<f2").tobytes()
            parts += [np.uint32(mark).tobytes(), weights, b"\0" * (-len(weights) % 4)]
            parts.append(layer.bias.detach().numpy().astype("<f4").tobytes())
    path.write_bytes(b"".join(parts) + more)
    return path


@pytest.fixture
def toy():
    torch.manual_seed(0)
    return RRDBNet(blocks=2, channels=5, growth=3).eval()


def test_weights_are_read_as_they_were_written(toy, tmp_path):
    path = written(toy, tmp_path / "toy.bin")
    other = RRDBNet(blocks=2, channels=5, growth=3)
    read_weights(other, path)
    for name, value in toy.state_dict().items():
        expected = value.half().float() if name.endswith("weight") else value
        assert torch.equal(other.state_dict()[name], expected), name


@pytest.mark.parametrize("damage", ["short", "long", "mark"])
def test_damaged_files_are_refused(toy, tmp_path, damage):
    path = tmp_path / "toy.bin"
    written(toy, path, 1 if damage == "mark" else 0x01306B47, b"x" if damage == "long" else b"")
    if damage == "short":
        path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(WeightsError, match="not the weights of Real-ESRGAN"):
        read_weights(RRDBNet(blocks=2, channels=5, growth=3), path)


def test_it_enlarges_four_times(toy):
    with torch.no_grad():
        assert toy(torch.rand(2, 3, 7, 5)).shape == (2, 3, 28, 20)


def test_the_package_may_be_missing(monkeypatch):
    monkeypatch.setattr(realesrgan, "PACKAGE", "not_there_at_all")
    with pytest.raises(UsageError, match="Real-ESRGAN are not installed"):
        realesrgan.weights_file()


def test_the_real_weights_restore_what_bicubic_reduction_took():
    """16.7 million parameters, all of the file read; a smooth edge comes out sharper than by
    bicubic enlargement, in the same place and without another colour.
    """
    network = realesrgan.load()
    assert sum(each.numel() for each in network.parameters()) == 16_697_987
    high = torch.full((1, 3, 64, 64), 0.2)
    high[..., 30:] = 0.8
    low = nn.functional.interpolate(high, scale_factor=0.25, mode="bicubic", antialias=True)
    found = realesrgan.enlarge(low.clamp(0, 1))
    bicubic = nn.functional.interpolate(low, scale_factor=4.0, mode="bicubic").clamp(0, 1)
    assert found.shape == high.shape
    between = [float(((each > 0.3) & (each < 0.7)).float().mean()) for each in (found, bicubic)]
    assert between[0] < 0.5 * between[1]
    assert (found.mean() - high.mean()).abs() < 0.01
