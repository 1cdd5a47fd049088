"""Rows → compressed file by libvips, which never holds more than a few of them."""

from __future__ import annotations

import queue
import struct
import threading
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

from coser_cli.imageio.file_heads import chunks_of_png
from coser_cli.imageio.photo import Samples

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_POLL_SECONDS = 0.1


def encode(
    file: BinaryIO,
    kind: Literal["png", "jpeg"],
    head: bytes,
    size: tuple[int, int],
    bands: Iterator[Samples],
    options: dict[str, Any],
) -> None:
    """Write bands of rows `(rows, W, C)`, uint8 or uint16, of a picture of `size` (width, height).

    `head` are a PNG's chunks before the pixels, or a JPEG's beginning; `options` are those of
    libvips' saver. The bands are asked for in the calling thread, so that an interruption ends the
    work at once. Raises OSError.
    """
    import pyvips

    line = _Line(_Inserting(file, kind, head))
    source, target = pyvips.SourceCustom(), pyvips.TargetCustom()
    source.on_read(line.read)
    target.on_write(line.write)
    arguments = line, kind, source, target, options
    encoder = threading.Thread(target=_run_vips, args=arguments, name="coser-encode")
    encoder.start()
    try:
        for piece in _stored_png(size, bands):
            line.send(piece)
        line.finish()
    finally:
        line.close()
        encoder.join()
    if line.error is not None:
        raise line.error


def _run_vips(line: _Line, kind: str, source: Any, target: Any, options: dict[str, Any]) -> None:
    import pyvips

    try:
        image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="truncated")
        getattr(image, f"{kind}save_target")(target, keep="none", **options)
    except Exception as error:  # nothing above this thread could catch it
        line.error = line.error or OSError(" ".join(str(error).split()))
    finally:
        line.ended.set()


class _Line:
    """Between the thread that has the rows and libvips, which asks for bytes and gives bytes."""

    def __init__(self, sink: _Inserting) -> None:
        self.error: OSError | None = None
        self.ended = threading.Event()
        self._closed = threading.Event()
        self._sink = sink
        self._waiting: queue.Queue[bytes] = queue.Queue(maxsize=1)
        self._rest = memoryview(b"")

    def send(self, data: bytes) -> None:
        """Hand bytes over, waiting while there are enough; OSError if the encoder has given up."""
        while not self.ended.is_set():
            try:
                self._waiting.put(data, timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return
        raise self.error or OSError("the encoder ended early")

    def finish(self) -> None:
        """Everything was sent: wait for the encoder."""
        self.send(b"")
        while not self.ended.wait(_POLL_SECONDS):
            pass

    def close(self) -> None:
        """No more will come; an encoder that still runs shall stop."""
        self._closed.set()

    def read(self, count: int) -> bytes:
        """For libvips: at most `count` next bytes, none at the end."""
        while not self._rest:
            try:
                data = self._waiting.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                if self._closed.is_set():
                    return b""
                continue
            if not data:
                return b""
            self._rest = memoryview(data)
        taken, self._rest = self._rest[:count], self._rest[count:]
        return bytes(taken)

    def write(self, data: bytes) -> int:
        """For libvips: how many bytes were written, -1 for an error."""
        if self._closed.is_set():
            return -1
        try:
            self._sink.write(bytes(data))
        except OSError as error:
            self.error = error
            return -1
        return len(data)


class _Inserting:
    """A file that is given its metadata while its beginning is written."""

    def __init__(self, file: BinaryIO, kind: str, head: bytes) -> None:
        self._file = file
        self._kind = kind
        self._head = head
        self._start: bytes | None = b""

    def write(self, data: bytes) -> None:
        """Append; raises OSError."""
        if self._start is None:
            self._file.write(data)
            return
        self._start += data
        replaced = self._replaced(self._start)
        if replaced is not None:
            self._file.write(replaced)
            self._start = None

    def _replaced(self, start: bytes) -> bytes | None:
        """The beginning with our metadata in it; None while it is not complete."""
        if self._kind == "jpeg":
            return None if len(start) < 2 else self._head + start[2:]
        before = start.find(b"IDAT") - 4
        if before < 0:
            return None
        kept = [chunk for kind, chunk in chunks_of_png(start[:before]) if kind != b"pHYs"]
        return b"".join([_PNG_SIGNATURE, *kept, self._head, start[before:]])


def _stored_png(size: tuple[int, int], bands: Iterator[Samples]) -> Iterator[bytes]:
    """The rows as a PNG that is not compressed: what libvips can read from a stream, at any depth
    and number of channels, without looking back.
    """
    store = zlib.compressobj(level=0)
    for number, samples in enumerate(bands):
        rows, _, channels = samples.shape
        bits = samples.dtype.itemsize * 8
        if number == 0:
            header = struct.pack(">IIBB3x", *size, bits, _PNG_COLOUR_TYPES[channels])
            yield _PNG_SIGNATURE + _chunk(b"IHDR", header)
        packed = samples.astype(samples.dtype.newbyteorder(">")).reshape(rows, -1)
        unfiltered = b"".join(b"\0" + row.tobytes() for row in packed)
        yield _chunk(b"IDAT", store.compress(unfiltered))
    yield _chunk(b"IDAT", store.flush()) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
