"""The processes of a run, by accelerate: how many there are, and where each computes."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from coser_cli.errors import UsageError


def this_process() -> PartialState:
    """This process among those of the run, and its device.

    Raises:
        UsageError: several processes are announced, but not joined.
    """
    announced = int(os.environ.get("WORLD_SIZE", "1"))
    process = PartialState(cpu=not torch.cuda.is_available())
    if process.num_processes != announced:
        raise UsageError(
            f"WORLD_SIZE is {announced}, but {process.num_processes} process trains here",
            "start several processes with: accelerate launch -m coser_cli train ...",
        )
    return process


def make_accelerator(mixed_precision: str) -> Accelerator:
    """Accelerate's part: device, processes, casts.

    Raises:
        UsageError: several processes are announced, but not joined; or joined in a way that is not
            supported.
    """
    process = this_process()
    # with gradient checkpointing and conditions that may be absent not all parameters are used
    ddp = DistributedDataParallelKwargs(find_unused_parameters=True)
    AcceleratorState._reset_state()  # a phase before may have had another precision
    cpu = process.device.type == "cpu"
    accelerator = Accelerator(mixed_precision=mixed_precision, kwargs_handlers=[ddp], cpu=cpu)
    if accelerator.distributed_type not in (
        DistributedType.NO,
        DistributedType.MULTI_CPU,
        DistributedType.MULTI_GPU,
        DistributedType.FSDP,
    ):
        raise UsageError(
            f"training by {accelerator.distributed_type.value} is not supported",
            "take DDP or FSDP in accelerate's configuration",
        )
    return accelerator
