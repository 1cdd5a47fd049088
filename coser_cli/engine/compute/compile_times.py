"""What compiling took and brought, remembered from run to run, and whether that pays."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from coser_cli.imageio.atomic import atomic_file

MOST = 500
"""Entries that are kept; the oldest go first."""


@dataclass(frozen=True)
class Measured:
    """Seconds: a network's call, one a step, eagerly and compiled; compiling, which is quicker
    where what it makes lies in the cache."""

    eager: float
    compiled: float
    compiling: float

    @property
    def break_even(self) -> float:
        """Calls from which on compiling takes less time than it saves; infinite where it does not
        save any."""
        saved = self.eager - self.compiled
        return math.ceil(self.compiling / saved) if saved > 0 else math.inf

    @property
    def words(self) -> str:
        """As in: `compiled in 41 s: a call takes 0.21 s instead of 0.30 s, which pays from about
        460 calls on`."""
        call = f"a call takes {self.compiled:.2g} s instead of {self.eager:.2g} s"
        pays = "which does not pay"
        if math.isfinite(self.break_even):
            pays = f"which pays from about {_rounded(self.break_even)} calls on"
        return f"compiled in {self.compiling:.2g} s: {call}, {pays}"


def _rounded(calls: float) -> str:
    """Two digits: the seconds are no better known."""
    unit = 10 ** max(0, len(str(int(calls))) - 2)
    return f"{math.ceil(calls / unit) * unit:,}"


def key_of(parts: Sequence[object]) -> str:
    """One name for all that a measurement depends on."""
    return hashlib.sha256(repr(tuple(parts)).encode()).hexdigest()[:24]


class Remembered:
    """Measurements in a JSON file, by key; a file that cannot be read or written is as an empty
    one: it costs a line that could have been said beforehand, and nothing else."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def get(self, key: str) -> Measured | None:
        """What was measured the last time."""
        with suppress(KeyError, TypeError, ValueError):
            found = Measured(**self._read()[key])
            if all(seconds > 0 for seconds in asdict(found).values()):
                return found
        return None

    def put(self, key: str, measured: Measured) -> None:
        """Remember it, as the newest."""
        known = self._read()
        known.pop(key, None)
        kept = [*known.items(), (key, asdict(measured))][-MOST:]
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(self._file) as file:
                file.write(json.dumps(dict(kept), indent=1).encode())

    def _read(self) -> dict[str, dict[str, float]]:
        with suppress(OSError, ValueError):
            found = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return found
        return {}
