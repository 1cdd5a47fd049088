"""The stages at toy size, from pictures to a model that enlarges."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import UsageError
from coser_cli.models.aia import is_aia_parameter, is_condition_parameter
from coser_cli.settings import Settings
from coser_cli.training import checkpoint
from coser_cli.training.recipe import read_recipe
from coser_cli.training.stages import STAGES
from coser_cli.training.workspace import Workspace
from coser_cli.weights.store import read_part


@pytest.fixture(scope="module")
def trained(recipes, classes, tmp_path_factory):
    """A workspace in which every stage of the toy like `sd21` has run."""
    recipe = read_recipe(recipes / "sd21.toml")
    space = Workspace(recipe, classes, tmp_path_factory.mktemp("work"))
    for stage in ("cognition", "restoration", "condition", "export"):
        STAGES[stage](space)
    return space


def averaged(space, stage):
    return checkpoint.read(space.folder / stage)["averaged"]


def test_the_exported_model_upscales(trained):
    upscaler = Upscaler.from_pretrained(trained.folder / "model", device="cpu")
    result = upscaler.upscale(torch.rand(1, 3, 16, 16), Settings(steps=2), want_reference=True)
    assert result.pixels.shape == (1, 3, 64, 64)
    assert result.pixels.isfinite().all()


def test_clip_and_the_base_stay_as_they_were(trained, recipes):
    names = averaged(trained, "cognition").keys()
    assert any(name.startswith("networks.cognitive_encoder.qformer.") for name in names)
    assert any(name.startswith("networks.srresnet.") for name in names)
    assert not any(".clip." in name for name in names)
    exported = read_part(trained.folder / "model", "unet")
    for name, value in read_part(recipes / "base", "unet").items():
        if not is_aia_parameter(name):
            assert torch.equal(exported[name], value.half()), name


def test_stage_two_trains_the_new_attentions_and_the_controlnet(trained):
    names = averaged(trained, "restoration").keys()
    of_unet = [name for name in names if name.startswith("networks.unet.")]
    assert of_unet and all(is_aia_parameter(name) for name in of_unet)
    assert not any(is_condition_parameter(name, "edges") for name in of_unet)
    assert any(name.startswith("networks.controlnet.") for name in names)


def test_the_stage_of_a_condition_trains_its_attentions_alone(trained):
    names = averaged(trained, "condition").keys()
    assert names and all(is_condition_parameter(name, "edges") for name in names)


def test_log_and_samples(trained):
    lines = (trained.folder / "cognition" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    assert {"step", "seconds", "loss"} <= json.loads(lines[0]).keys()
    with Image.open(trained.folder / "cognition" / "samples" / "0000002.png") as sheet:
        assert sheet.size == (3 * 32, 4 * 32)
        assert np.asarray(sheet).std() > 5


def test_a_finished_stage_runs_no_further(trained):
    file = trained.folder / "restoration" / checkpoint.FILE
    before = file.stat().st_mtime_ns
    STAGES["restoration"](trained)
    assert file.stat().st_mtime_ns == before


def test_a_stage_names_the_one_it_needs(recipes, classes, tmp_path):
    bare = tmp_path / "recipes"
    shutil.copytree(recipes, bare)
    shutil.rmtree(bare / "base" / "srresnet", ignore_errors=True)  # other tests add it
    space = Workspace(read_recipe(bare / "sd21.toml"), classes, tmp_path / "work")
    with pytest.raises(UsageError, match="run `coser train cognition` first"):
        STAGES["restoration"](space)


def test_a_trained_model_is_distilled_to_one_step(trained, recipes, classes, tmp_path):
    recipe = recipes / "distil.toml"
    recipe.write_text(
        f"""
model = "{trained.folder / "model"}"
start = "{trained.folder / "model"}"
[data]
held_out = 0
[pool]
shards = 2
shard = 2
size = 32
teacher = "{trained.folder / "model"}"
[one_step]
timestep = 200
train = ["aia", "controlnet"]
steps = 2
batch = 2
crop = 32
mixed_precision = "no"
weights = {{ teacher = 0.8, truth = 0.2 }}
"""
    )
    space = Workspace(read_recipe(recipe), classes, tmp_path)
    for stage in ("teacher", "one_step", "export"):
        STAGES[stage](space)
    names = checkpoint.read(tmp_path / "one_step" / "0-0")["averaged"].keys()
    of_unet = [name for name in names if name.startswith("networks.unet.")]
    assert of_unet and all(is_aia_parameter(name) for name in of_unet)
    upscaler = Upscaler.from_pretrained(tmp_path / "model", device="cpu")
    assert upscaler.model.config.one_step.timestep == 200
    one = upscaler.upscale(torch.rand(1, 3, 16, 16), Settings())
    assert one.pixels.shape == (1, 3, 64, 64) and one.pixels.isfinite().all()
