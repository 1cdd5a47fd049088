"""`weights.lock.json`: what was fetched into a weights folder, by hash.

A file without a published hash is held to the one recorded here. Sizes and times of change spare
hashing a file again that nobody has touched.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from coser_cli.errors import WeightsError, reason_of, shown
from coser_cli.weights.fetch.partial import cannot_write

RECORD_FILE = "weights.lock.json"
SCHEMA = 1


@dataclass(frozen=True)
class Stamp:
    """Size and time of the last change of a file."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Stamp | None:
        """The stamp of a file, None if there is no such file."""
        try:
            status = path.stat()
        except OSError:
            return None
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class FetchedFile:
    """A published file as it was verified: from `url`, or imported from a path."""

    size: int
    sha256: str
    mtime_ns: int
    url: str
    time: str

    def is_still(self, path: Path) -> bool:
        """Whether the file has not been touched since."""
        return Stamp.of(path) == Stamp(self.size, self.mtime_ns)


@dataclass
class Record:
    """The record of one weights folder."""

    path: Path
    files: dict[str, FetchedFile] = field(default_factory=dict)

    @classmethod
    def read(cls, root: Path) -> Record:
        """The record of `root`, empty if there is none. Raises WeightsError if it is damaged."""
        path = root / RECORD_FILE
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.pop("schema") != SCHEMA:
                raise ValueError("another schema")
            files = {name: FetchedFile(**entry) for name, entry in data["files"].items()}
            return cls(path, files)
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise WeightsError(f"cannot read {shown(path)}: {reason_of(error)}") from error
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise WeightsError(
                f"{shown(path)} is damaged ({error})",
                "delete it: files are then hashed anew, and hashes of first use are forgotten",
            ) from error

    def save(self) -> None:
        """Write the record; it appears whole or stays as it was. Raises WeightsError."""
        files = {name: asdict(entry) for name, entry in self.files.items()}
        data = {"schema": SCHEMA, "files": files, "converted": {}}  # former versions want the key
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with part.open("w", encoding="utf-8") as file:
                file.write(json.dumps(data, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, self.path)
        except OSError as error:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise cannot_write(self.path, error) from error


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
