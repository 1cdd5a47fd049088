"""Pictures in memory, PIL's and NumPy's, to pixels, and enlarged pixels back to the same kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from coser_cli.errors import InputError
from coser_cli.imageio.photo import FloatArray, Photo
from coser_cli.imageio.transparency import fill_transparent

InMemory: TypeAlias = Photo | Image.Image | NDArray[Any]
Back: TypeAlias = Callable[[FloatArray], Any]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601, as Pillow


def opened(picture: Any) -> tuple[FloatArray, Back] | None:
    """Pixels float32 `(B, 3, H, W)`, and what makes enlarged ones a picture of the same kind; None
    for what is none of `Photo`, PIL image and NumPy array.

    Of an image: grey stays grey, alpha is enlarged by Lanczos and does not colour the pixels below
    it, the colour profile goes along; other modes become RGB. Arrays are `(H, W)`, `(H, W, C)` or
    `(B, H, W, C)` with 1 to 4 channels, uint8, uint16 or float in [0, 1]; the result has their
    type. Raises `InputError` for other shapes, types and modes.
    """
    if isinstance(picture, Photo):
        return picture.pixels[None], lambda pixels: _photo(picture, pixels[0])
    if isinstance(picture, Image.Image):
        return _opened_image(picture)
    if isinstance(picture, np.ndarray):
        return _opened_array(picture)
    return None


def _photo(source: Photo, pixels: FloatArray) -> Photo:
    alpha = None if source.alpha is None else _resized(source.alpha, pixels.shape[-2:])
    return replace(source, pixels=pixels, alpha=alpha)


def _opened_image(image: Image.Image) -> tuple[FloatArray, Back]:
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F", "LAB", "HSV"):
        raise InputError(f"an image of mode {image.mode}", "convert it to L, RGB or RGBA")
    is_16_bit = image.mode.startswith("I;16")
    if not is_16_bit:
        grey = image.mode in ("1", "L", "LA", "La")
        mode = ("LA" if grey else "RGBA") if image.has_transparency_data else "L" if grey else "RGB"
        image = image if image.mode == mode else image.convert(mode)
    pixels, back = _opened_array(np.asarray(image))

    def image_of(enlarged: FloatArray) -> Image.Image:
        result = Image.fromarray(back(enlarged))
        if profile:
            result.info["icc_profile"] = profile
        return result

    return pixels, image_of


def _opened_array(array: NDArray[Any]) -> tuple[FloatArray, Back]:
    single, flat = array.ndim < 4, array.ndim == 2
    stacked = array[..., None] if flat else array
    stacked = stacked[None] if single else stacked
    if stacked.ndim != 4 or not 1 <= stacked.shape[-1] <= 4 or 0 in stacked.shape:
        raise InputError(f"an array of the shape {array.shape}", "give (H, W), (H, W, C)")
    top = _top(array.dtype)
    values = stacked.astype(np.float32).transpose(0, 3, 1, 2) / np.float32(top)
    channels = values.shape[1]
    alpha = values[:, -1] if channels in (2, 4) else None
    colours = np.repeat(values[:, :1], 3, axis=1) if channels < 3 else values[:, :3]
    if alpha is not None:
        colours = np.stack([fill_transparent(*each) for each in zip(colours, alpha, strict=True)])

    def array_of(enlarged: FloatArray) -> NDArray[Any]:
        result = enlarged
        if channels < 3:
            result = np.tensordot(enlarged, _LUMA, axes=(1, 0))[:, None]
        if alpha is not None:
            masks = np.stack([_resized(each, enlarged.shape[-2:]) for each in alpha])
            result = np.concatenate([result, masks[:, None]], axis=1)
        result = result.transpose(0, 2, 3, 1)
        if top > 1:
            result = np.rint(np.clip(result, 0, 1) * top)
        result = np.ascontiguousarray(result.astype(array.dtype))
        result = result[..., 0] if flat else result
        return result[0] if single else result

    return np.ascontiguousarray(colours), array_of


def _top(dtype: np.dtype[Any]) -> int:
    """What stands for white."""
    if np.issubdtype(dtype, np.floating):
        return 1
    if dtype in (np.uint8, np.uint16):
        return int(np.iinfo(dtype).max)
    raise InputError(f"an array of {dtype}", "give uint8, uint16 or float in [0, 1]")


def _resized(alpha: FloatArray, size: tuple[int, ...]) -> FloatArray:
    """Alpha `(H, W)` at `size` (height, width), by Lanczos, in [0, 1]."""
    image = Image.fromarray(np.ascontiguousarray(alpha))
    enlarged = image.resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.clip(np.asarray(enlarged, np.float32), 0, 1)
