"""A reference is brought to where it fits, brings its detail there, and nothing where it fits
nowhere; large pictures are aligned block by block, alike."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.engine import alignment_blocks
from coser_cli.engine.alignment import CELL, aligned, match
from coser_cli.engine.alignment_blocks import align_maps
from coser_cli.tiling.canvas import TensorMap


def texture(height: int, width: int, seed: int = 0) -> Tensor:
    """Something with structure at every size, `(3, height, width)` in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    levels = []
    for size in (4, 8, 16, 32, 64):
        noise = torch.randn(1, 3, size, size, generator=generator)
        levels.append(F.interpolate(noise, (height, width), mode="bicubic")[0])
    levels.append(torch.randn(3, height, width, generator=generator) * 0.7)
    total = torch.stack(levels).sum(dim=0)
    return ((total - total.mean()) / total.std() * 0.15 + 0.5).clamp(0, 1)


def blurred(picture: Tensor) -> Tensor:
    """As an enlargement of the picture reduced by 4."""
    coarse = F.avg_pool2d(picture[None], CELL)
    return F.interpolate(coarse, scale_factor=CELL, mode="bicubic")[0].clamp(0, 1)


def turned(picture: Tensor, angle: float, factor: float) -> Tensor:
    cos, sin = math.cos(angle) * factor, math.sin(angle) * factor
    grid = F.affine_grid(
        torch.tensor([[[cos, -sin, 0.05], [sin, cos, -0.03]]]), [1, 3, 128, 128], False
    )
    return F.grid_sample(picture[None], grid, padding_mode="reflection", align_corners=False)[0]


def psnr(a: Tensor, b: Tensor) -> float:
    inner = (..., slice(16, -16), slice(16, -16))
    return -10 * torch.log10((a[inner] - b[inner]).square().mean()).item()


@pytest.mark.parametrize(("down", "right"), [(0, 0), (1, 2), (7, -5), (-13, 22)])
def test_a_moved_reference_is_found_to_the_pixel(down: int, right: int) -> None:
    whole = texture(192, 192)
    truth = whole[:, 32:160, 32:160]
    reference = whole[:, 32 + down : 160 + down, 32 + right : 160 + right]
    found = match(F.avg_pool2d(truth[None], CELL)[0], reference)
    rows = found.rows - torch.arange(32)[:, None] * CELL + down
    columns = found.columns - torch.arange(32) * CELL + right
    inner = (slice(8, 24), slice(8, 24))
    assert (rows[inner] == 0).float().mean() > 0.98
    assert (columns[inner] == 0).float().mean() > 0.98
    assert psnr(aligned(blurred(truth), [reference]), truth) > psnr(blurred(truth), truth) + 3


def test_detail_comes_from_a_reference_that_is_turned_larger_and_darker() -> None:
    truth = texture(128, 128)
    reference = turned(truth, 0.08, 0.94) * 0.85
    start = blurred(truth)
    assert psnr(aligned(start, [reference]), truth) > psnr(start, truth) + 0.5


def test_what_fits_nowhere_changes_next_to_nothing() -> None:
    truth = texture(128, 128)
    start = blurred(truth)
    for other in (texture(128, 128, seed=1), torch.full((3, 128, 128), 0.5)):
        assert psnr(aligned(start, [other]), truth) > psnr(start, truth) - 0.05


def test_each_part_takes_from_the_reference_that_fits() -> None:
    truth, other = texture(128, 128), texture(128, 128, seed=1)
    left, right = truth.clone(), truth.clone()
    left[..., 64:], right[..., :64] = other[..., 64:], other[..., :64]
    start = blurred(truth)
    both = psnr(aligned(start, [left, right]), truth)
    assert both > max(psnr(aligned(start, [each]), truth) for each in (left, right)) + 0.5


def test_tiny_pictures_and_references() -> None:
    for height, width in ((4, 4), (4, 16), (16, 8)):
        picture = texture(height, width)
        assert aligned(picture, [texture(4, 4)]).shape == picture.shape


def test_blocks_are_aligned_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = texture(320, 320)
    truth, reference = whole[:, :256, :256], whole[:, 40:296, 24:280]
    start = blurred(truth)
    target = TensorMap(torch.zeros(1, 3, 256, 256))
    maps = TensorMap(start[None]), [TensorMap(reference[None])]
    align_maps(*maps, target)
    assert torch.equal(target.tensor[0], aligned(start, [reference]))
    for name, value in {"AT_ONCE": 0, "OVERVIEW": 128, "BLOCK": 96, "SEARCH": 32}.items():
        monkeypatch.setattr(alignment_blocks, name, value)
    in_blocks = TensorMap(torch.zeros(1, 3, 256, 256))
    align_maps(*maps, in_blocks)
    gain = psnr(target.tensor[0], truth) - psnr(start, truth)
    assert gain > 1.5
    assert psnr(in_blocks.tensor[0], truth) - psnr(start, truth) > 0.9 * gain
