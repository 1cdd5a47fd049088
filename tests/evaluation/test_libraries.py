"""Metrics of other packages against these packages' own numbers on five pairs, where weights are
missing with random ones: what is tested is how pictures are handed over, and that no network is
built without its file.
"""

import pytest
import torch
from torch.nn import functional as F

from coser_cli.errors import InputError, UsageError, WeightsError
from coser_cli.evaluation import libraries, metric_weights
from coser_cli.evaluation.metrics import GROUPS, METRICS, facts, missing_weights, require, select


@pytest.fixture(scope="module")
def five():
    """Five pairs of results and true pictures `(1, 3, H, W)`, of several sizes."""
    generator = torch.Generator().manual_seed(0)
    pairs = []
    for index in range(5):
        size = 64 + 8 * index, 96 - 8 * index
        coarse = torch.rand(1, 3, 8, 8, generator=generator)
        true = F.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
        noise = 0.1 * torch.randn(true.shape, generator=generator)
        pairs.append(((true + noise).clamp(0, 1), true))
    return pairs


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty folder for weights; a download is an error."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))

    def refuse(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    for cached in (libraries.lpips_net, libraries.dists_net, libraries.clip, libraries.iqa_net):
        cached.cache_clear()
    yield tmp_path
    for cached in (libraries.lpips_net, libraries.dists_net, libraries.clip, libraries.iqa_net):
        cached.cache_clear()


def put(file, state):
    file.path().parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, file.path())


def trunk(make):
    """Random weights of a network of torchvision; its head, which no metric runs, is zero."""
    with torch.device("meta"):
        shapes = {name: tensor.shape for name, tensor in make().state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.zeros(1).expand(shape)
        if name.startswith("classifier")
        else torch.randn(shape, generator=generator) * (2 / max(1, shape[1:].numel())) ** 0.5
        for name, shape in shapes.items()
    }


@pytest.fixture
def trunks(hub):
    """Random weights where torchvision looks for AlexNet and VGG16."""
    from torchvision import models

    put(metric_weights.ALEXNET, trunk(models.alexnet))
    put(metric_weights.VGG16, trunk(models.vgg16))


def test_psnr_and_ssim_are_those_of_torchmetrics(five):
    from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure

    for result, true in five:
        grey = [libraries.luma(each) for each in (result, true)]
        own = PeakSignalNoiseRatio(data_range=1.0)(*grey), libraries.psnr_y(result, true)
        assert own[1] == pytest.approx(float(own[0]), abs=1e-5)
        ssim = StructuralSimilarityIndexMeasure(data_range=1.0)(*grey)
        assert libraries.ssim_y(result, true) == pytest.approx(float(ssim), abs=1e-6)


def test_st_lpips_is_that_of_its_package(five):
    from stlpips_pytorch import stlpips

    net = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False).eval()
    for result, true in five:
        with torch.no_grad():
            expected = float(net(2 * result - 1, 2 * true - 1))
        assert libraries.st_lpips(result, true) == pytest.approx(expected, abs=1e-6)


def test_lpips_is_that_of_torchmetrics(five, trunks):
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    for result, true in five:
        with torch.no_grad():
            expected = learned_perceptual_image_patch_similarity(
                2 * result - 1, 2 * true - 1, net_type="alex"
            )
        assert libraries.lpips(result, true) == pytest.approx(float(expected), abs=1e-6)
        assert libraries.lpips(true, true) == 0


def test_dists_is_that_of_torchmetrics(five, trunks):
    from torchmetrics.functional.image import deep_image_structure_and_texture_similarity

    for result, true in five[:2]:
        with torch.no_grad():
            expected = deep_image_structure_and_texture_similarity(result, true)
        assert libraries.dists(result, true) == pytest.approx(float(expected), abs=1e-5)
        assert libraries.dists(true, true) == pytest.approx(0, abs=1e-5)


class MeanColours(torch.nn.Module):
    """Features of a picture that can be computed by hand: its mean colours."""

    def forward(self, levels):
        return levels.float().mean(dim=(2, 3))


def test_fid_is_the_frechet_distance_of_gaussians(five):
    """|μ₁ - μ₂|² + tr(Σ₁ + Σ₂ - 2(Σ₁Σ₂)^½) of features that are known."""
    network = MeanColours()
    network.num_features = 3
    distance = libraries.FrechetDistance(network)
    for result, true in five:
        distance.add(result, true)
    columns = [
        torch.cat([each[side].double().mean(dim=(2, 3)) for each in five]) for side in (0, 1)
    ]
    means = [column.mean(dim=0) for column in columns]
    spreads = [torch.cov(column.T) for column in columns]
    root = torch.linalg.eigvals(spreads[0] @ spreads[1]).sqrt().real.sum()
    expected = (means[0] - means[1]).square().sum() + sum(s.trace() for s in spreads) - 2 * root
    assert distance.value() == pytest.approx(float(expected), rel=1e-2)
    assert distance.count == 5


