"""Measures methods on sets of pictures, picture by picture."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from coser_cli.errors import InputError, UsageError
from coser_cli.evaluation.libraries import FrechetDistance
from coser_cli.evaluation.methods import Folder, Method
from coser_cli.evaluation.metrics import Metric
from coser_cli.evaluation.pairs import Picture, PictureSet, read_pixels, write_png
from coser_cli.evaluation.protocols import Protocol, centre_crop

SLACK = 3
"""Pixels by which a result may be smaller or larger than its true picture: sides that are no
multiple of the scale are cut by the makers of the LR pictures, or not."""
EQUAL_PSNR = 100.0
"""Stands for the infinite PSNR of equal pictures, so that means exist."""
OnPicture = Callable[[str, int, int], None]
"""Called before each picture with the method's name, the picture's number from 0, and the total."""


@dataclass(frozen=True)
class Score:
    """One picture of one method: values by metric, and seconds to make (or read) it."""

    picture: str
    values: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class MethodScores:
    """One method on one set. `whole` has the metrics of whole sets; `images` where the results
    are, as files."""

    set_name: str
    method: str
    scores: tuple[Score, ...]
    whole: Mapping[str, float]
    images: Mapping[str, Path] = field(default_factory=dict)

    def column(self, metric: str) -> list[float]:
        """Values of one metric, in the order of the pictures."""
        return [each.values[metric] for each in self.scores]


@dataclass(frozen=True)
class Measurement:
    """What to measure, and where computed results are kept (nowhere where None)."""

    pictures: PictureSet
    metrics: Sequence[Metric]
    protocol: Protocol | None = None
    keep: Path | None = None

    def run(self, method: Method, on_picture: OnPicture) -> MethodScores:
        """Every picture that the method has. Raises `UsageError` where sizes do not fit."""
        pictures: Sequence[Picture] = self.pictures.pictures
        if isinstance(method, Folder):
            pictures = [each for each in pictures if each.name in method.files]
        distance = FrechetDistance() if any(m.kind == "set" for m in self.metrics) else None
        scores, images = [], {}
        for index, picture in enumerate(pictures):
            on_picture(method.name, index, len(pictures))
            began = time.perf_counter()
            result = method.pixels(picture, self._crop)
            seconds = time.perf_counter() - began
            if isinstance(method, Folder):
                images[picture.name] = method.files[picture.name]
            elif self.keep is not None:
                path = images[picture.name] = self.keep / method.name / f"{picture.name}.png"
                write_png(path, result[0])
            result, target = self._beside(picture, result)
            values = {
                m.name: _value(m, result, target, picture.name)
                for m in self.metrics
                if m.kind != "set"
            }
            if distance is not None:
                distance.add(result, target)
            scores.append(Score(picture.name, values, seconds))
        whole = {} if distance is None else {"fid": distance.value()}
        return MethodScores(self.pictures.name, method.name, tuple(scores), whole, images)

    def cropped(self, pixels: Tensor) -> Tensor:
        """What the protocol takes of a result in full size."""
        return self._crop(pixels, 1)

    def true_pixels(self, picture: Picture) -> Tensor:
        """The true picture `(1, 3, H, W)`, as the protocol cuts it. Raises `InputError`."""
        assert picture.reference is not None
        return self._crop(read_pixels(picture.reference), 1)

    def _beside(self, picture: Picture, result: Tensor) -> tuple[Tensor, Tensor]:
        """Result and true picture at one size; the result twice where there is none."""
        if picture.reference is None:
            return result, result
        target = self.true_pixels(picture)
        sizes = [tuple(each.shape[:-3:-1]) for each in (result, target)]
        if any(abs(a - b) > SLACK for a, b in zip(*sizes, strict=True)):
            (width, height), (wanted_width, wanted_height) = sizes
            raise UsageError(
                f"{picture.name}: the result has {width}×{height} pixels, the true picture"
                f" {wanted_width}×{wanted_height}",
                "enlarge to the size of the true pictures",
            )
        height, width = (min(result.shape[i], target.shape[i]) for i in (-2, -1))
        return result[..., :height, :width], target[..., :height, :width]

    def _crop(self, pixels: Tensor, scale: int) -> Tensor:
        if self.protocol is None:
            return pixels
        return centre_crop(pixels, self.protocol.side // scale, self.protocol.scale // scale)


def _value(metric: Metric, result: Tensor, target: Tensor, picture: str) -> float:
    value = metric.measure(result, target)
    if math.isnan(value):
        raise InputError(f"{metric.name} of {picture} is no number", "leave the picture out")
    return EQUAL_PSNR if math.isinf(value) else value


def require_references(pictures: PictureSet, metrics: Sequence[Metric]) -> None:
    """Raise `UsageError` where a metric needs true pictures, and there are none."""
    if all(each.reference is not None for each in pictures.pictures):
        return
    names = [metric.name for metric in metrics if metric.kind != "single"]
    if names:
        raise UsageError(
            f"{', '.join(names)} need true pictures", "give --reference, or other --metrics"
        )
