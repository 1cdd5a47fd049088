"""Further conditions: pictures of edges, and that attending to them pays."""

import shutil

import pytest
import torch

from coser_cli.errors import UsageError
from coser_cli.training import checkpoint
from coser_cli.training.conditions import condition_of, edges
from coser_cli.training.loop import Loop
from coser_cli.training.recipe import read_recipe
from coser_cli.training.stages import PREPARE, STAGES
from coser_cli.training.workspace import Workspace

from .conftest import write_classes

LEARNING = """
crop = 32
batch = 8
learning_rate = 3e-3
constant_rate = true
warmup = 10
ema_decay = 0.9
mixed_precision = "no"
log_every = 1000
"""


def test_edges_are_where_a_picture_changes():
    pixels = torch.zeros(2, 3, 16, 16)
    pixels[0, :, :, 8:] = 1
    found = edges(pixels)
    assert found.shape == pixels.shape
    assert torch.equal(found[0, 0, 3] > 0.5, torch.arange(16).eq(7) | torch.arange(16).eq(8))
    assert not found[1].any()
    assert torch.equal(edges(pixels.transpose(2, 3)), found.transpose(2, 3))


def test_a_condition_that_is_not_known_is_named():
    with pytest.raises(UsageError, match="there is no condition 'depth'; known: edges"):
        condition_of("depth")


def held_out_loss(space, stage):
    """The mean loss of the EMA weights on the held-out pictures."""
    prepared = PREPARE[stage](space)
    loop = Loop(prepared.objective, prepared.config, prepared.folder, identity=prepared.identity)
    state = checkpoint.read(prepared.folder)["averaged"]
    loop.model.load_state_dict(state, strict=False)
    losses = loop.evaluate(prepared.examples(True))
    return float(losses["held_out_loss"])


@pytest.mark.slow
def test_edges_lower_the_loss_on_held_out_crops(recipes, tmp_path):
    """Against the same training without them: as many steps, from the same weights."""
    data = write_classes(tmp_path / "data", count=24)
    text = (recipes / "sd21.toml").read_text()
    head = text[: text.index("[cognition]")].replace("held_out = 0", "held_out = 4")

    def space_of(work, steps, more):
        recipe = recipes / f"{work}.toml"
        options = "restart = true\nprompt_share = 0.0\n"
        recipe.write_text(
            f"{head}[restoration]\nsteps = {steps}\n{options}{LEARNING}"
            + (f"[condition]\nsteps = {more}\nprompt_share = 0.0\n{LEARNING}" if more else "")
        )
        return Workspace(read_recipe(recipe), data, tmp_path / work)

    from .test_processes import with_cognition

    with_cognition([None], recipes)
    STAGES["restoration"](space_of("plain", 150, 0))
    shutil.copytree(tmp_path / "plain", tmp_path / "edges")
    plain = space_of("plain", 300, 0)
    STAGES["restoration"](plain)
    with_edges = space_of("edges", 150, 150)
    with_edges.folder.joinpath("restoration", ".lock").unlink(missing_ok=True)
    STAGES["condition"](with_edges)
    without, found = held_out_loss(plain, "restoration"), held_out_loss(with_edges, "condition")
    print(f"held-out loss: {without:.4f} without edges, {found:.4f} with")
    assert found < 0.98 * without
