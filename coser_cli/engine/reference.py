"""Imagine the reference: the U-Net without controls, steered by cognition alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from coser_cli.engine.alignment_blocks import align_maps
from coser_cli.engine.cognition import Cognition
from coser_cli.engine.decoding import decode_references, finish
from coser_cli.engine.feature_cache import Kept, predict
from coser_cli.engine.preparation import pad_to_multiple
from coser_cli.errors import InputError
from coser_cli.size import Size
from coser_cli.tiling.canvas import TensorMap
from coser_cli.tiling.grid import Box

if TYPE_CHECKING:
    from coser_cli.engine.passes import Pass
    from coser_cli.engine.preparation import LowRes
    from coser_cli.models.build import CoSeR
    from coser_cli.models.resnet import PreparedTime
    from coser_cli.sampling.types import Draw, OnStep
    from coser_cli.settings import ResolvedSettings

SAME_ASPECT = 0.02
"""Aspect ratios that differ by no more than this share count as one."""


def imagine(
    model: CoSeR,
    cognition: Cognition,
    latents: Tensor,
    how: Pass,
    draw: Draw,
    on_step: OnStep | None = None,
) -> Tensor:
    """Reference latents `(B, 4, h, w)` from the low-resolution `latents`."""
    times = model.unet.prepare_times(how.sampler.timesteps, cognition.embedding)
    imaginer = Imaginer(model, cognition, times, how.deep_interval)
    latents = how.sample(imaginer, latents, model.config.schedule, draw, on_step)
    if not model.config.reference_roundtrip:
        return latents
    # the paper's reference is a picture before it is a condition (spec sec. 1)
    dtype = torch.promote_types(cognition.embedding.dtype, torch.float32)
    return model.autoencoder.encode(model.autoencoder.decode(latents.to(dtype))).float()


@dataclass(frozen=True)
class Imaginer:
    """The denoiser of the reference pass (a `Denoise`): both new attentions left out. `kept` are
    features of earlier steps of this `place`, which all steps use but every `deep_interval`-th.
    """

    model: CoSeR
    cognition: Cognition
    times: Mapping[int, PreparedTime]
    deep_interval: int = 1
    kept: Kept = field(default_factory=Kept)
    place: Hashable = None

    def __call__(self, latents: Tensor, timestep: int, branches: int) -> Tensor:
        """Predictions `(branches·B, 4, h, w)`."""
        latents, unet = latents.to(self.cognition.embedding.dtype), self.model.unet
        inputs = latents, self.times[timestep], self.cognition.for_unet(unet, branches)
        key, step = ("deep", branches, self.place), list(self.times).index(timestep)
        return predict(self.model, inputs, lambda _: None, self.kept, key, step, self.deep_interval)


Latents = TypeVar("Latents")


@dataclass(frozen=True)
class References(Generic[Latents]):
    """What guides a restoration: latents of each reference, in memory `(B, 4, h, w)` or a map.

    `scores` of all candidates, in [-1, 1], higher is nearer to the input, and the index of the
    `chosen` one; None without a comparison or choice. Aligned references have no latents, but the
    `picture` that they made of the enlargement, `(B, 3, *target.hw)`.
    """

    latents: Sequence[Latents] = ()
    scores: tuple[float, ...] | None = None
    chosen: int | None = None
    picture: Latents | None = None


@dataclass(frozen=True)
class Candidates:
    """References as pictures `(N, 3, H, W)` in [0, 1], float32 on the CPU, and their scores; None
    for a single one.
    """

    pictures: Tensor
    scores: tuple[float, ...] | None = None

    def nearest(self) -> Tensor:
        """The picture with the highest score, `(1, 3, H, W)`."""
        best = nearest(self.scores or (0.0,))
        return self.pictures[best : best + 1]


def draw_of(candidate: int, draw: Draw) -> Draw:
    """The noise of a candidate: that of `draw` for the first, streams `start/k` and `imagine/k` for
    the k-th. So the first is the same among any number.
    """
    return lambda stream, step: draw(candidate_stream(stream, candidate), step)


def candidate_stream(stream: str, candidate: int) -> str:
    """The name of a candidate's stream of noise."""
    return f"{stream}/{candidate}" if candidate else stream


def place(picture: Tensor, size: Size) -> Tensor:
    """A picture `(1, 3, H, W)` in [0, 1] as the whole frame of that size, float32.

    Where the aspect ratios differ by more than `SAME_ASPECT`, what the frame does not show is cut
    off on both sides alike. Bicubic, antialiased when it shrinks, clamped to [0, 1].
    """
    cut = centre_cut(Size.of(picture), size).crop(picture.float())
    if Size.of(cut) == size:
        return cut
    return F.interpolate(cut, size.hw, mode="bicubic", antialias=True).clamp(0, 1)


