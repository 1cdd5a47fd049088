"""Where weights are while they are not used: on the device, in host memory, or in their file.

Weights are only read, so a network leaves its device without being copied: its source is still
there. A CPU has no second place; there, networks are dropped and read again, from pages that the
operating system caches as long as memory allows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from coser_cli.size import PartSize

STAGES: dict[str, frozenset[str]] = {
    "prepare": frozenset({"srresnet", "vae", "cfw"}),
    "understand": frozenset({"srresnet", "cognitive_encoder", "text"}),
    "sample": frozenset({"unet", "controlnet"}),
    "decode": frozenset({"vae", "cfw"}),
}
"""The parts that each stage may use. Both passes sample with the U-Net, so they are one stage."""
ONCE = frozenset({"srresnet", "cognitive_encoder", "text"})
"""Parts that are used once per picture, before sampling."""
WHOLE = frozenset({"srresnet", "vae", "cfw"})
"""Parts that are never streamed: they are small, run once per tile, and tiled code reads their
parameters itself.
"""
STREAMED = (nn.Linear, nn.Conv2d, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.MultiheadAttention)
"""Layers whose parameters only their own `forward` reads. torch's attention counts as one layer: it
reads its projections' parameters itself.
"""

CPU = torch.device("cpu")


def dtype_of(part: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of a part in a model of `dtype`: float32 at least for pictures, which may have 16
    bits where bfloat16 has 8.
    """
    return torch.promote_types(dtype, torch.float32) if part in WHOLE else dtype


Source = Callable[[Sequence[str]], Mapping[str, Tensor]]
"""Names of tensors -> the tensors, as they lie in host memory or in a mapped file."""


@dataclass(frozen=True)
class Placement:
    """The device and dtype of networks (see `dtype_of`), and where they wait (see
    `settings.Offload`).

    `low_memory`: nothing is kept in host memory that could be read again.
    """

    device: torch.device = CPU
    dtype: torch.dtype = torch.float32
    offload: str = "none"
    low_memory: bool = False

    def of(self, part: str) -> Placement:
        """The same with the dtype of a part."""
        return replace(self, dtype=dtype_of(part, self.dtype))

    @property
    def forgets(self) -> bool:
        """Whether networks are dropped after their stage and read again from their file."""
        return self.low_memory or (self.offload != "none" and self.device.type == "cpu")

    @property
    def moves(self) -> bool:
        """Whether networks wait in host memory and move to the device for their stage (all but
        those that stream).
        """
        return self.offload != "none" and not self.forgets

    @property
    def home(self) -> torch.device:
        """Where networks are loaded to."""
        return CPU if self.moves else self.device

    def streams(self, part: str) -> bool:
        """Whether the layers of a part are loaded only while they run."""
        return self.offload == "sequential" and part not in WHOLE

    def fit(self, tensor: Tensor, device: torch.device | None = None) -> Tensor:
        """The tensor on `device` (default: the one to compute on), in the dtype and memory order of
        the networks; itself, where it has these.

        Channels last is a quarter faster for convolutional networks on a CPU, and what tensor cores
        need.
        """
        dtype = self.dtype if tensor.is_floating_point() else tensor.dtype
        order = torch.preserve_format
        if tensor.dim() == 4 and not tensor.is_contiguous(memory_format=torch.channels_last):
            order = torch.channels_last
        return tensor.to(device or self.device, dtype, memory_format=order)


@dataclass
class Held:
    """A loaded network, and whether its weights wait in host memory."""

    network: Any
    device: torch.device
    waiting: bool = False
    _host: dict[str, Tensor] = field(default_factory=dict)

    def come(self) -> None:
        """Move to the device, if it waits elsewhere; keep the host tensors."""
        if not self.waiting or not isinstance(self.network, nn.Module):
            return
        self._host = self.network.state_dict()
        _assign(self.network, {name: t.to(self.device) for name, t in self._host.items()})
        self.waiting = False

    def leave(self) -> None:
        """Move to host memory; copied only if it did not come from there."""
        if self.waiting or not isinstance(self.network, nn.Module):
            return
        state = self._host or {name: t.cpu() for name, t in self.network.state_dict().items()}
        _assign(self.network, state)
        self._host = {}
        self.waiting = True


def stream(network: nn.Module, source: Source, fit: Callable[[Tensor], Tensor]) -> None:
    """Give each layer of `network` its weights only while it runs: `fit(source(names))`.

    Between calls its parameters are on the meta device. Parameters outside of `STREAMED` layers
    (a class token, position embeddings) are fitted now and stay; they are small.
    """
    layers = dict(_layers(network))
    for prefix, layer in layers.items():
        _stream_layer(layer, prefix, source, fit)
    rest = {name: t for name, t in network.state_dict().items() if not t.is_meta}
    for name, tensor in rest.items():
        owner, _, last = name.rpartition(".")
        fitted = nn.Parameter(fit(tensor), requires_grad=False)
        setattr(network.get_submodule(owner), last, fitted)


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    if isinstance(module, STREAMED):
        if module.state_dict():
            yield prefix, module
        return
    for name, child in module.named_children():
        yield from _layers(child, f"{prefix}{name}.")


def _stream_layer(
    layer: nn.Module, prefix: str, source: Source, fit: Callable[[Tensor], Tensor]
) -> None:
    empty = {name: tensor.to("meta") for name, tensor in layer.state_dict().items()}
    names = [prefix + name for name in empty]

    def load(*_: Any) -> None:
        tensors = source(names)
        _assign(layer, {name: fit(tensors[prefix + name]) for name in empty})

    def drop(*_: Any) -> None:
        _assign(layer, empty)

    layer.register_forward_pre_hook(load)
    layer.register_forward_hook(drop, always_call=True)  # also where the layer ran out of memory
    _assign(layer, empty)


def _assign(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    network.load_state_dict(state, assign=True)
    network.requires_grad_(False)


def peak(
    sizes: Mapping[str, PartSize], offload: str, stages: Collection[str], here: Collection[str] = ()
) -> int:
    """Bytes of weights that `stages` bring to the device at once, without the parts that are
    `here`.
    """
    absent = {part: size for part, size in sizes.items() if part not in here}
    needed = [STAGES[stage] & absent.keys() for stage in stages]
    if offload == "none":
        needed = [frozenset().union(*needed)]
    streamed = frozenset(sizes) - WHOLE if offload == "sequential" else frozenset()
    # of what streams one tensor, as it lies in its file and as it is computed with
    layer = max((2 * sizes[part].largest for part in streamed), default=0)
    whole = (sum(absent[part].total for part in parts - streamed) for parts in needed)
    return max((layer, *whole))
