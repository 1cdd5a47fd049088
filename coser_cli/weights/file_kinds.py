"""What a file is, by its first and last bytes: weights of some format, or what came instead."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

from coser_cli.errors import WeightsError, reason_of, shown

HEAD_BYTES = 512
AGAIN = "fetch it again"
_MOST_HEADER = 100_000_000  # safetensors' own limit
_MARKUP = re.compile(rb"\s*<(!doctype\s|html|head|body|\?xml|!--)", re.IGNORECASE)
_POINTER = b"version https://git-lfs.github.com/spec/"


def is_page(head: bytes) -> bool:
    """Whether a file that begins so is an HTML page."""
    return bool(_MARKUP.match(head.removeprefix(b"\xef\xbb\xbf")))


def not_weights(head: bytes) -> str:
    """What a file that begins so certainly is instead of weights, in words; "" for all others."""
    if is_page(head):
        return "an HTML page, not weights: a login, quota or error page came in their place"
    if head.startswith(_POINTER):
        return "a Git LFS pointer, a few lines of text, instead of the weights it points to"
    return ""


def file_kind(path: Path, name: str | None = None) -> str:
    """What a file is: "safetensors", "zip" (torch) or "pickle" (torch before 1.6).

    Raises WeightsError, which calls the file `name`, for everything else and for half a file.
    """
    name = name or shown(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
    except OSError as error:
        raise WeightsError(f"cannot read {name}: {reason_of(error)}") from error
    if not head:
        raise WeightsError(f"{name} is empty", AGAIN)
    if head.startswith(b"PK\x03\x04"):
        _require_whole_zip(path, name)
        return "zip"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _MOST_HEADER:
        _require_whole_safetensors(path, size, name)
        return "safetensors"
    if head.startswith(b"\x80"):
        return "pickle"
    raise WeightsError(f"{name} is {not_weights(head) or _other_text(head)}", AGAIN)


def require_format(path: Path, form: str, name: str | None = None) -> str:
    """The kind of a file that a manifest says has the format `form`.

    safetensors do in place of a pickle, not the other way. Raises WeightsError.
    """
    kind = file_kind(path, name)
    if form == "safetensors" != kind:
        raise WeightsError(
            f"{name or shown(path)} is not a safetensors file but a pickle, which could run code",
            "get the safetensors file",
        )
    return kind


def _other_text(head: bytes) -> str:
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"{", b"[")):
        return "a text in JSON, not weights"
    if not head.strip(b"\0"):
        return "nothing but zeros at its beginning: it was not written completely"
    return "neither safetensors nor a checkpoint of torch"


def _require_whole_zip(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(
            f"{name} is truncated or damaged: a zip archive without its end", AGAIN
        ) from error
    if any(entry.filename.endswith("/constants.pkl") for entry in entries):
        raise WeightsError(
            f"{name} is a TorchScript program, not weights", "get the weights themselves"
        )
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise WeightsError(
            f"{name} is a compressed zip archive, not a checkpoint of torch",
            "if the weights are inside it, unpack it",
        )


def _require_whole_safetensors(path: Path, size: int, name: str) -> None:
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, size))
    try:
        ends = [v["data_offsets"][1] for k, v in json.loads(header).items() if k[:2] != "__"]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise WeightsError(f"{name} has a truncated or damaged header", AGAIN) from error
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        fault = "is truncated" if size < whole else "is damaged"
        raise WeightsError(
            f"{name} {fault}: it has {size} bytes, its header speaks of {whole}", AGAIN
        )
