"""Maps that are too large for memory, on disk, read and written by boxes.

`Readable` is read by tiled code, `Map` written as well; a `Canvas` is one on disk, a `TensorMap`
one in memory. Plain reads and writes, no memory mapping: a full disk is then an error and not a
signal, and read pages do not count as memory of the process.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from coser_cli.errors import InputError, shown
from coser_cli.tiling.grid import Box

Shape = tuple[int, int, int]
"""Channels, height, width."""


class Readable(Protocol):
    """A map `(C, H, W)` that is read by boxes."""

    @property
    def shape(self) -> Shape: ...

    def read(self, box: Box) -> Tensor:
        """What lies in the box, `(1, C, box.height, box.width)`, on the CPU."""
        ...


class Map(Readable, Protocol):
    """One that is written by boxes, too."""

    def write(self, box: Box, values: Tensor) -> None:
        """Put values `(1, C, box.height, box.width)` there."""
        ...


class TensorMap:
    """A tensor `(1, C, H, W)` as a `Map`; reads are views."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def shape(self) -> Shape:
        return cast("Shape", tuple(self.tensor.shape[1:]))

    def read(self, box: Box) -> Tensor:
        return box.crop(self.tensor)

    def write(self, box: Box, values: Tensor) -> None:
        box.crop(self.tensor).copy_(values)


class Part:
    """What lies in a box of another map, as a map of its own."""

    def __init__(self, source: Readable, box: Box) -> None:
        self._source = source
        self._box = box

    @property
    def shape(self) -> Shape:
        return self._source.shape[0], self._box.height, self._box.width

    def read(self, box: Box) -> Tensor:
        return self._source.read(box.moved(self._box.top, self._box.left))


class Canvas:
    """A map on disk, zero at first; made by `Scratch.canvas`.

    Rows follow one another, in each the channels, so that bands of whole rows are read at once.
    """

    def __init__(self, shape: Shape, dtype: torch.dtype, folder: Path) -> None:
        self.shape = shape
        self.dtype = dtype
        # numpy has no bfloat16: its bits are kept as integers
        self._bits = torch.int16 if dtype is torch.bfloat16 else dtype
        self._numpy = torch.empty(0, dtype=self._bits).numpy().dtype
        # without a name from the start: nothing is left behind, however the process ends
        self._file = tempfile.TemporaryFile(buffering=0, dir=folder, prefix="coser-")  # noqa: SIM115
        try:
            self._file.truncate(self.nbytes)
        except OSError:
            self._file.close()
            raise

    @property
    def nbytes(self) -> int:
        """Size on disk."""
        channels, height, width = self.shape
        return channels * height * width * self.dtype.itemsize

    def read(self, box: Box) -> Tensor:
        """What lies in the box, `(1, C, box.height, box.width)`."""
        channels, _, width = self.shape
        if box.width == width:
            rows = np.empty((box.height, channels, width), self._numpy)
            self._fill(rows, box.top * channels * width)
        else:
            rows = np.empty((box.height, channels, box.width), self._numpy)
            for offset, piece in self._pieces(box, rows):
                self._fill(piece, offset)
        return torch.from_numpy(rows).view(self.dtype).transpose(0, 1)[None].contiguous()

    def write(self, box: Box, values: Tensor) -> None:
        """Put values `(1, C, box.height, box.width)` there, as the canvas's dtype.

        Raises OSError where the disk is full.
        """
        channels, _, width = self.shape
        rows = values[0].detach().to("cpu", self.dtype).transpose(0, 1).contiguous()
        kept = rows.view(self._bits).numpy()
        if box.width == width:
            self._put(kept, box.top * channels * width)
        else:
            for offset, piece in self._pieces(box, kept):
                self._put(piece, offset)

    def close(self) -> None:
        """Free its space."""
        self._file.close()

    def _pieces(self, box: Box, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Runs of neighbouring entries: their place in the file and in `rows`."""
        channels, _, width = self.shape
        for row in range(box.height):
            for channel in range(channels):
                offset = ((box.top + row) * channels + channel) * width + box.left
                yield offset, rows[row, channel]

    def _fill(self, target: np.ndarray, offset: int) -> None:
        self._file.seek(offset * self._numpy.itemsize)
        view = target.data.cast("B")
        while view:
            count = self._file.readinto(view)  # type: ignore[attr-defined]
            if not count:
                raise OSError("a temporary file ended early")
            view = view[count:]

    def _put(self, source: np.ndarray, offset: int) -> None:
        self._file.seek(offset * self._numpy.itemsize)
        view = source.data.cast("B")
        while view:
            view = view[self._file.write(view) :]


class Scratch:
    """A place for canvases, all gone when its block ends, however it ends.

    `folder` None is the system's temporary folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(tempfile.gettempdir()) if folder is None else folder
        self._stack = ExitStack()

    def require(self, nbytes: int) -> None:
        """Raise `InputError` unless `nbytes` are free: before the work, not in the midst of it."""
        free = shutil.disk_usage(self.folder).free
        if nbytes > free:
            raise InputError(
                f"{nbytes / 1e9:.1f} GB of temporary space are needed, "
                f"{shown(self.folder)} has {free / 1e9:.1f} GB free",
                "free some, or name another folder with --temp-dir",
            )

    def canvas(self, shape: Shape, dtype: torch.dtype = torch.float32) -> Canvas:
        """A new canvas `(C, H, W)`, zero everywhere."""
        canvas = Canvas(shape, dtype, self.folder)
        self._stack.callback(canvas.close)
        return canvas

    def __enter__(self) -> Scratch:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