@torch.inference_mode()
def encode(model: CoSeR, pictures: Iterable[Tensor], low_res: LowRes) -> Tensor:
    """Latents `(N, 4, h, w)`, float32, of pictures `(1, 3, H, W)` in [0, 1] of any size, each
    placed into the frame of `low_res` and padded as that.
    """
    padded = low_res.padded
    placed = (place(picture, low_res.size).to(padded) for picture in pictures)
    multiple = model.config.pixel_multiple
    encoded = [model.autoencoder.encode(pad_to_multiple(each, multiple)) for each in placed]
    return torch.cat(encoded).float()


@torch.inference_mode()
def align(
    model: CoSeR,
    pictures: Sequence[Tensor],
    pixels: Tensor,
    low_res: LowRes,
    settings: ResolvedSettings,
) -> tuple[Tensor, References[Tensor]]:
    """`pixels` of the padded size, float32 on the CPU, with `reference_weight` of what pictures
    `(1, 3, H, W)` in [0, 1] know better: each is placed into the frame, and from there what fits
    is brought to where it fits. The `References` hold no latents, but those pixels as their
    picture. With `reference_select` "clip" only the picture that is most like the input counts.
    """
    placed = [place(picture, low_res.size) for picture in pictures]
    scores, best = None, None
    if settings.reference_select == "clip" and len(placed) > 1:
        scores = score(model, torch.cat(placed), low_res)
        best = nearest(scores)
        placed = [placed[best]]
    multiple = model.config.pixel_multiple
    known = [TensorMap(pad_to_multiple(each, multiple).cpu()) for each in placed]
    guided = torch.empty(pixels.shape)
    for each, target in zip(pixels.float().cpu().split(1), guided.split(1), strict=True):
        align_maps(TensorMap(each), known, TensorMap(target), settings.reference_weight)
    picture = finish(guided, low_res, "none").cpu()
    return guided, References((), scores, best, picture)


@torch.inference_mode()
def score(model: CoSeR, pictures: Tensor, low_res: LowRes) -> tuple[float, ...]:
    """Similarity of each of the pictures `(N, 3, H, W)` in [0, 1] to the input: the cosine between
    their class tokens in the image tower, in [-1, 1].

    The input is taken pre-restored, as for cognition. The token is projected without the tower's
    last norm, as everything that CoSeR takes from CLIP. `mini` has a small tower of its own instead
    of CLIP, whose scores differ much less.
    """
    pre_restored = low_res.pre_restored
    if pre_restored is None:
        pre_restored = model.srresnet(low_res.pixels)
    images = (each.to(low_res.pixels) for each in pictures.split(1))
    return tuple(similarity(model, each, pre_restored) for each in images)


def similarity(model: CoSeR, picture: Tensor, other: Tensor) -> float:
    """Cosine between the class tokens of two pictures `(1, 3, H, W)`, in [-1, 1]."""
    tokens = _class_token(model, picture), _class_token(model, other)
    return F.cosine_similarity(*tokens).item()


def nearest(scores: Sequence[float]) -> int:
    """Index of the highest score; the first of equals."""
    return max(range(len(scores)), key=scores.__getitem__)


def choose(
    candidates: Sequence[Latents],
    select: str,
    score_all: Callable[[Sequence[Latents]], Sequence[float]],
) -> References[Latents]:
    """What guides the restoration among `candidates`: with `select` "all" each of them, with "clip"
    the one that scores highest.
    """
    if select == "all" or len(candidates) == 1:
        return References(candidates)
    scores = tuple(score_all(candidates))
    best = nearest(scores)
    return References([candidates[best]], scores, best)


@torch.inference_mode()
def choose_latents(
    model: CoSeR, latents: Tensor, low_res: LowRes, select: str
) -> References[Tensor]:
    """`choose` among latents `(N·B, 4, h, w)`, reference-major; with "clip" B is 1."""

    def score_all(candidates: Sequence[Tensor]) -> tuple[float, ...]:
        pictures = decode_references(model, torch.cat([*candidates]), low_res)
        return score(model, pictures, low_res)

    return choose(latents.split(len(low_res.latents)), select, score_all)


def require_single(pixels: Tensor) -> None:
    """Raise `InputError` for a batch `(B, 3, H, W)`: references are scored for one picture."""
    if pixels.dim() == 4 and len(pixels) > 1:
        raise InputError(f"there are {len(pixels)} pictures at once", "give them one by one")


def centre_cut(size: Size, frame: Size) -> Box:
    """Of a picture of `size`, the largest centred part with the aspect ratio of `frame`, to the
    pixel; all of it, where the ratios count as one.
    """
    height, width = size.hw
    excess = (width / height) / (frame.width / frame.height)
    if abs(excess - 1) <= SAME_ASPECT:
        return Box.whole(size)
    rows = height if excess > 1 else max(1, round(height * excess))
    columns = max(1, round(width / excess)) if excess > 1 else width
    top, left = (height - rows) // 2, (width - columns) // 2
    return Box(top, left, top + rows, left + columns)


def _class_token(model: CoSeR, pixels: Tensor) -> Tensor:
    """Projected class token `(1, C)` in float32 of pixels `(1, 3, H, W)`, nominally [0, 1]."""
    tower = model.cognition.clip
    tokens: Tensor = tower(pixels.to(tower.visual.class_embedding.dtype))
    return tokens[:, 0].float()
