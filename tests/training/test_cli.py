"""`coser train` as a user runs it, and what it refuses."""

import pytest
import torch

from coser_cli import Upscaler
from coser_cli.cli.app import main
from coser_cli.cli.options.training import STAGE_NAMES
from coser_cli.cli.train import RECIPES
from coser_cli.models.srresnet import SRResNet
from coser_cli.training.dry_run import needs_of
from coser_cli.training.loop import LoopConfig
from coser_cli.training.recipe import TABLES, read_recipe
from coser_cli.training.stages import PREPARE, STAGES, one_step_phases, prepare_restoration
from coser_cli.training.workspace import Workspace

from .conftest import with_overrides, write_classes


def test_the_command_knows_every_stage():
    assert tuple(STAGES) == STAGE_NAMES


@pytest.mark.parametrize("name", ["mini", "sd21", "sd21-one-step"])
def test_bundled_recipes_are_understood(name, tmp_path):
    """Each stage can be prepared, its model built."""
    recipe = read_recipe(RECIPES / f"{name}.toml")
    assert set(recipe.tables) <= set(TABLES)
    space = Workspace(recipe, None, tmp_path, meta=True)
    recipe.degradation()
    for stage in set(PREPARE) & set(recipe.tables):
        assert PREPARE[stage](space).config.steps
    if recipe.has("pool"):
        assert space.pool.shards > space.pool.held_out
    if recipe.has("one_step"):
        phases = ["l1"] if name == "mini" else ["l1", "perceptual"]
        assert one_step_phases(space) == phases


def test_the_recipe_of_mini_begins_with_a_fresh_srresnet(tmp_path):
    """None of the bundled weights are in what it trains."""
    space = Workspace(read_recipe(RECIPES / "mini.toml"), None, tmp_path)
    fresh = PREPARE["srresnet"](space).objective.networks["srresnet"]
    own = Upscaler.from_pretrained("mini", device="cpu").model.srresnet
    assert isinstance(fresh, SRResNet) and isinstance(own, SRResNet)
    assert fresh.config == own.config
    pixels = torch.rand(1, 3, 8, 8)
    bilinear = torch.nn.functional.interpolate(pixels, scale_factor=4.0, mode="bilinear")
    assert (fresh(pixels) - bilinear).abs().mean() < 0.05
    assert not torch.equal(fresh.conv_first.weight, own.conv_first.weight)


def test_a_stage_prints_its_folder(recipes, classes, tmp_path, capsys):
    args = ["--config", recipes / "sd21.toml", "--data", classes, "--work", tmp_path / "work"]
    assert main(["train", "cognition", *map(str, args), "--accumulation", "2"]) == 0
    output = capsys.readouterr()
    assert output.out.strip() == str(tmp_path / "work" / "cognition")
    assert output.err.startswith("cognition: from step 0 of 3, 1 process (cpu)\n")
    assert '"loss"' in output.err
    assert (tmp_path / "work" / "cognition" / "checkpoint.pt").is_file()


def test_a_dry_run_needs_no_weights(recipes, tmp_path, capsys):
    args = ["--config", str(recipes / "sd21.toml"), "--work", str(tmp_path / "work")]
    assert main(["train", "restoration", *args, "--dry-run", "--gpus", "2", "--rate", "50"]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines.keys() == {
        "stage", "parameters", "memory", "batch", "steps", "work", "time",
    }  # fmt: skip
    assert lines["batch"] == "4 on 2 GPUs in 1 passes"
    assert not (tmp_path / "work").exists()


def test_a_dry_run_counts_what_is_trained(recipes, classes, space):
    dry = Workspace(space.recipe, classes, space.folder, meta=True)
    needs = needs_of(dry, "restoration", gpus=1)
    objective = prepare_restoration(dry).objective
    assert needs.trained == sum(p.numel() for p in objective.parameters() if p.requires_grad)
    assert needs.frozen > 800_000  # the text tower's vocabulary among them
    assert needs.steps_per_epoch == 2
    assert needs.hours(2, 1.0) == pytest.approx(needs.hours(1, 1.0) / 2)
    less = needs_of(with_overrides(dry, gradient_checkpointing=True), "restoration", gpus=1)
    assert less.activation_bytes < 0.7 * needs.activation_bytes
    assert less.operations > needs.operations


RECIPE = str(RECIPES / "mini.toml")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["srresnet"], 2, "add --data DIR"),
        (["cognition", "--data", "."], 2, "there is no picture in it"),
        (["cognition", "--data", "nowhere"], 2, "no such folder"),
        (["polish", "--data", "."], 2, "STAGE 'polish' is none of teacher"),
        (["cognition", "--data", ".", "--config", "none.toml"], 2, "give a recipe such as"),
        (["cognition", "--data", ".", "--mixed-precision", "half"], 2, "is none of no, fp16, bf16"),
        (["restoration", "--dry-run"], 2, "the recipe has no table [restoration]"),
        (["export", "--config", RECIPE], 2, "run `coser train srresnet` first"),
        (["export", "--dry-run"], 2, "trains nothing"),
    ],
)
def test_coser_train_refuses(args, code, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *args]) == code
    error = capsys.readouterr().err
    assert message in " ".join(error.split())
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("old", "new", "code", "message"),
    [
        ("steps = 3", "stops = 3", 2, "[restoration] has the unknown key stops"),
        ("steps = 3", 'steps = "many"', 2, "steps is 'many', but must be such as 10000"),
        ("restart = true", 'references = "other"', 2, "'other' is unknown"),
        ('start = "base"', 'start = "nobody"', 3, "there is no model 'nobody'"),
        ('model = "toy"', 'model = "big"', 2, "model is none of mini, sd21"),
        ("[data]", "[date]", 2, "unknown table date"),
        ("batch = 4", "batch = 5\naccumulation = 2", 2, "a batch of 5 cannot be shared"),
    ],
)
def test_recipes_that_are_refused(old, new, code, message, recipes, classes, tmp_path, capsys):
    text = (recipes / "sd21.toml").read_text()
    start, rest = text.index("[cognition]"), text.index("[restoration]")
    other = recipes / "refused.toml"
    other.write_text((text[:start] + text[rest:]).replace(old, new))
    from .test_processes import with_cognition

    with_cognition([None], recipes)
    args = ["--config", other, "--data", classes, "--work", tmp_path / "work"]
    assert main(["train", "restoration", *map(str, args)]) == code
    assert message in " ".join(capsys.readouterr().err.split())


def test_a_class_of_one_picture_is_refused(recipes, tmp_path, capsys):
    data = write_classes(tmp_path / "data", count=1)
    from .test_processes import with_cognition

    args = [None]
    with_cognition(args, recipes)
    options = ["--config", args[0], "--data", data, "--work", tmp_path / "work"]
    assert main(["train", "restoration", *map(str, options)]) == 2
    assert "'owl' has a single picture" in " ".join(capsys.readouterr().err.split())


def test_gradient_checkpointing_changes_no_gradient(recipes, classes, tmp_path):
    from .one_process import gradients
    from .test_processes import with_cognition

    args = [None]
    with_cognition(args, recipes)
    one, _ = gradients(args[0], classes, tmp_path / "a")
    other, _ = gradients(args[0], classes, tmp_path / "b", gradient_checkpointing=True)
    assert one.keys() == other.keys() and LoopConfig().gradient_checkpointing is False
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, atol=1e-6, rtol=1e-5)
