"""Webdataset shards by place: which sample lies where in which tar.

Training draws pictures in an order of its own, goes on in the middle of it, and needs other
pictures of the same class: streams cannot do that. So each shard is read through once; where its
samples are is kept beside it (`SHARD.tar.index.json`, if the folder can be written).
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coser_cli.errors import UsageError

PICTURES = ("jpg", "jpeg", "png", "webp")
VERSION = 1


@dataclass(frozen=True)
class Entry:
    """A picture's bytes in a tar, and the text and class of its sample."""

    shard: Path
    name: str
    offset: int
    size: int
    caption: str | None
    label: str | None

    def read(self) -> bytes:
        """The bytes of the picture's file."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def read_index(shards: list[Path]) -> list[Entry]:
    """All pictures of the shards, in their order there.

    Raises:
        UsageError: a shard cannot be read.
    """
    return [Entry(shard, **fields) for shard in shards for fields in _indexed(shard)]


def _indexed(shard: Path) -> list[dict[str, Any]]:
    status = shard.stat()
    stamp = [VERSION, status.st_size, status.st_mtime_ns]
    kept = shard.with_name(f"{shard.name}.index.json")
    with suppress(OSError, ValueError, KeyError):
        stored = json.loads(kept.read_text(encoding="utf-8"))
        if stored["of"] == stamp:
            samples: list[dict[str, Any]] = stored["samples"]
            return samples
    try:
        samples = list(_read_samples(shard))
    except (tarfile.TarError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{shard}: not a plain tar as webdataset writes it ({error})") from error
    with suppress(OSError):  # a folder that cannot be written is read through each time
        part = kept.with_name(f"{kept.name}.part")
        part.write_text(json.dumps({"of": stamp, "samples": samples}), encoding="utf-8")
        part.replace(kept)
    return samples


def _read_samples(shard: Path) -> Iterator[dict[str, Any]]:
    """A sample is a run of files whose names are equal up to the first dot (webdataset's rule)."""
    from webdataset.tariterators import base_plus_ext

    sample: dict[str, Any] = {}
    with tarfile.open(shard, "r:") as tar:
        for member in tar:
            key, suffix = base_plus_ext(member.name) if member.isfile() else (None, None)
            if key is None:
                continue
            if sample.get("name") != f"{shard.name}/{key}":
                yield from [sample] if "offset" in sample else []
                sample = {"name": f"{shard.name}/{key}", "caption": None, "label": None}
            if suffix in PICTURES:
                sample |= {"offset": member.offset_data, "size": member.size}
            elif suffix in ("txt", "cls"):
                file = tar.extractfile(member)
                text = file.read().decode("utf-8").strip() if file else ""
                sample["caption" if suffix == "txt" else "label"] = text or None
    yield from [sample] if "offset" in sample else []
