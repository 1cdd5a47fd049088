"""Which files are taken as a pre-restorer, and what is said of the others."""

import sys

import pytest
import torch

from coser_cli.errors import UsageError, WeightsError
from coser_cli.weights.pre_restorer import MARGIN, load_pre_restorer
from tests.pre_restorers import compact, save


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.ckpt", "A.PTH"])
def test_a_network_of_each_kind_of_file(tmp_path, name):
    loaded = load_pre_restorer(save(tmp_path / name))
    assert loaded.network.scale == 2
    pixels = torch.rand(1, 3, 5, 7)
    assert loaded.network(pixels).shape == (1, 3, 10, 14)


def test_memory_is_that_of_the_widest_layer(tmp_path):
    loaded = load_pre_restorer(save(tmp_path / "a.pth"))
    assert loaded.pixel_bytes == MARGIN * 4 * 24  # the shuffle itself: 12 values in, 12 out


def test_a_checkpoint_of_training_and_another_architecture(tmp_path):
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    network = ESRGAN(num_filters=4, num_blocks=1, scale=4)
    path = save(tmp_path / "a.pth", {"params_ema": network.state_dict()})
    assert load_pre_restorer(path).network.architecture.name == "ESRGAN"


class Foreign:
    def __reduce__(self):
        return print, ("run",)


def not_finite(value):
    weights = compact()
    weights["body.2.weight"][0, 0, 0, 0] = value
    return weights


@pytest.mark.parametrize(
    ("name", "weights", "reason"),
    [
        ("a.pth", lambda: {"weight": torch.zeros(3)}, "spandrel knows no such network"),
        ("a.pth", Foreign, "Global '.*print' is forbidden"),
        ("a.pth", lambda: not_finite(float("nan")), "no finite numbers"),
        ("a.safetensors", lambda: not_finite(float("inf")), "no finite numbers"),
        ("a.pth", lambda: compact(1), "Compact of scale 1 does not enlarge"),
        ("a.pth", lambda: compact(2, channels=4), "takes 4 channels and makes 4, not 3"),
        ("a.pt", compact, "not one of .safetensors, .pth, .ckpt"),
        (
            "a.safetensors",
            lambda: {"body.0.weight": torch.zeros(8, 3, 3, 3)},
            "knows no such|be loaded",
        ),
    ],
)
def test_what_is_no_network_for_pictures(tmp_path, capsys, name, weights, reason):
    path = save(tmp_path / name, weights())
    with pytest.raises(WeightsError, match=reason) as raised:
        load_pre_restorer(path)
    assert name in str(raised.value) and "\n" not in str(raised.value)
    assert capsys.readouterr().out == ""


def test_numbers_that_grow_beyond_all_bounds(tmp_path):
    weights = {name: tensor * 1e30 for name, tensor in compact().items()}
    with pytest.raises(WeightsError, match=r"no picture|no finite"):
        load_pre_restorer(save(tmp_path / "a.pth", weights))


def test_a_network_that_only_restores(tmp_path):
    from spandrel.architectures.SCUNet import SCUNet

    path = save(tmp_path / "a.pth", SCUNet(config=[1] * 7, dim=16).state_dict())
    with pytest.raises(WeightsError, match="SCUNet of scale 1 does not enlarge"):
        load_pre_restorer(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"no network", b"PK\x03\x04 cut off"])
def test_damaged_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name}'"):
        load_pre_restorer(tmp_path / name)


def test_a_file_cut_off(tmp_path):
    path = save(tmp_path / "a.pth")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_pre_restorer(path)


def test_no_file(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*a\.pth.*no such file"):
        load_pre_restorer(tmp_path / "a.pth")
    with pytest.raises(UsageError, match="is a directory"):
        load_pre_restorer(tmp_path)


def test_without_spandrel(tmp_path, monkeypatch):
    path = save(tmp_path / "a.pth")
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(UsageError, match=r"needs spandrel.*pip install 'coser-cli\[spandrel\]'"):
        load_pre_restorer(path)