def test_fid_of_one_picture_is_refused(five):
    network = MeanColours()
    network.num_features = 3
    distance = libraries.FrechetDistance(network)
    distance.add(*five[0])
    with pytest.raises(InputError, match="at least two pictures"):
        distance.value()


@pytest.mark.slow
def test_fid_with_inception_is_that_of_torch_fidelity(five, hub):
    """The whole network, at random weights, on the five pairs."""
    from torchmetrics.image.fid import FrechetInceptionDistance

    torch.manual_seed(0)
    state = _random_inception_state()
    put(metric_weights.INCEPTION, state)
    distance = libraries.FrechetDistance()
    whole = FrechetInceptionDistance(feature=2048, normalize=True)
    for result, true in five:
        distance.add(result, true)
        whole.update(result, real=False)
        whole.update(true, real=True)
    assert distance.value() == pytest.approx(float(whole.compute()), rel=1e-5)


def _random_inception_state():
    """A state of the right names and shapes: that of a network built without its file."""
    from unittest.mock import patch

    from torch_fidelity import feature_extractor_inceptionv3 as module

    with (
        patch.object(module, "load_state_dict_from_url", return_value={}),
        patch.object(module.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None),
    ):
        return module.FeatureExtractorInceptionV3("inception", ["2048"]).state_dict()


@pytest.fixture(scope="module")
def toy_clip():
    """A CLIP of open_clip with random weights, and open_clip's own preparation."""
    import open_clip
    from open_clip.transform import image_transform

    torch.manual_seed(0)
    vision = {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16}
    text = {"context_length": 8, "vocab_size": 64, "width": 32, "heads": 2, "layers": 1}
    model = open_clip.CLIP(embed_dim=16, vision_cfg=vision, text_cfg=text).eval()
    return model, image_transform(32, is_train=False)


def test_clip_score_is_the_cosine_of_the_embeddings(five, toy_clip):
    from PIL import Image

    model, preprocess = toy_clip
    for result, true in five:
        levels = [
            (each[0] * 255).round().byte().permute(1, 2, 0).numpy() for each in (result, true)
        ]
        with torch.no_grad():
            first, second = (
                model.encode_image(preprocess(Image.fromarray(each))[None])[0] for each in levels
            )
            expected = float(F.cosine_similarity(first, second, dim=0))
            found = libraries.clip_cosine(model, preprocess, result, true)
        assert found == pytest.approx(expected, abs=1e-5)
    with torch.no_grad():
        assert libraries.clip_cosine(model, preprocess, true, true) == pytest.approx(1, abs=1e-5)


def test_nothing_is_downloaded_unasked(hub):
    lacking = [name for name, metric in METRICS.items() if missing_weights(metric)]
    assert set(lacking) == {
        *("lpips", "dists", "clip_score", "fid"),
        *("musiq", "niqe", "clipiqa", "maniqa"),
    }
    with pytest.raises(WeightsError) as error:
        require([METRICS["psnr_y"], METRICS["lpips"], METRICS["fid"]])
    assert str(error.value) == (
        "the weights of lpips, fid are not on this machine;"
        " coser evaluate metrics --fetch lpips,fid"
    )


def test_what_is_there_is_not_missing(trunks):
    require([METRICS["lpips"], METRICS["dists"]])
    assert facts(METRICS["lpips"])["state"] == "ready"
    assert facts(METRICS["fid"])["command"] == "coser evaluate metrics --fetch fid"


def test_a_licence_is_accepted_by_name(monkeypatch):
    monkeypatch.setattr("coser_cli.evaluation.metrics.is_installed", lambda _: True)
    with pytest.raises(UsageError, match=r"PolyForm-Noncommercial-1\.0\.0") as error:
        require([METRICS["musiq"]], fetch=True)
    assert "--accept-license PolyForm-Noncommercial-1.0.0" in str(error.value)
    require([METRICS["musiq"]], ["PolyForm-Noncommercial-1.0.0"], fetch=True)
    with pytest.raises(UsageError, match="there is no licence 'MIT'"):
        require([METRICS["psnr_y"]], ["MIT"])


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr("coser_cli.evaluation.metrics.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install 'coser-cli\[iqa\]'"):
        require([METRICS["musiq"]])


def test_names_and_groups():
    assert [each.name for each in select("psnr_y, paper,lpips")] == ["psnr_y", *GROUPS["paper"]]
    with pytest.raises(UsageError, match="--metrics: 'ssim' is none of psnr_y, ssim_y"):
        select("ssim")
