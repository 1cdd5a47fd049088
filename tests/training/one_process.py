"""A process of a joint run, started by torch's launcher: one step, whose gradients are kept.

Arguments: recipe, data, work, and where rank r writes `GRADIENTS.r`.
"""

import sys
from pathlib import Path

import torch

from coser_cli.training import loop as loops
from coser_cli.training.gradient_checkpointing import checkpoint_blocks
from coser_cli.training.recipe import read_recipe
from coser_cli.training.stages import PREPARE
from coser_cli.training.workspace import Workspace


class KeptGradients(loops.Loop):
    """The loop, which stops before the optimiser's first step."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.numbers = []

    def first_gradients(self, examples):
        batches = self._noted(loops.load(examples, self.share, 0, 0))
        self._clip_and_step = lambda model, optimizer: None
        self._update(batches)
        return {
            name.removeprefix("module."): p.grad.clone()
            for name, p in self.model.named_parameters()
            if p.grad is not None
        }

    def _noted(self, batches):
        for batch in batches:
            self.numbers += batch["number"].tolist()
            yield batch


def gradients(recipe, data, work, **overrides):
    """Gradients of the first step of stage 2, and the numbers of the examples seen here."""
    space = Workspace(read_recipe(recipe), data, work, overrides)
    prepared = PREPARE["restoration"](space)
    generator = torch.Generator().manual_seed(0)
    for parameter in prepared.objective.parameters():  # what starts at zero passes no gradient
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    if prepared.config.gradient_checkpointing:
        checkpoint_blocks(prepared.objective)
    loop = KeptGradients(prepared.objective, prepared.config, prepared.folder)
    return loop.first_gradients(prepared.examples(False)), loop.numbers


if __name__ == "__main__":
    recipe, data, work, target = map(Path, sys.argv[1:])
    found = gradients(recipe, data, work, accumulation=2)
    from accelerate import PartialState

    torch.save(found, f"{target}.{PartialState().process_index}")
