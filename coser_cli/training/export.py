"""Stage "export": a folder that `--model` takes."""

from __future__ import annotations

import shutil

from coser_cli.config import SentenceTextConfig
from coser_cli.models.text import SentenceText
from coser_cli.training.processes import this_process
from coser_cli.training.workspace import Workspace
from coser_cli.weights import store
from coser_cli.weights.load import save_component, save_text_states

PARTS = ("srresnet", "vae", "cfw", "cognitive_encoder", "unet", "controlnet", "text")


def export(space: Workspace) -> None:
    """Gather all networks in `model/`, float16: EMA weights, and what was started from."""
    if not this_process().is_main_process:
        return
    folder, model = space.folder / "model", space.recipe.model
    for part in PARTS:
        if part == "cfw" and (model.cfw is None or not space.starts_with(part)):
            continue
        if not space.trained(part) and space.starts_with(part):
            assert space.start is not None
            shutil.copytree(space.start / part, folder / part, dirs_exist_ok=True)
        elif part == "text" and isinstance(model.text, SentenceTextConfig):
            text = SentenceText(model.text, {})
            text.encode(["", model.defaults.negative_prompt])
            save_text_states(text, folder / part)
        else:
            save_component(space.network(part, "export"), folder / part)
    store.save_model_config(model, folder)
