import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file

from coser_cli.config import (
    CFWConfig,
    ModelConfig,
    ScheduleConfig,
    SentenceTextConfig,
    SRResNetConfig,
)
from coser_cli.errors import WeightsError
from coser_cli.models.build import build, make_network
from coser_cli.models.text import SentenceText
from coser_cli.weights.load import load_model, save_component, save_text_states
from coser_cli.weights.store import (
    available_models,
    config_from_dict,
    resolve_model,
    save_model_config,
)

from .conftest import AUTOENCODER, CLIP_TEXT, CLIP_VISION, CONTROLNET, QFORMER, UNET

CONFIG = ModelConfig(
    "toy",
    srresnet=SRResNetConfig(8, 1),
    clip_vision=CLIP_VISION,
    text=SentenceTextConfig(context_length=5, width=24),
    qformer=QFORMER,
    autoencoder=AUTOENCODER,
    cfw=CFWConfig(AUTOENCODER, (1,), 1, 8, own_encoder=False),
    unet=UNET,
    controlnet=CONTROLNET,
    schedule=ScheduleConfig(beta_end=0.01),
)
PARTS = ("srresnet", "vae", "cfw", "cognitive_encoder", "unet", "controlnet")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "toy"
    save_model_config(CONFIG, folder)
    for part in PARTS:
        save_component(make_network(CONFIG, part), folder / part, torch.float32)
    states = {"": torch.randn(5, 24), "bad": torch.randn(5, 24)}
    save_text_states(SentenceText(CONFIG.text, states), folder / "text", torch.float32)
    return folder


@pytest.fixture
def weights_home(tmp_path, monkeypatch):
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(tmp_path))
    return tmp_path


def test_a_model_comes_back_as_it_was_saved(folder):
    model = load_model(folder)
    assert model.config == CONFIG
    for network in (model.autoencoder, model.unet, model.controlnet, model.cognition, model.cfw):
        assert not network.training
        assert not any(p.requires_grad or p.is_meta for p in network.parameters())
    saved = load_file(folder / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(saved[k], v) for k, v in model.unet.state_dict().items())
    x = torch.rand(1, 3, 16, 16)
    latents, features = model.autoencoder.encode_with_features(x)
    assert model.cfw.decode(latents, features, 1.0).shape == x.shape
    assert model.srresnet(x).shape == (1, 3, 64, 64)
    assert model.text.encode(["bad"]).shape == (1, 5, 24)
    assert model.cognition(x).shape == (1, 6, 24)


def test_only_what_is_asked_for_is_loaded(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    model = load_model(folder)
    assert model.autoencoder is model.autoencoder
    assert vars(model).keys() & {"unet", "controlnet", "cognition", "srresnet"} == set()
    with pytest.raises(WeightsError, match="unet"):
        _ = model.unet


def test_weights_take_the_dtype_asked_for(folder):
    model = load_model(folder, dtype=torch.bfloat16)
    dtypes = {p.dtype for p in model.unet.parameters()} | {model.text.encode([""]).dtype}
    assert dtypes == {torch.bfloat16}


def test_a_model_without_cfw_has_none(folder):
    (folder / "cfw" / "diffusion_pytorch_model.safetensors").unlink()
    assert load_model(folder).cfw is None


def test_half_precision_files_are_half_as_large(folder, tmp_path):
    save_component(load_model(folder).unet, tmp_path / "half")
    sizes = [
        (f / "diffusion_pytorch_model.safetensors").stat().st_size
        for f in (tmp_path / "half", folder / "unet")
    ]
    assert sizes[0] == pytest.approx(sizes[1] / 2, rel=0.1)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["context_dim"] == 24


@pytest.mark.parametrize("clip", [False, True])
def test_a_configuration_survives_json(clip):
    config = replace(CONFIG, text=CLIP_TEXT) if clip else CONFIG
    assert config_from_dict(ModelConfig, json.loads(json.dumps(asdict(config)))) == config


def test_a_field_nobody_knows_is_named(folder):
    file = folder / "model.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"colour": 1}))
    with pytest.raises(WeightsError, match="colour"):
        load_model(folder)


def test_every_key_that_does_not_fit_is_named():
    state = make_network(CONFIG, "srresnet").state_dict()
    state["stranger"] = state.pop("conv_hr.bias")
    state["conv_last.bias"] = torch.zeros(4)
    with pytest.raises(WeightsError) as caught:
        build(lambda: make_network(CONFIG, "srresnet"), state, "FILE")
    for word in ("FILE", "missing: conv_hr.bias", "not known: stranger", "conv_last.bias has"):
        assert word in str(caught.value)


def test_a_damaged_file_is_named(folder):
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="vae"):
        _ = load_model(folder).autoencoder


def test_models_are_found_by_name_and_auto_prefers_the_full_one(folder, weights_home):
    assert "toy" in available_models()
    assert load_model("toy").config == CONFIG
    assert load_model(str(folder)).config == CONFIG
    assert resolve_model("auto") == "mini"
    folder.rename(weights_home / "sd21")
    assert resolve_model("auto") == "sd21"
    assert resolve_model("mini") == "mini"


def test_a_model_that_is_not_there_says_what_is(folder, weights_home):
    with pytest.raises(WeightsError, match="toy"):
        load_model("nonesuch")


def test_a_part_that_does_not_exist():
    with pytest.raises(ValueError, match="engine"):
        make_network(CONFIG, "engine")


def test_nothing_half_written_is_left(folder):
    assert not list(folder.rglob("*.part"))
