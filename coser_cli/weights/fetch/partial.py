"""A download that is not finished: `NAME.part`, and `NAME.part.json` that says part of what."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from coser_cli.errors import WeightsError, reason_of, shown

CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}


@dataclass(frozen=True)
class Provenance:
    """Where a part comes from. `validator` is a strong ETag or a date, as If-Range takes it."""

    url: str = ""
    validator: str = ""
    size: int | None = None
    sha256: str | None = None


def cannot_write(path: Path, error: OSError) -> WeightsError:
    """The error for a folder that takes no more bytes, or none at all."""
    if error.errno in _FULL:
        hint = "free some space and run the same command again; what is there is kept"
        return WeightsError(f"no space left for {shown(path)}", hint)
    hint = "check the folder and its permissions, or choose another by --dest"
    return WeightsError(f"cannot write {shown(path)}: {reason_of(error)}", hint)


class Part:
    """The bytes so far of `target`, and their SHA-256; a context manager.

    Every byte is in the file when `write` returns, so that a killed process loses none.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.provenance = Provenance()
        self.size = 0
        self._digest = hashlib.sha256()
        self._note = target.with_name(f"{target.name}.part.json")

    def open(self, on_read: Callable[[int], None]) -> Part:
        """Open, and hash what is there; `on_read` gets the bytes so far. Raises WeightsError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab+", buffering=0)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.provenance = self._read_note()
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._digest.update(chunk)
            self.size += len(chunk)
            on_read(self.size)
        return self

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        if self.size == 0:
            self._forget()

    @property
    def sha256(self) -> str:
        """Hash of the bytes so far."""
        return self._digest.hexdigest()

    def write(self, chunk: bytes) -> None:
        """Append. Raises WeightsError where there is no space."""
        try:
            view = memoryview(chunk)
            while view:  # an unbuffered file may take less than all
                written = self._file.write(view)
                self._digest.update(view[:written])
                self.size += written
                view = view[written:]
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def restart(self) -> None:
        """Drop all bytes."""
        self._file.truncate(0)
        self._file.seek(0)
        self.size = 0
        self._digest = hashlib.sha256()

    def belongs_to(self, provenance: Provenance) -> None:
        """Note where the bytes come from, before the first of them is written."""
        self.provenance = provenance
        try:
            self._note.write_text(json.dumps(asdict(provenance)) + "\n", encoding="utf-8")
        except OSError as error:
            raise cannot_write(self._note, error) from error

    def finish(self) -> None:
        """The part becomes the target, at once and for good."""
        try:
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self.path, self.target)
        except OSError as error:
            raise cannot_write(self.target, error) from error
        self._note.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Keep the bytes as `NAME.bad`, and begin again with none."""
        bad = self.target.with_name(f"{self.target.name}.bad")
        try:
            self._file.close()
            os.replace(self.path, bad)
            self._file = self.path.open("ab+", buffering=0)
        except OSError as error:
            raise cannot_write(bad, error) from error
        self.size = 0
        self._digest = hashlib.sha256()
        return bad

    def _read_note(self) -> Provenance:
        try:
            return Provenance(**json.loads(self._note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Provenance()  # good only where a hash decides

    def _forget(self) -> None:
        for path in (self.path, self._note):
            with suppress(OSError):
                path.unlink(missing_ok=True)
