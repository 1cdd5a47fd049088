"""All stages at toy size, from photos to a model that enlarges; and what recipes must say."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.cli.app import main
from coser_cli.cli.train import RECIPE, STAGE_NAMES
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import InputError, UsageError
from coser_cli.settings import Settings
from coser_cli.training.stages import STAGES, Workspace, read_recipe


def test_the_exported_model_upscales(trained):
    upscaler = Upscaler.from_pretrained(trained.folder / "model", device="cpu")
    pixels = torch.rand(1, 3, 10, 12)
    result = upscaler.upscale(pixels, Settings(steps=2, strength=0.5), want_reference=True)
    assert result.pixels.shape == (1, 3, 40, 48)
    assert result.reference is not None and result.reference.shape == result.pixels.shape
    assert result.pixels.isfinite().all()


def test_the_exported_model_is_float16_and_knows_its_scale(trained):
    upscaler = Upscaler.from_pretrained(trained.folder / "model", device="cpu")
    scale = json.loads((trained.folder / "scaling.json").read_text())
    assert upscaler.model.config.autoencoder.scaling_factor == scale
    assert upscaler.model.config.cfw.autoencoder.scaling_factor == scale
    sample = torch.from_numpy(np.array(trained.pool.high)).float() / 255
    with torch.inference_mode():
        assert upscaler.model.autoencoder.encode(sample).std() == pytest.approx(1, abs=0.02)
    stored = trained.averaged("sharpen")
    for name, value in upscaler.model.srresnet.state_dict().items():
        assert torch.equal(value, stored[name].half().float())


def test_latents_fit_the_pool(trained):
    latents = trained.latents(6)
    assert latents.high.shape == latents.low.shape == (6, 4, 16, 16)
    with torch.inference_mode():
        coder = trained.network("vae", "autoencoder")
        expected = coder.encode(torch.from_numpy(np.array(trained.pool.high[:1])).float() / 255)
    found = torch.from_numpy(np.array(latents.high[:1])).float()
    assert (found - expected).abs().max() < 0.1 * expected.abs().max()  # bfloat16


def test_siblings_are_other_crops_of_the_same_photo(trained):
    latents = trained.latents(6)
    for row, sibling in enumerate(latents.sibling):
        same = np.flatnonzero(latents.photo == latents.photo[row])
        assert sibling in same
        assert len(same) == 1 or sibling != row
    assert latents.siblings(np.array([0, 3]), 8, step=1).shape == (2, 4, 8, 8)


def test_latents_are_made_again_for_another_number_of_rows(trained):
    assert len(trained.latents(4).high) == 4
    assert len(trained.latents(99).high) == 6  # there are no more


def test_only_the_new_attentions_and_the_controlnet_change(trained):
    base, pair = trained.averaged("unet"), trained.averaged("restoration")
    from coser_cli.models.unet import is_aia_parameter

    for name, value in base.items():
        if not is_aia_parameter(name):
            assert torch.equal(pair[f"unet.{name}"], value), name
    assert any(name.startswith("controlnet.") for name in pair)


def test_captions_have_one_row_per_photo(trained):
    captions = trained.captions
    assert captions.text.shape == (4, 8, 384)
    assert captions.selected.shape == (4, 4, 384)
    assert captions.empty.shape == (1, 8, 384)
    assert not torch.equal(captions.text[0], captions.text[1])


def test_a_finished_stage_runs_no_further(trained):
    before = trained.averaged("srresnet")
    STAGES["srresnet"](trained)
    assert all(torch.equal(v, before[k]) for k, v in trained.averaged("srresnet").items())


def test_stages_begin_at_their_seed(photos, recipe, trained, tmp_path):
    again = Workspace(read_recipe(recipe), photos, tmp_path)
    torch.manual_seed(99)  # whatever happened before
    STAGES["srresnet"](again)
    before = trained.averaged("srresnet")
    assert all(torch.equal(v, before[k]) for k, v in again.averaged("srresnet").items())


def test_a_stage_names_the_one_it_needs(photos, recipe, tmp_path):
    with pytest.raises(InputError, match="coser train srresnet"):
        STAGES["sharpen"](Workspace(read_recipe(recipe), photos, tmp_path))


def test_the_bundled_recipe_covers_every_stage():
    space = Workspace(read_recipe(RECIPE), RECIPE, RECIPE.parent)
    assert tuple(STAGES) == STAGE_NAMES
    for stage in STAGE_NAMES[:-1]:
        assert space.loop_config(stage).steps
        space.weights(stage)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model = ", "Invalid"),
        ("model = 'big'", "none of mini, sd21, nor a folder with model.json"),
        ("", "none of mini"),
    ],
)
def test_recipes_that_are_refused(tmp_path, text, message):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        read_recipe(path)


def test_tables_that_are_refused(tmp_path):
    space = Workspace({"model": "mini", "srresnet": {"stops": 3}}, tmp_path, tmp_path)
    with pytest.raises(UsageError, match=r"\[srresnet\] has the unknown key stops"):
        STAGES["srresnet"](space)
    with pytest.raises(UsageError, match=r"no table \[cfw\]"):
        space.loop_config("cfw")
    with pytest.raises(UsageError, match="only sentence text"):
        Workspace({"model": "sd21"}, tmp_path, tmp_path).text()


def test_coser_train_runs_a_stage(photos, recipe, tmp_path, capsys):
    args = ["srresnet", "--data", photos, "--config", recipe, "--work", tmp_path / "work"]
    assert main(["train", *map(str, args)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "work" / "srresnet")
    assert (tmp_path / "work" / "srresnet" / "checkpoint.pt").is_file()


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["srresnet"], 2, "--data"),
        (["polish", "--data", "."], 2, "STAGE 'polish' is none of autoencoder"),
        (["srresnet", "--data", ".", "--config", "none.toml"], 2, "give a recipe such as"),
        (["srresnet", "--data", "."], 1, "no such list; --data needs a folder with captions.tsv"),
        (["export", "--data", "."], 1, "run `coser train sharpen` first"),
    ],
)
def test_coser_train_refuses(args, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *args]) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_photos_survive_a_stage(photos):
    """Photos are opened, never written."""
    with Image.open(photos / "own" / "d.png") as picture:
        assert picture.size == (50, 40)
