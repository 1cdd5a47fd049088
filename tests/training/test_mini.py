"""The recipe of `mini` at toy size: a teacher's pool, the pre-restorer, cognition, one step."""

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import UsageError
from coser_cli.settings import Settings
from coser_cli.training import checkpoint
from coser_cli.training.pool import read_shard
from coser_cli.training.recipe import read_recipe
from coser_cli.training.stages import STAGES, prepare_one_step
from coser_cli.training.workspace import Workspace


@pytest.fixture(scope="module")
def trained(recipes, photos, tmp_path_factory):
    """A workspace in which every stage of the toy like `mini` has run."""
    recipe = read_recipe(recipes / "mini.toml")
    space = Workspace(recipe, photos, tmp_path_factory.mktemp("work"))
    for stage in ("teacher", "srresnet", "cognition", "one_step", "export"):
        STAGES[stage](space)
    return space


def test_the_exported_model_upscales_in_one_step(trained):
    upscaler = Upscaler.from_pretrained(trained.folder / "model", device="cpu")
    result = upscaler.upscale(torch.rand(1, 3, 12, 16), Settings())
    assert result.pixels.shape == (1, 3, 48, 64)
    assert result.pixels.isfinite().all()


def test_the_pool_holds_the_teachers_pictures(trained):
    arrays = read_shard(trained.folder / "teacher" / "00000")
    assert arrays["high"].shape == arrays["teacher"].shape == (2, 3, 48, 48)
    assert arrays["low"].shape == (2, 3, 12, 12)
    taught = arrays["teacher"].astype(float)
    means = taught.mean((2, 3)), arrays["low"].astype(float).mean((2, 3))
    assert np.abs(means[0] - means[1]).max() < 12  # Real-ESRGAN keeps colours
    assert taught.std() > 5


def test_the_pool_is_made_once(trained):
    file = trained.folder / "teacher" / "00001" / "teacher.npy"
    before = file.stat().st_mtime_ns
    STAGES["teacher"](trained)
    assert file.stat().st_mtime_ns == before


def test_each_phase_starts_from_the_mean_of_the_one_before(trained):
    first = checkpoint.read(trained.folder / "one_step" / "0-l1")
    prepared = prepare_one_step(trained, 1)
    assert first["step"] == 2
    names = first["averaged"].keys()
    assert {name.split(".")[1] for name in names} == {"vae", "unet", "controlnet"}
    assert not any("reference_" in name for name in names)
    assert prepared.folder.name == "1-critic" and prepared.critic is not None
    last = checkpoint.read(prepared.folder)["averaged"]
    own = dict(prepared.objective.named_parameters())
    assert all(torch.equal(own[name], value) for name, value in last.items())
    assert "critic" in checkpoint.read(prepared.folder)


def test_samples_are_of_the_pool(trained):
    with Image.open(trained.folder / "srresnet" / "samples" / "0000002.png") as sheet:
        assert sheet.size == (4 * 32, 4 * 32)


def test_a_stage_without_the_pool_names_its_stage(recipes, photos, tmp_path):
    space = Workspace(read_recipe(recipes / "mini.toml"), photos, tmp_path)
    with pytest.raises(UsageError, match="run `coser train teacher` first"):
        STAGES["srresnet"](space)
    with pytest.raises(UsageError, match="run `coser train srresnet` first"):
        STAGES["one_step"](space)


def test_a_pool_of_another_recipe_is_not_mixed(recipes, photos, trained):
    text = (recipes / "mini.toml").read_text().replace("size = 48", "size = 64")
    (recipes / "other.toml").write_text(text)
    space = Workspace(read_recipe(recipes / "other.toml"), photos, trained.folder)
    with pytest.raises(UsageError, match="by another"):
        STAGES["teacher"](space)


def shards(folder, side=12, **changed):
    """Two `.npz` files of two crops each; `changed` arrays are others, or none."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    sides = {"hr": 4 * side, "lr": side, "te": 4 * side}
    for name in ("a", "b"):
        arrays = {k: rng.integers(0, 256, (2, 3, s, s), dtype=np.uint8) for k, s in sides.items()}
        arrays = {k: v for k, v in (arrays | changed).items() if v is not None}
        np.savez(folder / f"{name}.npz", **arrays, names=np.array(["x", "y"]))
    return folder


@pytest.fixture
def imported(recipes, tmp_path):
    """A workspace of a pool that was made elsewhere; there are no pictures."""
    text = (recipes / "mini.toml").read_text().replace("[pool]", f"[pool]\nnpz = '{tmp_path}/npz'")
    (recipes / "imported.toml").write_text(text)
    return Workspace(read_recipe(recipes / "imported.toml"), None, tmp_path / "work")


def test_a_pool_that_was_made_elsewhere_needs_no_pictures(imported, tmp_path):
    files = shards(tmp_path / "npz")
    for stage in ("teacher", "srresnet"):
        imported.require_pictures(stage)
        STAGES[stage](imported)
    arrays = read_shard(imported.folder / "teacher" / "00001")
    with np.load(files / "b.npz") as original:
        for own, name in {"high": "hr", "low": "lr", "teacher": "te"}.items():
            assert np.array_equal(arrays[own], original[name])
    state = checkpoint.read(imported.folder / "srresnet")
    assert state is not None and state["step"] == 2
    with pytest.raises(UsageError, match="add --data"):
        imported.require_pictures("cognition")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"lr": None}, "a.npz: not a shard of hr, lr and te"),
        ({"side": 16}, r"a.npz: hr is uint8 \(2, 3, 64, 64\), but must be uint8 \(2, 3, 48, 48\)"),
        ({"te": np.zeros((2, 3, 48, 48))}, "a.npz: te is float64"),
    ],
)
def test_files_that_are_no_shards_are_named(imported, tmp_path, arrays, message):
    shards(tmp_path / "npz", **arrays)
    with pytest.raises(UsageError, match=message):
        STAGES["teacher"](imported)
    assert not list((imported.folder / "teacher").glob("0*"))
