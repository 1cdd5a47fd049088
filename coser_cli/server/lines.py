"""Lines of bounded length over a socket, with timeouts."""

from __future__ import annotations

import socket
from collections import deque

MAX_LINE = 16 * 2**20
"""Bytes of a line at most: some 50,000 jobs."""
_CHUNK = 2**16


class LineError(Exception):
    """What comes is no line: too long, or its end is missing."""


class SilenceError(Exception):
    """Nothing has come for too long."""


class Lines:
    """A connected stream socket, line by line. Only one thread reads; writing is one call."""

    def __init__(self, connection: socket.socket, max_line: int = MAX_LINE) -> None:
        self.connection = connection
        self._max_line = max_line
        self._part = bytearray()
        self._lines: deque[bytes] = deque()

    def close(self) -> None:
        """The other side reads an end."""
        self.connection.close()

    def write(self, line: bytes, timeout: float | None = None) -> None:
        """Send one line. Raises OSError where nobody reads it any more, or within `timeout`
        seconds."""
        self.connection.settimeout(timeout)
        self.connection.sendall(line + b"\n")

    def read(self, timeout: float | None = None) -> bytes | None:
        """The next line without its end; None where the other side has closed.

        Raises `SilenceError` where nothing comes for `timeout` seconds, `LineError`, and OSError.
        """
        while not self._lines:
            self.connection.settimeout(timeout)
            try:
                chunk = self.connection.recv(_CHUNK)
            except TimeoutError:
                raise SilenceError from None
            except ConnectionResetError:  # it ended without reading all that we sent
                chunk = b""
            if not chunk:
                if self._part:
                    raise LineError("the last line has no end")
                return None
            self._take(chunk)
        return self._lines.popleft()

    def _take(self, chunk: bytes) -> None:
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            self._lines.append(bytes(self._part) + line)
            self._part.clear()
        self._part += rest
        longest = max(map(len, (*self._lines, self._part)))
        if longest > self._max_line:
            raise LineError(f"a line has more than {self._max_line} bytes")
