"""References aligned to the picture: for every latent cell, the place in the reference that looks
most like it at the resolution of the input, to the pixel.

The networks see a reference on the grid of their latents, so they lose detail that is finer, or
lies elsewhere. Patches of the reduced result are compared with patches of the reduced reference at
all positions (normalised cross-correlation of luma), from coarse to fine, with the matches of
neighbours as candidates (Barnes et al. 2009, "PatchMatch"). The detail that the reference would
lose by being reduced is then added to the result, weighted by how alike both are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 4
"""Pixels per cell, along each side."""
REACH = 3
"""Cells around a cell that are compared, so 7 × 7."""
EXHAUSTIVE = 2**26
"""Comparisons of all with all at the coarsest level."""
NOISE = 0.002
"""Standard deviation of luma below which a patch counts as flat and matches nothing."""
CORRELATION = (0.5, 0.8)
"""Correlations at which the reference's detail begins to be added, and is added in full."""
NEIGHBOURHOOD = 3
"""Cells around a cell whose matches are compared with its own, so 48."""
TOLERANCE = 3
"""Pixels by which a neighbour's match may differ: the reference may be turned, or larger."""
AGREEMENT = (0.4, 0.8)
"""Shares of agreeing neighbours at which detail begins to be added, and is added in full."""
GAIN = (0.5, 2.0)
"""Least and largest factor between the contrasts of both."""
_MARGIN = 2
_MOVES = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
_NEIGHBOURS = [(0, 1), (1, 0), (0, -1), (-1, 0)]
_WEIGHTS = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Match:
    """For each cell `(h, w)`: the pixel of the reference where its match begins, `rows` and
    `columns`; the correlation there, in [-1, 1], and the contrast of the cell over the match's.
    """

    rows: Tensor
    columns: Tensor
    score: Tensor
    gain: Tensor

    def coherence(self) -> Tensor:
        """Share in [0, 1] `(h, w)` of the cells within `NEIGHBOURHOOD` whose match lies where it
        should if both pictures showed the same thing, to `TOLERANCE` pixels.
        """
        height, width = self.score.shape
        places = torch.stack([self.rows, self.columns]).float()
        steps = torch.arange(max(height, width), device=places.device) * CELL
        own = steps[:height, None].expand(height, width), steps[:width].expand(height, width)
        relative = places - torch.stack(own)
        filled = F.pad(relative[None], (NEIGHBOURHOOD,) * 4, mode="replicate")[0]
        moves = [
            (down, right)
            for down in range(2 * NEIGHBOURHOOD + 1)
            for right in range(2 * NEIGHBOURHOOD + 1)
            if (down, right) != (NEIGHBOURHOOD, NEIGHBOURHOOD)
        ]
        share = torch.zeros_like(self.score)
        for down, right in moves:
            neighbour = filled[:, down : down + height, right : right + width]
            share += (neighbour - relative).abs().amax(dim=0) <= TOLERANCE
        return share / len(moves)


def aligned(picture: Tensor, references: Sequence[Tensor]) -> Tensor:
    """`picture` `(3, 4h, 4w)` in [0, 1] with the detail of the references `(3, H, W)`: same shape,
    clamped. Each cell takes the detail of the reference that matches it best.
    """
    coarse = F.avg_pool2d(picture[None], CELL)[0]
    matches = [match(coarse, reference) for reference in references]
    best = torch.stack([each.score for each in matches]).argmax(dim=0)
    detail = torch.zeros_like(picture)
    share = torch.zeros_like(picture[:1])
    for index, (reference, each) in enumerate(zip(references, matches, strict=True)):
        own, weight = fetch(reference, each, best == index)
        detail, share = detail + own, share + weight
    return (picture - share * (picture - soft(picture)) + detail).clamp(0, 1)


