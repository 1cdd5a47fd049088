"""One file from the first of its sources that delivers it: resumed, retried, hashed, complete.

The final hash decides: where it is known, a download begun at one source goes on from another.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from coser_cli.errors import SourceError, WeightsError, shown
from coser_cli.weights.fetch.hosts import Hosts, Patience
from coser_cli.weights.fetch.http import (
    PAGE_BYTES,
    Transient,
    Web,
    content_range,
    page_of,
    refuse_status,
    validator,
)
from coser_cli.weights.fetch.pages import confirmed, refused
from coser_cli.weights.fetch.partial import Part, Provenance
from coser_cli.weights.file_kinds import is_page, not_weights, require_format
from coser_cli.weights.manifest import Source, WeightFile
from coser_cli.weights.urls import display_url


@dataclass(frozen=True)
class Fetched:
    """A file that is there, as it was verified."""

    path: Path
    size: int
    sha256: str
    url: str


@dataclass(frozen=True)
class Listener:
    """What the download calls: `progress(bytes so far, total or None)`, and lines of text."""

    progress: Callable[[int, int | None], None] = lambda done, total: None
    say: Callable[[str], None] = lambda text: None


class _Restart(Exception):  # noqa: N818
    """The bytes so far are of no use; they have been dropped."""


class Download:
    """One file on its way to `target`.

    `sha256` is the hash that it must have, None if none is known. `room(total)` are the bytes that
    must be free beside the rest of a file of `total` bytes, for its conversion. `inspect(path)`
    raises WeightsError if a file without a known hash is another.
    """

    def __init__(
        self,
        file: WeightFile,
        target: Path,
        hosts: Hosts,
        patience: Patience,
        *,
        sha256: str | None = None,
        room: Callable[[int], int] = lambda total: 0,
        inspect: Callable[[Path], None] = lambda path: None,
        listener: Listener | None = None,
    ) -> None:
        self._file = file
        self._part = Part(target)
        self._hosts = hosts
        self._patience = patience
        self._sha256 = sha256
        self._room = room
        self._inspect = inspect
        self._listener = listener or Listener()
        self._address = ""
        self._is_drive = False

    def run(self) -> Fetched:
        """Fetch and verify. Raises WeightsError where no source delivers, or nothing fits.

        What has arrived stays as `.part`, also after an interruption; a file whose hash is wrong
        is kept as `.bad`.
        """
        failures: list[SourceError] = []
        size = self._file.size
        with (
            Web(self._hosts, self._patience) as web,
            self._part.open(lambda done: self._listener.progress(done, size)),
        ):
            for source in self._file.sources:
                try:
                    return self._from(web, source)
                except SourceError as error:
                    failures.append(error)
                    self._listener.say(f"{self._file.id}: {self._failure(source, error)}")
        raise self._all_failed(failures)

    def _failure(self, source: Source, error: SourceError) -> str:
        return f"{display_url(self._hosts.address(source))}: {error.message}"

    def _all_failed(self, failures: list[SourceError]) -> WeightsError:
        file = self._file
        if not failures:
            return WeightsError(
                f"{file.id}: the manifest names no source",
                f"give it with --import FILE --as {file.id}",
            )
        reasons = "; ".join(map(self._failure, file.sources, failures))
        hints = dict.fromkeys(error.hint for error in failures if error.hint)
        hints[f"a file fetched elsewhere: --import FILE --as {file.id}"] = None
        return WeightsError(f"{file.id} could not be fetched: {reasons}", "; ".join(hints))

    def _from(self, web: Web, source: Source) -> Fetched:
        """The whole file from one source, from scratch if what was there before spoilt it."""
        self._address = self._hosts.address(source)
        self._is_drive = source.type == "gdrive"
        inherited = self._part.size > 0
        self._transfer_patiently(web)
        try:
            return self._verified()
        except SourceError as error:
            if not inherited:
                raise
            self._listener.say(f"{self._file.id}: {error.message}; once more from the beginning")
        self._transfer_patiently(web)
        return self._verified()

    def _transfer_patiently(self, web: Web) -> None:
        """Requests until the file is complete; `retries` of them in a row may bring no progress."""
        failed, restarts, most = 0, 0, self._part.size
        while True:
            try:
                return self._transfer(web, self._address)
            except _Restart:
                restarts += 1
                if restarts > 1:
                    raise SourceError("the file changes while it is read") from None
            except Transient as trouble:
                failed = 1 if self._part.size > most else failed + 1
                most = max(most, self._part.size)
                self._wait(trouble, failed)

    def _wait(self, trouble: Transient, failed: int) -> None:
        """Until the next try. Raises SourceError if there is none."""
        if failed > self._patience.retries:
            raise SourceError(f"{trouble}, {failed} times in a row") from trouble
        pause = trouble.wait
        if pause is None:
            pause = self._patience.backoff * 2 ** (failed - 1) * random.uniform(0.5, 1.0)
        if pause > self._patience.longest_wait:
            raise SourceError(f"{trouble}, and it asks to wait {pause:.0f} seconds") from trouble
        self._listener.say(f"{self._file.id}: {trouble}; trying again in {pause:.1f} s")
        time.sleep(pause)

    def _transfer(self, web: Web, url: str, *, is_confirmed: bool = False) -> None:
        """One request for what is missing. `asked`: Drive's question has been answered."""
        if self._complete():
            return None
        with web.get(url, self._range()) as response:
            page = page_of(response)
            if page is None:
                return self._receive(response)
            follow = (
                confirmed(page, str(response.url)) if self._is_drive and not is_confirmed else None
            )
            if follow is None:
                raise refused(page)
        return self._transfer(web, follow, is_confirmed=True)

    def _complete(self) -> bool:
        """Whether the part has all its bytes; one that has more is dropped."""
        expected = self._file.size
        if expected is not None and self._part.size > expected:
            self._part.restart()
        return expected is not None and self._part.size == expected

    def _range(self) -> dict[str, str]:
        """Headers that ask for the missing bytes, if those that are there can be used."""
        part, known = self._part, self._sha256 is not None
        same = part.provenance.url == self._address
        if part.size and not known and not same:
            part.restart()
        if not part.size:
            return {}
        headers = {"Range": f"bytes={part.size}-"}
        if same and part.provenance.validator:
            headers["If-Range"] = part.provenance.validator
        return headers

    def _receive(self, response: httpx.Response) -> None:
        """Write the body of a good answer. Raises what the status stands for otherwise."""
        refuse_status(response)
        if response.status_code == 416:
            self._unsatisfiable(response)
            return
        if response.headers.get("content-encoding", "identity") != "identity":
            raise SourceError("the server compresses the file, though asked not to")
        total = self._place(response)
        size = self._file.size
        if size is not None and total is not None and total != size:
            raise SourceError(f"the file there has {total} bytes, not {size}")
        total = total if size is None else size
        self._need_space(total)
        self._part.belongs_to(Provenance(self._address, validator(response), total, self._sha256))
        self._write(response, total)

    def _place(self, response: httpx.Response) -> int | None:
        """Total size by the response; the part is cut to where the response begins."""
        part = self._part
        if response.status_code == 200:
            if part.size:
                part.restart()
            length = response.headers.get("content-length", "")
            return int(length) if length.isdigit() else None
        if response.status_code != 206 or not part.size:
            raise SourceError(f"unexpected answer {response.status_code}")
        start, total = content_range(response)
        if start != part.size:
            raise SourceError(f"asked for byte {part.size} onward, it sent from {start}")
        before, now = part.provenance, validator(response)
        known = before.url == self._address and before.validator and now
        changed = known and before.validator != now
        resized = None not in (before.size, total) and before.size != total
        if changed or (resized and self._sha256 is None):
            part.restart()
            raise _Restart
        return total

    def _unsatisfiable(self, response: httpx.Response) -> None:
        """416: nothing lies beyond what is there; complete, or no part of this file."""
        total = response.headers.get("content-range", "").rpartition("/")[2]
        if total.isdigit() and int(total) == self._part.size and self._file.size is None:
            return
        self._part.restart()
        raise _Restart

    def _need_space(self, total: int | None) -> None:
        """Raise WeightsError before a byte is written that would not fit."""
        if total is None:
            return
        folder = self._part.path.parent
        free = shutil.disk_usage(folder).free
        needed = total - self._part.size + self._room(total)
        if needed > free:
            raise WeightsError(
                f"{self._file.id} and its conversion need {needed} bytes in {shown(folder)}, "
                f"where {free} are free",
                "free some space, or choose another folder by --dest",
            )

    def _write(self, response: httpx.Response, total: int | None) -> None:
        for chunk in self._body(response):
            if total is not None and self._part.size + len(chunk) > total:
                self._part.restart()
                raise SourceError(f"it sends more than the {total} bytes it should have")
            self._part.write(chunk)
            self._listener.progress(self._part.size, total)
        if total is not None and self._part.size < total:
            raise Transient(f"the connection ended after {self._part.size} of {total} bytes")
        if not self._part.size:
            raise SourceError("the file there is empty")

    def _body(self, response: httpx.Response) -> Iterator[bytes]:
        """The chunks of a body, once the first bytes of the file are seen to be no page."""
        chunks = (chunk for chunk in response.iter_raw() if chunk)
        if self._part.size == 0:
            first = next(chunks, b"")
            if is_page(first):
                raise refused((first + b"".join(chunks))[:PAGE_BYTES].decode("utf-8", "replace"))
            if other := not_weights(first):
                raise SourceError(other, "name the file itself, not a checkout without LFS")
            yield first
        yield from chunks

    def _verified(self) -> Fetched:
        """The complete file at its place. Raises SourceError if it is another."""
        part, sha256 = self._part, self._part.sha256
        if self._sha256 is not None and sha256 != self._sha256:
            bad = part.set_aside()
            first_use = (
                "" if self._file.sha256 else "the hash is that of the first file taken for it"
            )
            raise SourceError(
                f"the SHA-256 is {sha256}, not {self._sha256}; the file is kept as {shown(bad)}",
                first_use
                and f"{first_use}: to take another, remove its entry in weights.lock.json",
            )
        if self._sha256 is None:
            self._check_format()
        size = part.size
        part.finish()
        return Fetched(part.target, size, sha256, display_url(self._address))

    def _check_format(self) -> None:
        """Where no hash is known, the file must at least look like weights."""
        try:
            require_format(self._part.path, self._file.format, self._file.id)
            self._inspect(self._part.path)
        except WeightsError as error:
            bad = self._part.set_aside()
            raise SourceError(f"{error.message}; it is kept as {shown(bad)}") from error
