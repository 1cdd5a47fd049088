"""Whether a file looks like weights of its format, by its first and last bytes: nothing is loaded.

Only asked where no hash says more.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from coser_cli.errors import WeightsError, shown
from coser_cli.weights.pages import is_markup, refuse_pointer
from coser_cli.weights.web import SourceError

HEAD_BYTES = 512
_MOST_HEADER = 100_000_000  # safetensors' own limit
_PICKLE = b"\x80"  # torch.save before 1.6 wrote bare pickles
_ZIP = b"PK\x03\x04"


def refuse_page(head: bytes, name: str) -> None:
    """Raise WeightsError if a file of the user's begins like a page or an LFS pointer."""
    if is_markup(head):
        hint = "it is what a browser saved in place of the download; fetch it again"
        raise WeightsError(f"{name} is an HTML page, not weights", hint)
    try:
        refuse_pointer(head)
    except SourceError as error:
        raise WeightsError(f"{name} is {error.message}", error.hint) from error


def refuse_other_format(path: Path, form: str, name: str | None = None) -> None:
    """Raise WeightsError if `path` is no whole file of the manifest format `form`."""
    name = name or shown(path)
    try:
        problem = _safetensors(path) if form == "safetensors" else _pickled(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"cannot read {name}: {reason}") from error
    if problem:
        raise WeightsError(f"{name} is no {form} file: {problem}", "fetch it again")


def _safetensors(path: Path) -> str | None:
    """What is wrong: header length, header, or a length other than the header's offsets say."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(size - 8, _MOST_HEADER):
            return "its header does not fit into it"
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"]
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return "its header cannot be read"
    told = 8 + length + max(ends, default=0)
    return None if told == size else f"it has {size} bytes, and its header tells of {told}"


def _pickled(path: Path) -> str | None:
    """What is wrong: neither a whole zip archive nor a bare pickle."""
    with path.open("rb") as file:
        head = file.read(4)
    if head == _ZIP:
        return None if zipfile.is_zipfile(path) else "it is cut off"
    return None if head[:1] == _PICKLE else "it begins like something else"
