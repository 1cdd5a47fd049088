"""A weights folder and its files of a manifest: downloads, conversions, models, their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from coser_cli.errors import WeightsError, reading, shown
from coser_cli.weights.fetch.partial import CHUNK, Part, cannot_write
from coser_cli.weights.install.record import FetchedFile, Record, Stamp, now
from coser_cli.weights.install.swap import restore
from coser_cli.weights.lock import read_lock
from coser_cli.weights.manifest import Manifest, Variant, WeightFile
from coser_cli.weights.store import MODEL_FILE

LOCK = ".download.lock"

OnBytes = Callable[[int, int], None]


class State(StrEnum):
    """How far a file is."""

    INSTALLED = "installed"  # part of an installed model
    VERIFIED = "verified"  # at its place, and known to be right
    UNVERIFIED = "unverified"  # at its place, not looked into yet
    PARTIAL = "partial"
    ABSENT = "absent"


class Inventory:
    """What `root` holds of the files in `manifest`."""

    def __init__(self, manifest: Manifest, root: Path) -> None:
        self.manifest = manifest
        self.root = root
        self._restore()
        self.records = Record.read(root)

    def _restore(self) -> None:
        """Put back models that a killed installation had just moved aside, unless another process
        is at work there.
        """
        if any(self.root.glob(".*.former")):
            with suppress(Timeout, OSError), FileLock(self.root / LOCK, timeout=0):
                for variant in self.manifest.variants.values():
                    restore(self.folder(variant))

    @contextmanager
    def locked(self, say: Callable[[str], None]) -> Iterator[None]:
        """A block in which no other process writes into the folder; waits for one that does. Reads
        the record anew. Raises WeightsError where the folder cannot be written to.
        """
        lock = FileLock(self.root / LOCK)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                say(f"another download writes into {shown(self.root)}; waiting for it to end")
                lock.acquire(poll_interval=0.1)
        except OSError as error:
            raise cannot_write(self.root, error) from error
        try:
            self.records = Record.read(self.root)
            yield
        finally:
            lock.release()

    def file(self, name: str) -> WeightFile:
        """The file of that id."""
        return self.manifest.files[name]

    def path(self, name: str) -> Path:
        """Where the published file lies or would lie."""
        return self.root / self.file(name).dest

    def folder(self, variant: Variant) -> Path:
        """Where the model lies or would lie."""
        return self.root / variant.folder

    def single(self, names: Iterable[str]) -> list[str]:
        """The ids with each folder of files replaced by its files."""
        return [each for name in names for each in (self.file(name).parts or (name,))]

    def sources_in(self, name: str, source: Path) -> dict[str, Path]:
        """The single files of `name` by id, where `source` is the file or the folder of files."""
        parts = self.file(name).parts
        if not parts:
            return {name: source}
        below = {part: self.path(part).relative_to(self.path(name)) for part in parts}
        return {part: source / place for part, place in below.items()}

    def known_hash(self, name: str) -> str | None:
        """The hash that the file must have: the manifest's, else that of first use."""
        record = self.records.files.get(name)
        return self.file(name).sha256 or (record.sha256 if record else None)

    def way_round(self, name: str) -> str:
        """The end of a hint: how to take another file, where the hash is that of first use."""
        if self.file(name).sha256:
            return ""
        lock = shown(self.records.path)
        return f"; to take this one from now on, remove the entry {name!r} from {lock}"

    def bytes_of(self, name: str) -> int | None:
        """Size of the published file, if it is known or recorded."""
        record = self.records.files.get(name)
        return self.file(name).size or (record.size if record else None)

    def arrived(self, name: str) -> int:
        """Bytes of an unfinished download."""
        stamp = Stamp.of(Part(self.path(name)).path)
        return stamp.size if stamp else 0

    def state(self, name: str, variant: Variant | None = None) -> State:
        """How far a single file is, as a part of `variant` where one is given. Hashes nothing."""
        if variant is not None and self.is_in(name, variant):
            return State.INSTALLED
        path = self.path(name)
        if path.is_file():
            record = self.records.files.get(name)
            known = record and record.is_still(path) and record.sha256 == self.known_hash(name)
            return State.VERIFIED if known else State.UNVERIFIED
        return State.PARTIAL if self.arrived(name) else State.ABSENT

    def is_in(self, name: str, variant: Variant) -> bool:
        """Whether the installed model was made with this very file, as its own lock file says,
        and has all its files in their length.
        """
        origin = self._origin_in(name, variant)
        hashes = {each.get("sha256") for each in origin.values()}
        return bool(hashes) and self.known_hash(name) in hashes | {None}

    def _origin_in(self, name: str, variant: Variant) -> Mapping[str, Mapping[str, Any]]:
        """What the lock of an installed model says about the file; empty if it was made without,
        or if a file of the model is missing or cut off."""
        folder = self.folder(variant)
        lock = read_lock(folder) if (folder / MODEL_FILE).is_file() else None
        if lock is None:
            return {}
        for file, facts in lock["files"].items():
            stamp = Stamp.of(folder / file)
            if stamp is None or stamp.size != facts.get("bytes"):
                return {}
        origin: Mapping[str, Any] = lock.get("origins", {}).get(name, {})
        return origin.get("files", {})

    def installed_hash(self, name: str) -> tuple[int, str] | None:
        """Size and SHA-256 of the published file that was fetched, imported or installed."""
        if (record := self.records.files.get(name)) is not None:
            return record.size, record.sha256
        for variant in self.manifest.variants.values():
            for facts in self._origin_in(name, variant).values():
                return int(facts["bytes"]), str(facts["sha256"])
        return None

    def substitute(self, name: str) -> str | None:
        """The id of the file present that serves as `name`, itself first."""
        for candidate in (name, *self.file(name).alternatives):
            if all(self.state(each) is State.VERIFIED for each in self.single([candidate])):
                return candidate
        return None

    def check(self, name: str, on_bytes: OnBytes) -> bool:
        """Hash the file at its place; whether it is the right one, which is then recorded. A file
        without a known hash that the user put there is accepted.
        """
        path, known = self.path(name), self.known_hash(name)
        size = self.file(name).size
        if size is not None and path.stat().st_size != size:
            return False
        sha256 = hash_of(path, on_bytes)
        if known is not None and sha256 != known:
            return False
        self.record(name, sha256, f"found at {path}", must=False)
        return True

    def record(self, name: str, sha256: str, url: str, *, must: bool = True) -> None:
        """Note a verified file; `must`: raise WeightsError where the folder is read-only."""
        stamp = Stamp.of(self.path(name))
        assert stamp is not None
        self.records.files[name] = FetchedFile(stamp.size, sha256, stamp.mtime_ns, url, now())
        self._save(must=must)

    def _save(self, *, must: bool) -> None:
        if must:
            self.records.save()
            return
        with suppress(WeightsError):
            self.records.save()


def hash_of(path: Path, on_bytes: OnBytes) -> str:
    """SHA-256 of a file. Raises WeightsError if it cannot be read."""
    digest, done = hashlib.sha256(), 0
    with reading(path, WeightsError), path.open("rb") as file:
        total = path.stat().st_size
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            on_bytes(done, total)
    return digest.hexdigest()
