"""Inputs → jobs: every name decided, and every clash found, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from coser_cli.errors import UsageError, shown
from coser_cli.imageio.formats import format_of

Kind = Literal["upscale", "reference"]
PAGE_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Job:
    """One picture to make: from where, to where, and where its reference and comparison go."""

    source: Path
    target: Path
    reference: Path | None = None
    comparison: Path | None = None

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every file this job writes."""
        paths = (self.target, self.reference, self.comparison)
        return tuple(path for path in paths if path is not None)


def plan(
    inputs: Sequence[Path],
    output: str | None,
    *,
    scale: float,
    save_reference: str | None = None,
    kind: Kind = "upscale",
    compare: bool = False,
) -> list[Job]:
    """Decide every name before anything runs.

    `output` is a file (one input only), a folder, or None: beside each input. `save_reference`
    is a folder, "" for beside the result, or None. `compare` asks for a comparison beside each
    result. An input named twice is one job. Raises `UsageError` where two outputs meet, or an
    output is one of the inputs by any path or link.
    """
    sources = _unique(inputs)
    jobs = [_job(source, output, scale, save_reference, kind, len(sources)) for source in sources]
    if compare:
        jobs = [replace(job, comparison=_beside(job.target, "_compare")) for job in jobs]
    _refuse_collisions(jobs)
    _refuse_inputs_as_outputs(jobs)
    _make_folders(jobs, output, save_reference)
    return jobs


def plan_page(output: str | None, default: Path, inputs: Sequence[Path]) -> Path:
    """Where an HTML page goes: `output` as for pictures (a file or a folder), or `default`.

    Makes the folder that `output` names. Raises `UsageError` where the page would be one of the
    inputs, by any path or link, or has another extension.
    """
    path = default
    if output is not None:
        path = Path(output) / default.name if _is_folder(output) else Path(output)
    if path.suffix.lower() not in PAGE_SUFFIXES:
        raise UsageError(
            f"cannot write {shown(path)}: a page is HTML", f"use {' or '.join(PAGE_SUFFIXES)}"
        )
    _refuse_inputs_as_outputs([Job(source, path) for source in inputs])
    _make_folders([Job(path, path)], output, None)
    return path


def _beside(target: Path, ending: str) -> Path:
    """A PNG file beside a result, named after it."""
    return target.with_name(f"{target.stem}{ending}.png")


def _unique(inputs: Sequence[Path]) -> list[Path]:
    """The inputs without repetitions of one and the same path."""
    seen: dict[str, Path] = {}
    for path in inputs:
        seen.setdefault(os.path.abspath(path), path)
    return list(seen.values())


def _job(
    source: Path,
    output: str | None,
    scale: float,
    save_reference: str | None,
    kind: Kind,
    count: int,
) -> Job:
    if kind == "reference":
        return Job(source, _target(source, output, "_reference", count))
    target = _target(source, output, f"_{scale:g}x", count)
    if save_reference is None:
        return Job(source, target)
    folder = Path(save_reference) if save_reference else target.parent
    return Job(source, target, folder / f"{target.stem}_reference.png")


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


def _refuse_inputs_as_outputs(jobs: Sequence[Job]) -> None:
    """Compare files, not names, so that links of either kind do not fool it."""
    identities = {_identity(job.source): job.source for job in jobs}
    identities.pop(None, None)
    for job in jobs:
        for path in job.outputs:
            source = identities.get(_identity(path))
            if source is not None:
                raise UsageError(
                    f"the output {shown(path)} is the input {shown(source)}",
                    "inputs are never overwritten; give another name with -o",
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