def match(coarse: Tensor, reference: Tensor) -> Match:
    """Matches of the cells of a picture reduced by 4, `coarse` `(3, h, w)`, in a reference `(3, H,
    W)`, H and W at least 4; both in [0, 1].
    """
    queries, keys = luma(coarse), luma(reference)
    pyramid = [(queries, keys)]
    while (
        queries.numel() * (keys.numel() / CELL**2) > EXHAUSTIVE and min(queries.shape) > 2 * REACH
    ):
        queries, keys = _halved(queries), _halved(keys)
        pyramid.append((queries, keys))
    finder = _Finder(*pyramid[-1])
    finder.search_all()
    for queries, keys in reversed(pyramid[:-1]):
        finder = finder.finer(queries, keys)
    return finder.result()


def luma(pixels: Tensor) -> Tensor:
    """`(3, H, W)` → `(H, W)`, float32 (BT.601)."""
    return torch.einsum("chw,c->hw", pixels.float(), pixels.new_tensor(_WEIGHTS).float())


def soft(pixels: Tensor) -> Tensor:
    """Pixels `(C, H, W)` as if reduced by 4 and enlarged again: a triangle of 7 pixels."""
    kernel = torch.tensor([1.0, 2, 3, 4, 3, 2, 1], device=pixels.device, dtype=pixels.dtype) / 16
    filled = F.pad(pixels[:, None], (CELL - 1,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(filled, kernel.view(1, 1, 7, 1)), kernel.view(1, 1, 1, 7))[:, 0]


def fetch(reference: Tensor, matches: Match, own: Tensor) -> tuple[Tensor, Tensor]:
    """Detail `(3, 4h, 4w)` of the reference `(3, H, W)` for the cells that are its `own` `(h, w)`,
    and the share `(1, 4h, 4w)` in [0, 1] of the picture's detail that it replaces.

    Windows of 8 × 8 pixels overlap, so that no cell shows a border.
    """
    height, width = matches.score.shape
    side = CELL + 2 * _MARGIN
    low, high = CORRELATION
    share = ((matches.score - low) / (high - low)).clamp(0, 1) * own
    least, full = AGREEMENT
    share = share * ((matches.coherence() - least) / (full - least)).clamp(0, 1)
    detail = F.pad((reference - soft(reference))[None], (_MARGIN,) * 4, mode="replicate")[0]
    inside = torch.arange(side, device=reference.device)
    rows = matches.rows.flatten()[:, None] + inside
    columns = matches.columns.flatten()[:, None] + inside
    windows = detail[:, rows[:, :, None], columns[:, None, :]]  # (3, cells, side, side)
    edge = detail.new_tensor([0.25, 0.75, 1, 1, 1, 1, 0.75, 0.25])
    weight = (edge[:, None] * edge).expand(1, height * width, side, side)
    weights = weight * share.flatten()[None, :, None, None]
    weighted = windows * weights * matches.gain.flatten()[None, :, None, None]
    size = (height * CELL + 2 * _MARGIN, width * CELL + 2 * _MARGIN)

    def overlapped(each: Tensor) -> Tensor:
        columns = each.permute(0, 2, 3, 1).flatten(0, 2)[None]
        return F.fold(columns, size, side, stride=CELL)[0, :, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]

    total = overlapped(weight)
    return overlapped(weighted) / total, overlapped(weights) / total


class _Finder:
    """Matches of the cells of `queries` `(h, w)` in `keys` `(H, W)`, both luma."""

    def __init__(self, queries: Tensor, keys: Tensor) -> None:
        self.shape = queries.shape
        side = 2 * REACH + 1
        patches = _unfold(queries)
        self.queries, self.contrast = _normalised(patches)
        # the mean of the 4 × 4 pixels that begin at each: all that is compared
        filled = F.pad(keys[None, None], (0, CELL - 1, 0, CELL - 1), mode="replicate")
        self.keys = F.avg_pool2d(filled, CELL, 1)[0, 0]
        around = REACH * CELL
        self._filled = F.pad(self.keys[None, None], (around,) * 4, mode="replicate")[0, 0]
        steps = torch.arange(side, device=keys.device) * CELL
        self._offsets = (steps[:, None] * self._filled.shape[1] + steps).flatten()
        cells = queries.numel()
        self.rows = torch.zeros(cells, dtype=torch.long, device=keys.device)
        self.columns = torch.zeros_like(self.rows)
        self.score = torch.full((cells,), -2.0, device=keys.device)
        self.match_contrast = torch.ones_like(self.score)

    def search_all(self) -> None:
        """Try every cell of the reference, then positions near the best."""
        height, width = (max(1, edge // CELL) for edge in self.keys.shape)
        grid = self.keys[: height * CELL : CELL, : width * CELL : CELL]
        keys, _ = _normalised(_unfold(grid))
        chunk = max(1, EXHAUSTIVE // 4 // len(keys))
        best = torch.cat([(part @ keys.T).argmax(dim=1) for part in self.queries.split(chunk)])
        self._try(best // width * CELL, best % width * CELL)
        self.refine((2, 1, 1))

    def finer(self, queries: Tensor, keys: Tensor) -> _Finder:
        """The search at twice the resolution, started from these matches."""
        finer = _Finder(queries, keys)
        height, width = finer.shape
        rows = torch.arange(height, device=keys.device).clamp(max=2 * self.shape[0] - 1)
        columns = torch.arange(width, device=keys.device).clamp(max=2 * self.shape[1] - 1)
        parents = (rows // 2)[:, None] * self.shape[1] + columns // 2
        down = self.rows[parents] * 2 + (rows % 2)[:, None] * CELL
        right = self.columns[parents] * 2 + columns % 2 * CELL
        finer._try(down.flatten(), right.flatten())
        finer.refine((2, 1))
        return finer

    def refine(self, steps: Sequence[int]) -> None:
        """Try small moves of each match, and the matches of neighbours."""
        for step in steps:
            for down, right in _MOVES:
                self._try(self.rows + down * step, self.columns + right * step)
            for down, right in _NEIGHBOURS:
                self._try(
                    self._from_neighbour(self.rows, down, right, down),
                    self._from_neighbour(self.columns, down, right, right),
                )

    def result(self) -> Match:
        """The matches."""
        low, high = GAIN
        gain = (self.contrast / self.match_contrast.clamp(min=1e-3)).clamp(low, high)
        each = (self.rows, self.columns, self.score, gain)
        return Match(*(values.view(self.shape) for values in each))

    def _from_neighbour(self, values: Tensor, down: int, right: int, moved: int) -> Tensor:
        rolled = values.view(self.shape).roll((down, right), (0, 1))
        return rolled.flatten() + moved * CELL

    def _try(self, rows: Tensor, columns: Tensor) -> None:
        """Take these positions where they match better."""
        rows = rows.clamp(0, max(0, self.keys.shape[0] - CELL))
        columns = columns.clamp(0, max(0, self.keys.shape[1] - CELL))
        first = rows * self._filled.shape[1] + columns
        patches, contrast = _normalised(self._filled.flatten()[first[:, None] + self._offsets])
        score = (patches * self.queries).sum(dim=1)
        better = score > self.score + 1e-4
        self.rows = torch.where(better, rows, self.rows)
        self.columns = torch.where(better, columns, self.columns)
        self.match_contrast = torch.where(better, contrast, self.match_contrast)
        self.score = torch.where(better, score, self.score)


def _unfold(values: Tensor) -> Tensor:
    """The patch around each of `(h, w)` values, `(h·w, 49)`."""
    filled = F.pad(values[None, None], (REACH,) * 4, mode="replicate")
    return F.unfold(filled, 2 * REACH + 1)[0].T


def _normalised(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Patches `(n, 49)` without their mean, of length 1 or, flat, less; their contrast `(n,)`."""
    centred = patches - patches.mean(dim=1, keepdim=True)
    contrast = centred.norm(dim=1)
    return centred / (contrast + NOISE * (2 * REACH + 1))[:, None], contrast


def _halved(values: Tensor) -> Tensor:
    return F.avg_pool2d(values[None, None], 2, ceil_mode=True)[0, 0]
