"""ControlNet on latents: feature maps of the low-resolution and of the reference image.

One network serves both: the hints of one call may be of either. It is the U-Net's encoder and
middle; parameter names as in diffusers' `ControlNetModel`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from coser_cli.config import ControlNetConfig
from coser_cli.models.attention import match_batch
from coser_cli.models.transformer import PreparedContext
from coser_cli.models.unet import UNet
from coser_cli.models.unet_encoder import Time, UNetEncoder, map_channels


def _zero_conv(in_channels: int, out_channels: int, size: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2)
    for parameter in conv.parameters():
        nn.init.zeros_(parameter)
    return conv


class ControlNet(UNetEncoder):
    """Maps of the U-Net's encoder and middle, steered by hint latents, zero at the start."""

    def __init__(self, config: ControlNetConfig) -> None:
        super().__init__(config)
        self.config = config
        widths, maps = config.block_out_channels, map_channels(config)
        self.hint_conv = _zero_conv(config.in_channels, widths[0], 3)
        self.controlnet_down_blocks = nn.ModuleList(_zero_conv(c, c, 1) for c in maps)
        self.controlnet_mid_block = _zero_conv(widths[-1], widths[-1], 1)
        self.number()

    @property
    def maps(self) -> int:
        """How many maps there are, the middle's included."""
        return len(self.controlnet_down_blocks) + 1

    def forward(
        self,
        latents: Tensor,
        time: Time,
        hints: Tensor,
        context: PreparedContext,
        *,
        shallow: bool = False,
    ) -> tuple[Tensor, ...]:
        """Maps `(n·B, C, h, w)`, finest first, the middle's last (13 for the full model), or with
        `shallow` those of the first level alone.

        Latents `(B, 4, h, w)`, hint latents `(n·B, 4, h, w)` of n
        images, hint-major; `context` has one branch.
        """
        batch = hints.shape[0]
        x = match_batch(self.conv_in(latents), batch) + self.hint_conv(hints)
        time = self.prepare_time(time, latents)
        encoded = self.encode(x, time, context, batch, last=1 if shallow else None)
        wanted = encoded[: self.shallow] if shallow else encoded
        maps = [conv(x) for conv, x in zip(self.controlnet_down_blocks, wanted, strict=False)]
        if shallow:
            return tuple(maps)
        middle = self.middle(encoded[-1], time, context, batch)
        return (*maps, self.controlnet_mid_block(middle))


@torch.no_grad()
def controlnet_from_unet(unet: UNet, config: ControlNetConfig) -> ControlNet:
    """A ControlNet that starts as a copy of the U-Net's encoder and middle (spec sec. 5)."""
    controlnet = ControlNet(config).to(unet.conv_in.weight)
    base = unet.state_dict()
    state = controlnet.state_dict()
    controlnet.load_state_dict({name: base.get(name, tensor) for name, tensor in state.items()})
    return controlnet
