"""Residual blocks that are told the time as shifts, which are computed once for a whole walk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from coser_cli.models.attention import match_batch
from coser_cli.models.blocks import ResnetBlock2D

EPS = 1e-5


@dataclass(frozen=True)
class PreparedTime:
    """What the time adds to the channels of every residual block: `shifts[block]`, `(T, C)`.

    It depends on the timestep only, so one serves all pictures, tiles and guidance branches.
    """

    shifts: tuple[Tensor, ...]

    def at(self, index: int) -> PreparedTime:
        """Those of one of the T timesteps, `(1, C)` each."""
        return PreparedTime(tuple(shift[index : index + 1] for shift in self.shifts))


class ResnetBlock(ResnetBlock2D):
    """diffusers' residual block, whose projection of the time is computed apart (`time_shift`).

    `time_index` is its place in a `PreparedTime`; the network that owns it sets it.
    """

    def __init__(
        self, in_channels: int, out_channels: int, time_channels: int, groups: int
    ) -> None:
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            temb_channels=time_channels,
            groups=groups,
            eps=EPS,
        )
        self.time_index = 0

    def time_shift(self, time: Tensor) -> Tensor:
        """Shifts `(T, out_channels)` for time embeddings `(T, time_channels)`."""
        shift: Tensor = self.time_emb_proj(F.silu(time))
        return shift

    def forward(self, x: Tensor, time: PreparedTime) -> Tensor:  # type: ignore[override]
        """Map `(B, in_channels, H, W)` → `(B, out_channels, H, W)`; times of B entries, of a
        divisor of B, or of one for all.
        """
        shift = match_batch(time.shifts[self.time_index], x.shape[0])
        hidden = self.conv1(F.silu(self.norm1(x))) + shift[:, :, None, None]
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        if self.conv_shortcut is not None:
            x = self.conv_shortcut(x)
        return x + hidden


def number_resnets(resnets: Iterable[ResnetBlock]) -> None:
    """Give each its place in the `PreparedTime`."""
    for index, resnet in enumerate(resnets):
        resnet.time_index = index
