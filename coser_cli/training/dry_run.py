"""What a stage would need, without its weights: networks and examples on the meta device.

Operations and activations are counted by one example's forward and backward pass. Memory is that of
plain data parallelism: weights, gradients, Adam's two moments and the EMA in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from coser_cli.training.examples import Batch, Share
from coser_cli.training.frozen import TowerTexts
from coser_cli.training.gradient_checkpointing import checkpoint_blocks
from coser_cli.training.losses import PictureLoss
from coser_cli.training.stages import PREPARE, Prepared
from coser_cli.training.workspace import Workspace

FLOAT32 = 4


@dataclass(frozen=True)
class Needs:
    """Of a stage: parameters; bytes on each GPU; floating-point operations of one example."""

    trained: int
    frozen: int
    state_bytes: int
    activation_bytes: int
    examples_per_pass: int
    operations: int
    batch: int
    steps: int
    steps_per_epoch: int | None

    @property
    def memory(self) -> int:
        """Bytes on each GPU."""
        return self.state_bytes + self.activation_bytes * self.examples_per_pass

    def hours(self, gpus: int, teraflops: float) -> float:
        """Hours for all steps at that rate of each GPU."""
        return self.operations * self.batch * self.steps / (gpus * teraflops * 1e12) / 3600


def needs_of(space: Workspace, stage: str, gpus: int) -> Needs:
    """What the stage needs; `space.meta` is on.

    Raises:
        UsageError: the recipe is wrong, or its batch cannot be shared by that many GPUs.
    """
    prepared = PREPARE[stage](space)
    config = prepared.config
    share = Share(config.batch, 0, gpus, config.accumulation)
    if config.gradient_checkpointing:
        checkpoint_blocks(prepared.objective)
    trained = [p for p in prepared.objective.parameters() if p.requires_grad]
    numbers = {id(p): p.numel() for module in _modules(prepared) for p in module.parameters()}
    total = sum(numbers.values())
    trainable = sum(p.numel() for p in trained)
    operations, activations = _pass(prepared.objective, _example(prepared, space))
    if config.mixed_precision in ("bf16", "fp16"):
        activations //= 2
    epoch = None
    if space.data is not None:
        epoch = math.ceil(len(space.rows[0]) / config.batch)
    # beside all weights: gradients, two moments and the EMA of what is trained
    state = FLOAT32 * (total + 4 * trainable)
    return Needs(
        trainable, total - trainable, state, activations, len(share.numbers(0, 0)), operations,
        config.batch, config.steps, epoch,
    )  # fmt: skip


def _modules(prepared: Prepared) -> Iterator[nn.Module]:
    """All networks that are on a GPU, the frozen ones among them."""
    yield prepared.objective
    for value in vars(prepared.objective).values():
        if isinstance(value, PictureLoss):
            yield from filter(None, (value.perceptual, value.critic))
        for part in vars(value).values() if hasattr(value, "__dict__") else ():
            if isinstance(part, nn.Module):
                yield part
            elif isinstance(part, TowerTexts):
                yield part.tower
        if isinstance(value, TowerTexts):
            yield value.tower


def _example(prepared: Prepared, space: Workspace) -> Batch:
    """One example without numbers."""
    options = prepared.identity
    crop = next(v["crop"] for v in options.values() if isinstance(v, dict) and "crop" in v)
    references = any(isinstance(v, dict) and v.get("references") for v in options.values())
    picture = torch.empty(1, 3, crop, crop, device="meta")
    batch: Batch = {
        "high": picture,
        "low": torch.empty(1, 3, crop // 4, crop // 4, device="meta"),
        "caption": ["a photo of something"],
        "prompt": [""],
        "number": torch.empty(1, dtype=torch.long, device="meta"),
        "seed": torch.empty(1, dtype=torch.long, device="meta"),
        "uniform": torch.empty(1, dtype=torch.float64, device="meta"),
        "step": 1,
    }
    if references:
        batch["reference"] = picture
    if space.recipe.has("pool") and prepared.folder.parts[-1] != "cognition":
        batch["teacher"] = picture
    return batch


def _pass(objective: nn.Module, batch: Batch) -> tuple[int, int]:
    """Operations of forward and backward, and bytes that the forward keeps for the backward."""
    kept: dict[int, Tensor] = {}
    own = {p.untyped_storage()._cdata for p in objective.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage()._cdata
        if place not in own:
            kept[place] = tensor
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor)
    with FlopCounterMode(display=False) as counter, _fused_attention():
        with hooks:
            loss = objective(batch)["loss"]
        size = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
        kept.clear()
        loss.backward()
    return counter.get_total_flops(), size


@contextmanager
def _fused_attention() -> Iterator[None]:
    """Attention as GPUs compute it, without its square matrix, which meta tensors would have."""
    usual = F.scaled_dot_product_attention

    def fused(query: Tensor, key: Tensor, value: Tensor, *rest: Any, **options: Any) -> Tensor:
        if rest or options:
            return usual(query, key, value, *rest, **options)
        output: Tensor = torch.ops.aten._scaled_dot_product_flash_attention(query, key, value)[0]
        return output

    F.scaled_dot_product_attention = fused
    try:
        yield
    finally:
        F.scaled_dot_product_attention = usual


def report(stage: str, needs: Needs, gpus: int, teraflops: float) -> list[str]:
    """Lines for the user."""
    passes = needs.batch // (gpus * needs.examples_per_pass)
    epoch = "no --data, so no epochs"
    if needs.steps_per_epoch is not None:
        epochs = needs.steps / needs.steps_per_epoch
        epoch = f"{needs.steps_per_epoch} steps per epoch, {epochs:.3g} epochs"
    gib = 2**30
    return [
        f"stage       {stage}",
        f"parameters  {needs.trained / 1e6:.1f} M trained, {needs.frozen / 1e6:.1f} M frozen",
        f"memory      {needs.memory / gib:.1f} GiB per GPU, about: {needs.state_bytes / gib:.1f}"
        f" of weights and optimiser, {needs.activation_bytes / gib:.2f} of activations for each of"
        f" {needs.examples_per_pass} examples at a time",
        f"batch       {needs.batch} on {gpus} GPUs in {passes} passes",
        f"steps       {needs.steps}; {epoch}",
        f"work        {needs.operations / 1e12:.3f} TFLOP per example (forward and backward)",
        f"time        {needs.hours(gpus, teraflops):.1f} hours if each GPU sustains"
        f" {teraflops:g} TFLOP/s",
    ]
