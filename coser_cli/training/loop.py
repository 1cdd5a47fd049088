"""The one training loop: AdamW, cosine rate, EMA, checkpoints; accelerate places and casts.

A stage gives its networks and `losses(step) -> dict`; the loop adds nothing of its own to them.
Everything random is drawn from (seed, step), so a resumed run continues the very same sequence:
without a time limit, on a CPU, it ends at the same weights to the bit.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm


@dataclass(frozen=True)
class LoopConfig:
    """Optimisation of one stage. `minutes` ends it earlier than `steps` (the rate follows
    whichever is nearer its end); 0 means no time limit."""

    steps: int = 10000
    minutes: float = 0.0
    batch: int = 16
    crop: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    warmup: int = 100
    ema_decay: float = 0.998
    seed: int = 0
    checkpoint_every: int = 500
    mixed_precision: str = "bf16"


def step_seed(seed: int, step: int) -> int:
    """A seed of 32 bits (a CPU's generator takes no more) for one step of the sequence `seed`."""
    return int(np.random.SeedSequence((seed, step)).generate_state(1)[0])


class Loop:
    """Trains `model` in place; afterwards `averaged` holds the EMA weights.

    Args:
        model: what is trained (only its parameters that require gradients).
        critics: further networks with an optimiser of their own (same settings), e.g. an adversary.
        folder: checkpoints and `log.jsonl`; an existing checkpoint is continued.
    """

    def __init__(
        self, model: nn.Module, config: LoopConfig, folder: Path, critics: nn.Module | None = None
    ) -> None:
        set_seed(config.seed)
        self.config, self.folder = config, folder
        self.accelerator = Accelerator(mixed_precision=config.mixed_precision)
        self.model, self.optimizer = self._prepare(model)
        self.critics = None
        if critics is not None:
            self.critics, self.critic_optimizer = self._prepare(critics)
        average = get_ema_multi_avg_fn(config.ema_decay)
        self.averaged = AveragedModel(self.unwrapped, multi_avg_fn=average, use_buffers=True)
        self.step, self.seconds = 0, 0.0
        self._resume()

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.accelerator.device

    @property
    def unwrapped(self) -> nn.Module:
        """The trained network itself."""
        return self.accelerator.unwrap_model(self.model)

    def _prepare(self, net: nn.Module) -> tuple[nn.Module, torch.optim.Optimizer]:
        parameters = [p for p in net.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters,
            self.config.learning_rate,
            (0.9, 0.99),
            weight_decay=self.config.weight_decay,
        )
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.accelerator.prepare(net, optimizer)

    def run(self, losses: Callable[[int], dict[str, Tensor]]) -> nn.Module:
        """Trains until the steps or minutes are used up; returns the EMA network.

        `losses` gets the step and returns named scalars; "loss" is minimised, and "critic", where
        given, is minimised by the critics.
        """
        began, before = time.monotonic(), self.seconds
        bar = tqdm(total=self.config.steps, initial=self.step, desc=self.folder.name, mininterval=5)
        while self.step < self.config.steps and self._progress() < 1:
            self._set_rate()
            torch.manual_seed(step_seed(self.config.seed, self.step))
            with self.accelerator.autocast():
                values = losses(self.step)
            self._update(values)
            self.step += 1
            self.seconds = before + time.monotonic() - began
            bar.update()
            if self.step % 100 == 0:
                self._log(values, bar)
            if self.step % self.config.checkpoint_every == 0:
                self.save()
        self.save()
        return self.averaged.module

    def _update(self, values: dict[str, Tensor]) -> None:
        self.accelerator.backward(values["loss"])
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.averaged.update_parameters(self.unwrapped)
        if "critic" in values:
            self.accelerator.backward(values["critic"])
            self.critic_optimizer.step()
            self.critic_optimizer.zero_grad()

    def _progress(self) -> float:
        by_time = self.seconds / 60 / self.config.minutes if self.config.minutes else 0.0
        return max(self.step / self.config.steps, by_time)

    def _set_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        factor = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self._progress())))
        for optimizer in (self.optimizer, getattr(self, "critic_optimizer", None)):
            for group in optimizer.param_groups if optimizer else ():
                group["lr"] = self.config.learning_rate * factor

    def _log(self, values: dict[str, Tensor], bar: tqdm) -> None:
        row = {name: round(float(value.detach()), 5) for name, value in values.items()}
        bar.set_postfix(row)
        record = {"step": self.step, "seconds": round(self.seconds, 1), **row}
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "log.jsonl").open("a") as log:
            log.write(json.dumps(record) + "\n")

    def save(self) -> None:
        """Writes the checkpoint: sibling file, then rename."""
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "model": self.unwrapped.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
        }
        if self.critics is not None:
            state["critics"] = self.accelerator.unwrap_model(self.critics).state_dict()
            state["critic_optimizer"] = self.critic_optimizer.state_dict()
        part = self.folder / "checkpoint.pt.part"
        torch.save(state, part)
        part.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.unwrapped.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        if self.critics is not None:
            self.accelerator.unwrap_model(self.critics).load_state_dict(state["critics"])
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])
