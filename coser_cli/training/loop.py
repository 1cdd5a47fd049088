"""The one training loop: AdamW, cosine rate, EMA, checkpoints; accelerate places, wraps and casts.

A stage gives an objective: a module whose `forward(batch)` is wrapped (DDP, FSDP) and returns named
scalars, "loss" among them. Everything random is the examples' own, so a run that was stopped goes
on as if it had not been: without a time limit, on a CPU, it ends at the same weights to the bit.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast, broadcast_object_list, set_seed
from filelock import FileLock, Timeout
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from coser_cli.errors import CoserError, UsageError
from coser_cli.training import checkpoint
from coser_cli.training.checkpoint import Averaged
from coser_cli.training.examples import Batch, Share, load, to_device
from coser_cli.training.processes import make_accelerator
from coser_cli.training.progress import Progress

SAMPLES = 4
"""Examples of a sheet of samples."""


@dataclass(frozen=True)
class LoopConfig:
    """Optimisation of one stage. `batch` is that of all processes together. `minutes` ends it
    earlier than `steps` (the rate follows whichever is nearer its end); 0 means no time limit."""

    steps: int = 10000
    minutes: float = 0.0
    batch: int = 16
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0
    warmup: int = 100
    constant_rate: bool = False
    clip: float = 1.0
    ema_decay: float = 0.998
    seed: int = 0
    accumulation: int = 1
    gradient_checkpointing: bool = False
    mixed_precision: str = "bf16"
    workers: int = 0
    checkpoint_every: int = 500
    log_every: int = 100
    samples_every: int = 0
    held_out_every: int = 0


class Objective(nn.Module):
    """What a stage minimises.

    `networks` are trained; what is frozen is held outside of the module tree. `pictures(batch)`
    gives columns for a sheet of samples. "critic", where `forward` returns it, is the input of a
    critic, not a scalar.
    """

    networks: nn.ModuleDict

    def forward(self, batch: Batch, *, pictures: bool = False) -> dict[str, Any]:
        return self.pictures(batch) if pictures else self.losses(batch)

    def losses(self, batch: Batch) -> dict[str, Any]:
        """Named scalars, "loss" among them."""
        raise NotImplementedError

    def pictures(self, batch: Batch) -> dict[str, Tensor]:
        """Named pictures `(B, 3, H, W)`; none by default."""
        return {"low": batch["low"], "high": batch["high"]}


class Loop:
    """Trains an objective's networks in place; `averaged` holds the EMA of their parameters.

    Args:
        objective: what is trained; only parameters that require gradients.
        folder: checkpoint, log and samples; an existing checkpoint is continued.
        critic: a network with an optimiser of its own (same settings): `critic(real, fake, low)`
            is the scalar that it minimises.
        identity: what must be the same where a checkpoint is continued.
    """

    def __init__(
        self,
        objective: Objective,
        config: LoopConfig,
        folder: Path,
        *,
        critic: nn.Module | None = None,
        identity: dict[str, Any] | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.accelerator = make_accelerator(config.mixed_precision)
        self.config, self.folder, self.tensorboard = config, folder, tensorboard
        self.share = Share(
            config.batch, self.accelerator.process_index, self.accelerator.num_processes,
            config.accumulation,
        )  # fmt: skip
        self.identity = checkpoint.identity_of(asdict(config), identity or {})
        self.step, self.seconds = 0, 0.0
        state = checkpoint.read(folder)
        if state is not None:
            checkpoint.require_same(folder, state["identity"], self.identity)
        set_seed(config.seed + self.accelerator.process_index)
        self.model, self.optimizer = self._prepare(objective)
        self.critic, self.critic_optimizer = None, None
        if critic is not None:
            self.critic, self.critic_optimizer = self._prepare(critic)
        self.averaged = Averaged(self.model, config.ema_decay)
        if state is not None:
            self._restore(state)

    def _prepare(self, net: nn.Module) -> tuple[nn.Module, torch.optim.Optimizer]:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        config = self.config
        optimizer = torch.optim.AdamW(
            [p for p in net.parameters() if p.requires_grad],
            config.learning_rate,
            config.betas,
            weight_decay=config.weight_decay,
        )
        prepared: tuple[nn.Module, torch.optim.Optimizer] = self.accelerator.prepare(net, optimizer)
        return prepared

    def run(self, examples: Dataset[Batch], held_out: Dataset[Batch] | None = None) -> None:
        """Train until the steps or minutes are used up; a finished run does nothing.

        Raises:
            UsageError: another process trains in the same folder.
            WeightsError: a checkpoint cannot be written.
        """
        if self._done():
            return
        with self._alone():
            progress = None
            if self.accelerator.is_main_process:
                world, device = self.share.world, self.accelerator.device.type
                processes = f"{world} {'process' if world == 1 else 'processes'} ({device})"
                steps, board = self.config.steps, self.tensorboard
                progress = Progress(self.folder, self.step, steps, processes, tensorboard=board)
            try:
                self._run(
                    load(examples, self.share, self.step, self.config.workers), held_out, progress
                )
            finally:
                if progress:
                    progress.close()

    def _run(
        self,
        batches: Iterator[Batch],
        held_out: Dataset[Batch] | None,
        progress: Progress | None,
    ) -> None:
        began, before, config = time.monotonic(), self.seconds, self.config
        while not self._done():
            self._set_rate()
            values = self._update(batches)
            self.step += 1
            self.seconds = before + time.monotonic() - began
            if progress:
                progress.bar.update()
            if _due(self.step, config.log_every):
                self._log(values, progress)
            if held_out is not None and _due(self.step, config.held_out_every):
                self._log(self.evaluate(held_out), progress)
            if _due(self.step, config.samples_every) and held_out is not None:
                self._samples(held_out, progress)
            if _due(self.step, config.checkpoint_every):
                self.save()
        self.save()

    def _update(self, batches: Iterator[Batch]) -> dict[str, Tensor]:
        """One step of the optimiser, of all passes; the scalars' means over them."""
        passes, sums = self.config.accumulation, dict[str, Tensor]()
        critic_inputs = []
        for index in range(passes):
            batch = to_device(next(batches), self.accelerator.device) | {"step": self.step}
            with self._synchronised(self.model, index == passes - 1):
                values = self.model(batch)
                critic_inputs.append(values.pop("critic", None))
                self.accelerator.backward(values["loss"] / passes)
            for name, value in values.items():
                sums[name] = sums.get(name, 0) + value.detach() / passes
        self._clip_and_step(self.model, self.optimizer)
        self.averaged.update(self.model)
        if self.critic is not None:
            sums["critic"] = self._update_critic(critic_inputs)
        return sums

    def _update_critic(self, critic_inputs: list[Any]) -> Tensor:
        assert self.critic is not None and self.critic_optimizer is not None
        total = torch.zeros((), device=self.accelerator.device)
        for index, inputs in enumerate(critic_inputs):
            with self._synchronised(self.critic, index == len(critic_inputs) - 1):
                loss = self.critic(*inputs)
                self.accelerator.backward(loss / len(critic_inputs))
            total += loss.detach() / len(critic_inputs)
        self._clip_and_step(self.critic, self.critic_optimizer)
        return total

    def _synchronised(self, model: nn.Module, last: bool) -> AbstractContextManager[Any]:
        """Gradients of all processes are averaged by the last pass alone."""
        return nullcontext() if last else self.accelerator.no_sync(model)

    def _clip_and_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        if self.config.clip:
            self.accelerator.clip_grad_norm_(model.parameters(), self.config.clip)
        optimizer.step()
        optimizer.zero_grad()

    def _done(self) -> bool:
        """Whether the steps or the minutes, by the main process's clock, are used up."""
        if self.step >= self.config.steps:
            return True
        if not self.config.minutes:
            return False
        seconds = torch.tensor(self.seconds, device=self.accelerator.device)
        self.seconds = float(broadcast(seconds)) if self.share.world > 1 else self.seconds
        return self.seconds >= 60 * self.config.minutes

    def _progress(self) -> float:
        by_time = self.seconds / 60 / self.config.minutes if self.config.minutes else 0.0
        return min(1.0, max(self.step / self.config.steps, by_time))

    def _set_rate(self) -> None:
        warm = min(1.0, (self.step + 1) / max(1, self.config.warmup))
        cosine = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self._progress()))
        factor = warm * (1.0 if self.config.constant_rate else cosine)
        for optimizer in filter(None, (self.optimizer, self.critic_optimizer)):
            for group in optimizer.param_groups:
                group["lr"] = self.config.learning_rate * factor

    @torch.no_grad()
    def evaluate(self, examples: Dataset[Batch]) -> dict[str, Tensor]:
        """Means of the objective's scalars over 64 examples of each process's share, as
        `held_out_NAME`."""
        sums: dict[str, list[Tensor]] = {}
        share = Share(self.share.world * 16, self.share.rank, self.share.world)
        self.model.eval()
        for step in range(4):
            values = self.model(self._examples(examples, share, step))
            values.pop("critic", None)
            for name, value in values.items():
                sums.setdefault(f"held_out_{name}", []).append(value.detach().float())
        self.model.train()
        return {name: torch.stack(values).mean() for name, values in sums.items()}

    @torch.no_grad()
    def _samples(self, examples: Dataset[Batch], progress: Progress | None) -> None:
        """Every process computes them, as sharded networks need, and the main one writes."""
        self.model.eval()
        batch = self._examples(examples, Share(SAMPLES), 0)
        columns = self.model(batch, pictures=True)
        self.model.train()
        if progress:
            progress.pictures(self.step, columns)

    def _examples(self, examples: Dataset[Batch], share: Share, step: int) -> Batch:
        batch = default_collate([examples[number] for number in share.numbers(step, 0)])
        return to_device(batch, self.accelerator.device) | {"step": 0}

    def _log(self, values: dict[str, Tensor], progress: Progress | None) -> None:
        means = {name: self._mean(value) for name, value in values.items()}
        if progress:
            progress.record(self.step, self.seconds, means)

    def _mean(self, value: Tensor) -> float:
        return float(self.accelerator.reduce(value.detach().float(), "mean"))

    def save(self) -> None:
        """Write the checkpoint: every process takes part, the main one writes. Raises WeightsError
        in all of them where it cannot."""
        state = {
            **checkpoint.gather(self.model, self.optimizer),
            "averaged": self.averaged.whole(),
            "averaged_count": self.averaged.count,
            "step": self.step,
            "seconds": self.seconds,
            "identity": self.identity,
        }
        if self.critic is not None and self.critic_optimizer is not None:
            state["critic"] = checkpoint.gather(self.critic, self.critic_optimizer)
        failure: list[CoserError | None] = [None]
        if self.accelerator.is_main_process:
            try:
                checkpoint.write(self.folder, state)
            except CoserError as error:
                failure = [error]
        if self.share.world > 1:
            broadcast_object_list(failure)
        if failure[0]:
            raise failure[0]

    def _restore(self, state: dict[str, Any]) -> None:
        checkpoint.scatter(self.model, self.optimizer, state)
        self.averaged.load(state["averaged"], state["averaged_count"])
        self.step, self.seconds = state["step"], state["seconds"]
        if self.critic is not None and self.critic_optimizer is not None:
            checkpoint.scatter(self.critic, self.critic_optimizer, state["critic"])

    def _alone(self) -> AbstractContextManager[Any]:
        """The folder is this run's alone."""
        if not self.accelerator.is_main_process:
            return nullcontext()
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"{self.folder}: another run trains there",
                "wait for it, or take another --work folder; several processes of one run are"
                " started with: accelerate launch -m coser_cli train ...",
            ) from error
        return lock


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0
