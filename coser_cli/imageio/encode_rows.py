"""Rows → compressed file by libvips, which never holds more than a few of them."""

from __future__ import annotations

import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Literal

from coser_cli.imageio import png
from coser_cli.imageio.jpeg import pixels_of
from coser_cli.imageio.photo import Samples
from coser_cli.size import Size

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def encode_rows(
    file: BinaryIO,
    kind: Literal["png", "jpeg"],
    head: bytes,
    size: Size,
    bands: Iterator[Samples],
    options: dict[str, Any],
) -> None:
    """Write bands of rows `(rows, W, C)`, uint8 or uint16, of a picture of `size`.

    `head` are a PNG's chunks before the pixels, or a JPEG's segments; `options` are those of
    libvips' saver. The bands are asked for in the calling thread, so that an interruption ends the
    work at once: the encoder's pipe is closed then. Raises OSError.
    """
    outlet, inlet = os.pipe()
    encoder = _Encoder(outlet, _Spliced(file, kind, head), kind, options)
    encoder.start()
    try:
        with open(inlet, "wb", buffering=0) as pipe:
            for piece in _stored_png(size, bands):
                _write_all(pipe, piece)
    except BrokenPipeError:
        pass  # the encoder has given up, and says why
    except BaseException:
        encoder.stopped = True
        raise
    finally:
        encoder.join()
    if encoder.error is not None:
        raise encoder.error


def _write_all(pipe: Any, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[pipe.write(rest) :]


class _Encoder(threading.Thread):
    """Runs libvips from the outlet of a pipe to a file."""

    def __init__(self, outlet: int, sink: _Spliced, kind: str, options: dict[str, Any]) -> None:
        super().__init__(name="coser-encode")
        self.error: OSError | None = None
        self.stopped = False
        self._outlet = outlet
        self._sink = sink
        self._kind = kind
        self._options = options

    def run(self) -> None:
        import pyvips

        try:
            source, target = pyvips.SourceCustom(), pyvips.TargetCustom()
            source.on_read(lambda count: os.read(self._outlet, count))
            target.on_write(self._write)
            image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="error")
            getattr(image, f"{self._kind}save_target")(target, keep="none", **self._options)
        except Exception as error:  # nothing above this thread could catch it
            self.error = self.error or OSError(" ".join(str(error).split()))
        finally:
            os.close(self._outlet)  # whoever still writes gets an error

    def _write(self, data: Any) -> int:
        """For libvips: how many bytes were written, -1 for an error."""
        if self.stopped:
            return -1
        try:
            self._sink.write(bytes(data))
        except OSError as error:
            self.error = error
            return -1
        return len(data)


class _Spliced:
    """A file that is given its metadata while its beginning is written."""

    def __init__(self, file: BinaryIO, kind: str, head: bytes) -> None:
        self._file = file
        self._pixels: Callable[[bytes], bytes | None] = (
            pixels_of if kind == "jpeg" else _with_header_alone
        )
        self._head = head
        self._is_png = kind == "png"
        self._start: bytes | None = b""

    def write(self, data: bytes) -> None:
        """Append; raises OSError."""
        if self._start is None:
            self._file.write(data)
            return
        self._start += data
        pixels = self._pixels(self._start)
        if pixels is not None:
            header = self._start[:_PNG_HEADER] if self._is_png else b""
            self._file.write(header + self._head + pixels)
            self._start = None


_PNG_HEADER = 33
"""Bytes of signature and IHDR."""


def _with_header_alone(start: bytes) -> bytes | None:
    """A PNG from its pixels on; None while they have not come."""
    at = start.find(b"IDAT", _PNG_HEADER) - 4
    return start[at:] if at > 0 else None


def _stored_png(size: Size, bands: Iterator[Samples]) -> Iterator[bytes]:
    """The rows as a PNG that is not compressed: what libvips can read from a stream, at any depth
    and number of channels, without looking back.
    """
    store = zlib.compressobj(level=0)
    for number, samples in enumerate(bands):
        rows, _, channels = samples.shape
        bits = samples.dtype.itemsize * 8
        if number == 0:
            header = struct.pack(">IIBB3x", *size.wh, bits, _COLOUR_TYPES[channels])
            yield png.SIGNATURE + png.chunk(b"IHDR", header)
        packed = samples.astype(samples.dtype.newbyteorder(">")).reshape(rows, -1)
        unfiltered = b"".join(b"\0" + row.tobytes() for row in packed)
        yield png.chunk(b"IDAT", store.compress(unfiltered))
    yield png.chunk(b"IDAT", store.flush()) + png.chunk(b"IEND", b"")
