"""Inputs → jobs: every name decided, and every clash found, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coser_cli.errors import UsageError, shown
from coser_cli.imageio.formats import format_of

Kind = Literal["upscale", "reference"]


@dataclass(frozen=True)
class Job:
    """One picture to work on: from where, to where, and where its references go.

    `target` of the kind "upscale" is the enlarged picture. Of the kind "reference" it is the
    reference; where there are several, their contact sheet.
    """

    source: Path
    target: Path
    references: tuple[Path, ...] = ()
    kind: Kind = "upscale"

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every file this job writes."""
        return (self.target, *self.references)

    @property
    def results(self) -> tuple[Path, ...]:
        """The files that the user has asked for in the first place."""
        return (self.target,) if self.kind == "upscale" else (*self.references, self.target)


def plan(
    inputs: Sequence[Path],
    output: str | None,
    *,
    scale: float,
    save_reference: str | None = None,
    kind: Kind = "upscale",
    references: int = 1,
    imported: Sequence[Path] = (),
) -> list[Job]:
    """Decide every name before anything runs.

    `output` is a file (one input only), a folder, or None: beside each input. `save_reference`
    is a folder, "" for beside the result, or None. `references` is how many are written for each
    input, `imported` are the user's own. An input named twice is one job. Raises `UsageError` where
    two outputs meet, or an output is one of the inputs or `imported` by any path or link.
    """
    sources = unique(inputs)
    count = len(sources)
    if kind == "reference":
        jobs = [_reference_job(source, output, references, count) for source in sources]
    else:
        targets = [_target(source, output, f"_{scale:g}x", count) for source in sources]
        pairs = zip(sources, targets, strict=True)
        jobs = [Job(*pair, _saved(pair[1], save_reference, references)) for pair in pairs]
    _refuse_collisions(jobs)
    _refuse_as_outputs(jobs, sources, "input")
    _refuse_as_outputs(jobs, imported, "reference")
    _make_folders(jobs, output, save_reference)
    return jobs


def unique(paths: Sequence[Path]) -> list[Path]:
    """The paths without repetitions of one and the same."""
    seen: dict[str, Path] = {}
    for path in paths:
        seen.setdefault(os.path.abspath(path), path)
    return list(seen.values())


def _reference_job(source: Path, output: str | None, references: int, count: int) -> Job:
    """One reference; or several, and their contact sheet. A file that is named is the sheet."""
    if references == 1:
        return Job(source, _target(source, output, "_reference", count), kind="reference")
    sheet = _target(source, output, "_references", count)
    named = output is not None and not _is_folder(output)
    single = sheet if named else sheet.with_name(f"{source.stem}_reference.png")
    return Job(source, sheet, _numbered(single, references), "reference")


def _saved(target: Path, save_reference: str | None, references: int) -> tuple[Path, ...]:
    """Where the references beside one result go."""
    if save_reference is None:
        return ()
    folder = Path(save_reference) if save_reference else target.parent
    single = folder / f"{target.stem}_reference.png"
    return (single,) if references == 1 else _numbered(single, references)


def _numbered(path: Path, count: int) -> tuple[Path, ...]:
    """`NAME-1.png` to `NAME-COUNT.png` for `NAME.png`."""
    numbers = range(1, count + 1)
    return tuple(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in numbers)


def _target(source: Path, output: str | None, ending: str, count: int) -> Path:
    """Where the picture of one source goes; names end in `ending` unless a file is named."""
    name = f"{source.stem}{ending}.png"
    if output is None:
        return source.parent / name
    if _is_folder(output):
        return Path(output) / name
    if count > 1:
        raise UsageError(
            f"-o {shown(output)} is one file for {count} inputs",
            f"name a folder: -o {shown(output + os.sep)}",
        )
    target = Path(output)
    format_of(target)
    return target


def _is_folder(output: str) -> bool:
    """A folder is what is one, ends in a slash, or has no extension."""
    seps = tuple(sep for sep in (os.sep, os.altsep) if sep)
    return output.endswith(seps) or Path(output).is_dir() or not Path(output).suffix


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    owners: dict[str, Path] = {}
    for job in jobs:
        for path in job.outputs:
            other = owners.setdefault(os.path.realpath(path), job.source)
            if other is not job.source:
                raise UsageError(
                    f"{shown(other)} and {shown(job.source)} would both be written "
                    f"to {shown(path)}",
                    "rename one, or enlarge them in two runs with different -o folders",
                )


def _refuse_as_outputs(jobs: Sequence[Job], sources: Sequence[Path], word: str) -> None:
    """Compare files, not names, so that links of either kind do not fool it."""
    identities = {_identity(source): source for source in sources}
    identities.pop(None, None)
    for job in jobs:
        for path in job.outputs:
            source = identities.get(_identity(path))
            if source is not None:
                raise UsageError(
                    f"the output {shown(path)} is the {word} {shown(source)}",
                    f"{word}s are never overwritten; give another name with -o",
                )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _make_folders(jobs: Sequence[Job], output: str | None, save_reference: str | None) -> None:
    """Create the folders that the user named; those of the inputs exist or the inputs do not."""
    folders = {job.target.parent for job in jobs} if output is not None else set()
    if save_reference:
        folders.add(Path(save_reference))
    for folder in sorted(folders):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UsageError(f"cannot make the folder {shown(folder)}: {reason}") from None
