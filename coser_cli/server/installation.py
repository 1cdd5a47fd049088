"""What tells one installation from another: a server only serves commands of its own."""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from coser_cli import version


@cache
def installation() -> str:
    """Digits that change with the program's version, place or code, with Python, and with torch.

    A command that another code answers could get other bytes than its own.
    """
    folder = Path(version.__file__).parent
    newest = max(
        _changed(Path(root, name))
        for root, _, names in os.walk(folder)
        for name in names
        if name.endswith(".py")
    )
    torch = find_spec("torch")  # imports nothing
    place = "" if torch is None else f"{torch.origin} {_changed(Path(torch.origin or ''))}"
    words = version.__version__, sys.version, sys.prefix, str(folder), str(newest), place
    return hashlib.sha256("\n".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _changed(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
