"""`scripts/inference_tile.py`: latent tiles, and patches of large pictures, as published.

Its reference is a grey picture, its sizes and its padding differ from ours (golden README, quirks
29 to 33); all that is kept out of the engine.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.config import ScheduleConfig
from coser_cli.engine.cognition import Cognition
from coser_cli.engine.passes import Pass
from coser_cli.engine.preparation import LowRes, enlarge_bicubic, known
from coser_cli.engine.tiled.denoisers import tiles_with_controls
from coser_cli.engine.tiled.sampling import TiledSampler
from coser_cli.parity.recorded import Run, Tensors, signed, truncated
from coser_cli.sampling.guidance import Guidance
from coser_cli.sampling.schedulers import make_scheduler
from coser_cli.size import Size
from coser_cli.tiling.blend import PUBLISHED
from coser_cli.tiling.canvas import TensorMap
from coser_cli.tiling.grid import Box, boxes, make_grid

PAD_MULTIPLE = 32


class TiledRun(Run):
    """One picture in latent tiles; in overlapping patches first if it is large."""

    def results(self) -> Tensors:
        cognition, results = self.understand()
        size, scale = self._enlarged_size()
        padded = pad(enlarge_bicubic(self.pixels, size))
        sums = {variant: torch.zeros_like(padded) for variant in self.variants}
        count = torch.zeros(padded.shape[-2:])
        for number, patch in enumerate(self._patches(padded)):
            suffix = f"_patch{number}" if number else ""
            low_res = self._low_res(patch.crop(padded))
            sampled, latents = self._sample(low_res, cognition)
            for variant, total in sums.items():
                decoded, fixed = self.decoded(variant, latents, low_res)
                patch.crop(total).add_(fixed)
                sampled[f"{variant}/decoded"] = signed(decoded)
                sampled[f"{variant}/colorfixed"] = signed(fixed)
            patch.crop(count).add_(1)
            results |= {output + suffix: value for output, value in sampled.items()}
        for variant, total in sums.items():
            saved = self._resized((total / count).clamp(0, 1), size, scale)
            results[f"{variant}/png_uint8"] = truncated(saved)
        return results | {"im_lq_bs": signed(padded)}

    def _enlarged_size(self) -> tuple[Size, float]:
        """Size of the enlargement, and its scale: small pictures grow by more."""
        size = Size.of(self.pixels)
        scale = max(self.options.input_size / size.short_side, self.options.upscale)
        return Size(int(size.height * scale), int(size.width * scale)), scale

    def _patches(self, padded: Tensor) -> list[Box]:
        """Pixel boxes; a picture that fits `vqgantile_size` is one."""
        side, stride = self.options.vqgantile_size, self.options.vqgantile_stride
        return boxes(Size.of(padded), side, min(stride, side))

    def _low_res(self, pixels: Tensor) -> LowRes:
        size = Size.of(pixels)
        latents = self.networks.autoencoder.encode(pixels)
        return LowRes(self.pixels, pixels, size, size, known(latents))

    def _sample(self, low_res: LowRes, cognition: Cognition) -> tuple[Tensors, Tensor]:
        """One patch, in latent tiles: what the run stores of it, and its latents."""
        options, model = self.options, self.upscaler().model
        grey = self.grey_latents(low_res.padded)
        sampler = make_scheduler("ddpm", ScheduleConfig(), options.ddpm_steps)
        side = options.input_size // model.config.downscale
        grid = make_grid(Size.of(low_res.latents), side, side - options.tile_overlap)
        noise = partial(self.draw, "restore")
        tiled = TiledSampler(
            sampler, lambda step, rows: _rows(noise(step), rows), lambda step: grid, 1, PUBLISHED
        )
        hints = TensorMap(low_res.latents), [TensorMap(grey)]
        how = Pass("restore", sampler, Guidance(options.cfg))
        predict = tiles_with_controls(model, lambda tiles: cognition, how, *hints)
        start = self.start(low_res.latents)
        state = TensorMap(start.clone())
        steps: list[Tensor] = []

        def record(done: int, _: int) -> None:
            if done % len(grid) == 0:
                steps.append(state.tensor.clone())

        tiled(predict, state, record)
        latents = state.tensor
        return {
            "init_latent": low_res.latents,
            "x_T": start,
            "zero_image_latent": grey,
            "sr_steps": torch.stack(steps),
            "final_latent": latents,
        }, latents

    def _resized(self, pixels: Tensor, size: Size, scale: float) -> Tensor:
        """Cut the padding off; where the input grew by more than asked, shrink the result to a
        size that is computed from the padded one (quirk 32).
        """
        requested = self.options.upscale
        cut = Box.whole(size).crop(pixels)
        if scale <= requested:
            return cut
        shrunk = [int(side * requested / scale) for side in pixels.shape[-2:]]
        return F.interpolate(cut, size=shrunk, mode="bicubic").clamp(0, 1)


def _rows(noise: Tensor, rows: range) -> Tensor:
    return noise[..., rows.start : rows.stop, :]


def pad(pixels: Tensor) -> Tensor:
    """Mirrored right and bottom to multiples of 32; a side that needs none gets a full 32 if the
    other needs some (quirk 31).
    """
    height, width = pixels.shape[-2:]
    if height % PAD_MULTIPLE == 0 and width % PAD_MULTIPLE == 0:
        return pixels
    bottom, right = (PAD_MULTIPLE - side % PAD_MULTIPLE for side in (height, width))
    return F.pad(pixels, (0, right, 0, bottom), mode="reflect")
