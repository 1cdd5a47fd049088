"""Metrics of pyiqa against its own numbers on five pictures, with random weights; without the extra
`iqa` these tests are skipped.
"""

import numpy as np
import pytest
import torch

from coser_cli.evaluation import libraries, metric_weights
from coser_cli.evaluation.metrics import METRICS, missing_weights

pyiqa = pytest.importorskip("pyiqa")
LICENSE = ["PolyForm-Noncommercial-1.0.0"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for weights, also for what pyiqa has settled at import."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("pyiqa.utils.download_util.DEFAULT_CACHE_DIR", str(tmp_path / "hub/pyiqa"))
    libraries.iqa_net.cache_clear()
    yield tmp_path
    libraries.iqa_net.cache_clear()


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    sizes = [(160, 192 + 16 * index) for index in range(5)]
    coarse = [torch.rand(1, 3, 20, 20, generator=generator) for _ in sizes]
    return [
        torch.nn.functional.interpolate(each, size=size, mode="bicubic").clamp(0, 1)
        for each, size in zip(coarse, sizes, strict=True)
    ]


def own_numbers(name, pictures):
    metric = pyiqa.create_metric(name, device=torch.device("cpu"))
    return [float(metric(each)) for each in pictures]


def test_musiq(hub, pictures, capsys):
    from pyiqa.archs.musiq_arch import MUSIQ

    assert missing_weights(METRICS["musiq"])
    torch.manual_seed(0)
    path = metric_weights.MUSIQ_KONIQ.path()
    path.parent.mkdir(parents=True)
    torch.save(MUSIQ(pretrained=False).state_dict(), path)
    assert not missing_weights(METRICS["musiq"])
    found = [METRICS["musiq"].measure(each, each) for each in pictures]
    assert capsys.readouterr().out == ""
    assert found == pytest.approx(own_numbers("musiq", pictures), rel=1e-5)
    assert len(set(found)) == 5


def test_niqe(hub, pictures):
    from scipy.io import savemat

    rng = np.random.default_rng(0)
    spread = rng.normal(size=(36, 80))
    path = metric_weights.NIQE_STATISTICS.path()
    path.parent.mkdir(parents=True)
    savemat(path, {"mu_prisparam": rng.normal(size=(1, 36)), "cov_prisparam": np.cov(spread)})
    found = [METRICS["niqe"].measure(each, each) for each in pictures]
    assert found == pytest.approx(own_numbers("niqe", pictures), rel=1e-5)
    assert len(set(found)) == 5
