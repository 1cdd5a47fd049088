"""What a file is, by its first and last bytes: weights of some format, or what came instead."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from coser_cli.errors import SourceError, WeightsError, shown

HEAD_BYTES = 512
_MOST_HEADER = 100_000_000  # safetensors' own limit
_PICKLE = b"\x80"  # torch.save before 1.6 wrote bare pickles
_ZIP = b"PK\x03\x04"
AGAIN = "fetch the file again"
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_MARKUP = re.compile(rb"\s*<(!doctype\s|html|head|body|\?xml|!--)", re.IGNORECASE)


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


def sniff(path: Path) -> str:
    """What a file is by its content: "safetensors", "zip" (torch) or "pickle" (torch's old format).

    Raises WeightsError for everything else, saying what it is where that can be known.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"cannot read {shown(path)}: {reason}") from error
    if not head:
        raise WeightsError(f"{shown(path)} is empty", AGAIN)
    if head.startswith(b"PK\x03\x04"):
        _require_whole_zip(path)
        return "zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= max(size, 1 << 20):
        _require_whole_safetensors(path, size)
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    raise WeightsError(f"{shown(path)} {_what_else(head)}", AGAIN)


def _what_else(head: bytes) -> str:
    """What a file that holds no weights is instead."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer: the weights themselves were not fetched"
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<")):
        return "is a web page, not weights: the server sent a login, quota or error page"
    if text.startswith((b"{", b"[")):
        return "is a text in JSON, not weights"
    if not head.strip(b"\0"):
        return "begins with nothing but zeros: it was not written completely"
    return "is neither safetensors nor a checkpoint of torch"


def _require_whole_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(
            f"{shown(path)} is truncated or damaged: a zip archive without its end", AGAIN
        ) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise WeightsError(
            f"{shown(path)} is a TorchScript program, not weights", "get the weights themselves"
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsError(
            f"{shown(path)} is a compressed zip archive, not a checkpoint of torch",
            "if the weights are inside it, unpack it",
        )


def _require_whole_safetensors(path: Path, size: int) -> None:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, size))
    try:
        entries = json.loads(header)
        ends = [v["data_offsets"][1] for k, v in entries.items() if k != "__metadata__"]
    except (ValueError, TypeError, KeyError, IndexError) as error:
        raise WeightsError(f"{shown(path)} has a truncated or damaged header", AGAIN) from error
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        fault = "is truncated" if size < whole else "is damaged"
        raise WeightsError(
            f"{shown(path)} {fault}: it has {size} bytes, its header speaks of {whole}", AGAIN
        )


def is_markup(head: bytes) -> bool:
    """Whether a file that begins so is a page."""
    return bool(_MARKUP.match(head.removeprefix(b"\xef\xbb\xbf")))


def refuse_pointer(head: bytes) -> None:
    """Raise SourceError if a file that begins so is a Git LFS pointer."""
    if head.startswith(LFS_POINTER):
        raise SourceError(
            "a Git LFS pointer, a few lines of text, instead of the weights it points to",
            "fetch the file itself, not a checkout without LFS",
        )
