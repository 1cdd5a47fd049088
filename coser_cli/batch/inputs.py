"""What the user names → pictures: files, folders, patterns and lists; before anything is decoded.

In folders and patterns, hidden files are passed by, and so are this program's own part and record
files, which are hidden. Files in a folder are recognised by content; a file that only its name
calls a picture counts, too, so that a damaged photo is reported and not left out.
"""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from coser_cli.errors import CoserError, InputError, UsageError, reason_of, shown
from coser_cli.imageio.sniff import PICTURE_SUFFIXES, REFUSED, sniff

# Refused formats that are no photos; in a folder they are skipped silently.
_DOCUMENTS = ("PDF", "SVG")


@dataclass(frozen=True)
class Source:
    """One picture to read. `below`: its folder inside of the one that was named, kept under -o.

    `frame` counts from 0, None is the first of `frames`. `from_search`: found in a folder or by a
    pattern, and not named itself. `label` stands for the stem of its name where that would not do.
    """

    path: Path
    below: Path = Path()
    frame: int | None = None
    frames: int = 1
    from_search: bool = False
    label: str | None = None

    @property
    def stem(self) -> str:
        """What the names of its results begin with."""
        return self.label or self.path.stem


@dataclass
class Inputs:
    """Pictures in order, what failed on the way to others, and what the user should know."""

    sources: list[Source] = field(default_factory=list)
    problems: list[CoserError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find(words: Iterable[Path], *, recursive: bool = False, all_frames: bool = False) -> Inputs:
    """Expand files, folders (with `recursive`, what is below them) and patterns like `*.jpg`.

    A word that exists is itself, whatever characters it has. What a folder or a pattern has of this
    program's results is left out. Raises `UsageError` for a pattern that matches nothing, and for a
    folder without pictures where nothing else is named.
    """
    inputs, words = Inputs(), list(words)
    for word in words:
        if os.path.isdir(word):  # which a name that is too long does not end
            _Folder(word, inputs, recursive, alone=len(words) == 1).search()
        elif not os.path.lexists(_safe(word)) and glob.has_magic(str(word)):
            inputs.sources += _matches(word)
        else:
            inputs.sources.append(Source(word))
    _leave_out_results(inputs)
    if all_frames:
        inputs.sources = [each for source in inputs.sources for each in _frames(source)]
    return inputs


def _leave_out_results(inputs: Inputs) -> None:
    """Of what was found, and not named; raises `UsageError` where nothing is left."""
    if not any(each.from_search for each in inputs.sources):
        return
    from coser_cli.imageio.record import read_record  # takes longer than to plan one picture

    remaining = [
        each for each in inputs.sources if not each.from_search or read_record(each.path) is None
    ]
    count = len(inputs.sources) - len(remaining)
    inputs.sources = remaining
    if not count:
        return
    words = f"{count} result{'s' if count > 1 else ''} of earlier runs left out"
    advice = "name a result itself to enlarge it"
    if not remaining and not inputs.problems:
        raise UsageError(f"no pictures but results: {words}", advice)
    inputs.notes.append(f"{words} ({advice})")


def read_list(data: bytes) -> list[Path]:
    """Names, one a line, or ended by NUL where the data has any (a name cannot contain one).

    In UTF-16 where its byte order mark says so and it is, as some editors and shells write. Empty
    lines are left out. Raises `UsageError` where no name is left.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        with suppress(UnicodeDecodeError):  # a name may begin with these bytes
            data = os.fsencode(data.decode("utf-16", "surrogateescape"))
    if b"\0" in data:
        names = data.split(b"\0")
    else:
        data = data.removeprefix(b"\xef\xbb\xbf")
        names = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    paths = [Path(os.fsdecode(name)) for name in names if name]
    if not paths:
        raise UsageError("the list of --from-file is empty", "write one name a line")
    return paths


def _safe(word: Path) -> str:
    """A NUL in a name makes the system calls raise; no file has one."""
    return str(word).replace("\0", "?")


def _matches(pattern: Path) -> list[Source]:
    """Files that match; links that lead in circles show each file once, by its shortest name."""
    shortest: dict[str, str] = {}
    for name in sorted(glob.glob(str(pattern), recursive=True), key=lambda name: (len(name), name)):
        folder, base = os.path.split(name)
        if not base.startswith(".coser-") and not os.path.isdir(name):
            shortest.setdefault(os.path.join(os.path.realpath(folder), base), name)
    if not shortest:
        raise UsageError(f"no file matches {shown(pattern)}", "check the pattern and the folder")
    return [Source(Path(name), from_search=True) for name in sorted(shortest.values())]


class _Folder:
    """The search of one named folder."""

    def __init__(self, root: Path, inputs: Inputs, recursive: bool, *, alone: bool) -> None:
        self._alone = alone
        self._root = root
        self._inputs = inputs
        self._recursive = recursive
        self._visited: set[tuple[int, int]] = set()
        self._links: list[Path] = []
        self._sources: list[Source] = []
        self._refused: Counter[str] = Counter()
        self._has_folders = False

    def search(self) -> None:
        """Add the folder's pictures; where there are none and nothing went wrong, say so: by a
        `UsageError` if nothing else is named.
        """
        failed = len(self._inputs.problems)
        self._enter(self._root)
        while self._links:  # after all real folders, so that a picture keeps its real place
            self._enter(self._links.pop(0))
        if not self._sources and len(self._inputs.problems) == failed:
            message, advice = f"no pictures in {shown(self._root)}", self._advice()
            if self._alone:
                raise UsageError(message, advice)
            self._inputs.notes.append(f"{message}; {advice}")
        self._inputs.sources += sorted(self._sources, key=lambda source: source.path.parts)
        for kind, count in sorted(self._refused.items()):
            files = f"{count} {kind} file{'s' if count > 1 else ''}"
            self._inputs.notes.append(f"{files} in {shown(self._root)} not read: {REFUSED[kind]}")

    def _advice(self) -> str:
        if self._refused:
            kind, count = self._refused.most_common(1)[0]
            return f"of the {count} {kind} file{'s' if count > 1 else ''}: {REFUSED[kind]}"
        if self._has_folders and not self._recursive:
            return "-r looks into its sub-folders"
        return "name a folder with pictures in it"

    def _enter(self, folder: Path) -> None:
        try:
            status = folder.stat()
            identity = status.st_dev, status.st_ino
            if identity in self._visited:
                self._inputs.notes.append(
                    f"link {shown(folder)} not followed: it leads to a folder that is searched"
                )
                return
            self._visited.add(identity)
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries)
        except OSError as error:
            reason = reason_of(error)
            self._inputs.problems.append(
                InputError(f"cannot read the folder {shown(folder)}: {reason}", "check it")
            )
            return
        for name in names:
            if not name.startswith("."):
                self._take(folder / name)

    def _take(self, path: Path) -> None:
        if path.is_dir():
            self._has_folders = True
            if self._recursive and path.is_symlink():
                self._links.append(path)
            elif self._recursive:
                self._enter(path)
        elif path.is_file() or path.is_symlink():
            self._take_file(path)

    def _take_file(self, path: Path) -> None:
        try:
            kind = sniff(path)
        except OSError:
            kind = None
        if kind in REFUSED:
            if kind not in _DOCUMENTS:
                self._refused[kind] += 1
        elif kind is not None or path.suffix.lower() in PICTURE_SUFFIXES:
            below = path.parent.relative_to(self._root)
            self._sources.append(Source(path, below, from_search=True))


def _frames(source: Source) -> Iterator[Source]:
    """One source per frame; the source itself where there is one, or its file cannot be read."""
    from coser_cli.imageio.header import read_header

    try:
        count = read_header(source.path).frames
    except InputError:
        count = 1
    if count == 1:
        yield source
    for frame in range(count if count > 1 else 0):
        yield replace(source, frame=frame, frames=count)


def unique(sources: Sequence[Source]) -> list[Source]:
    """The sources without repetitions of one and the same path and frame."""
    unique: dict[tuple[str, int | None], Source] = {}
    for source in sources:
        unique.setdefault((os.path.abspath(_safe(source.path)), source.frame), source)
    return list(unique.values())
