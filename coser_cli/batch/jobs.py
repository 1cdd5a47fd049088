"""Inputs → jobs: every name decided, and every clash found, before anything runs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Literal

from coser_cli.batch.beside import conditions_of, masks_of
from coser_cli.batch.inputs import Source, unique
from coser_cli.batch.lengths import is_short
from coser_cli.batch.naming import SAME, Naming
from coser_cli.errors import UsageError, reason_of, shown
from coser_cli.imageio.formats import format_named, format_of

Kind = Literal["upscale", "reference"]
PAGE_SUFFIXES = (".html", ".htm")


@dataclass(frozen=True)
class Job:
    """One picture to work on: from where, to where, and where its references and comparison go.

    `target` of the kind "upscale" is the enlarged picture. Of the kind "reference" it is the
    reference; where there are several, their contact sheet. `frame` of the source counts from 0;
    None is its only or first one. `mask` is the file that says where the result is restored.
    `conditions` are the files of further conditions by name.
    """

    source: Path
    target: Path
    references: tuple[Path, ...] = ()
    kind: Kind = "upscale"
    frame: int | None = None
    comparison: Path | None = None
    mask: Path | None = None
    conditions: Mapping[str, Path] = field(default_factory=dict, hash=False)

    @property
    def outputs(self) -> tuple[Path, ...]:
        """Every file this job writes."""
        beside = () if self.comparison is None else (self.comparison,)
        return (self.target, *self.references, *beside)

    @property
    def results(self) -> tuple[Path, ...]:
        """The files that the user has asked for in the first place."""
        return (self.target,) if self.kind == "upscale" else (*self.references, self.target)


def plan(
    inputs: Sequence[Path | Source],
    output: str | None,
    *,
    scale: float = 4.0,
    save_reference: str | None = None,
    kind: Kind = "upscale",
    references: int = 1,
    imported: Sequence[Path] = (),
    naming: Naming | None = None,
    compare: bool = False,
    mask: Path | None = None,
    conditions: Mapping[str, Path] | None = None,
) -> list[Job]:
    """Decide every name before anything runs.

    `output` is a file (one input only), a folder, or None: beside each input. `save_reference`
    is a folder, "" for beside the result, or None. `references` is how many are written for each
    input, `imported` are the user's own. `naming` says how results are called, by `scale` if it is
    None; `compare` asks for a comparison beside each; `mask` and each of `conditions` are that of
    the only input, or a folder with one for each (see `beside.py`). An input named twice is one
    job, and what was found in a folder is none if this very call would write it. Raises
    `UsageError` where two outputs meet, or an output is one of the inputs or `imported` by any
    path or link.
    """
    sources = unique([Source(each) if isinstance(each, Path) else each for each in inputs])
    rules = _OutputRules(output, naming or Naming(scale), save_reference, references)
    make = rules.reference_job if kind == "reference" else rules.upscale_job

    def jobs_of(some: Sequence[Source]) -> list[Job]:
        jobs = [make(source, index, len(some)) for index, source in enumerate(some, start=1)]
        if not compare:
            return jobs
        return [replace(job, comparison=_beside(job.target, "_compare")) for job in jobs]

    jobs = jobs_of(sources)
    if rules.naming.template is None and output_is_folder(output):
        sources = _with_labels(sources, jobs)
        jobs = jobs_of(sources)
    others = _without_results(sources, jobs)
    if len(others) < len(sources):
        jobs = jobs_of(others)
    _refuse_collisions(jobs)
    _refuse_as_outputs(jobs, [job.source for job in jobs], "input")
    _refuse_as_outputs(jobs, imported, "reference")
    if mask is not None:
        masks = masks_of(others, mask)
        jobs = [replace(job, mask=its) for job, its in zip(jobs, masks, strict=True)]
        _refuse_as_outputs(jobs, masks, "mask")
    if conditions:
        further = conditions_of(others, conditions)
        jobs = [replace(job, conditions=its) for job, its in zip(jobs, further, strict=True)]
        _refuse_as_outputs(jobs, [path for its in further for path in its.values()], "condition")
    _make_folders(jobs, output, save_reference)
    return jobs


@dataclass(frozen=True)
class _OutputRules:
    """What decides the names of jobs."""

    output: str | None
    naming: Naming
    save_reference: str | None
    references: int

    def upscale_job(self, source: Source, index: int, count: int) -> Job:
        target = self._target(source, index, count, None)
        return Job(source.path, target, self._saved(source, target), frame=source.frame)

    def reference_job(self, source: Source, index: int, count: int) -> Job:
        """One reference; or several, and their contact sheet. A file that is named is the sheet."""
        single = self._target(source, index, count, "_reference")
        if self.references == 1:
            return Job(source.path, single, (), "reference", source.frame)
        named = self.output is not None and not _is_folder(self.output)
        sheet = single if named else self._target(source, index, count, "_references")
        numbered = _numbered(single, self.references)
        return Job(source.path, sheet, numbered, "reference", source.frame)

    def _target(self, source: Source, index: int, count: int, ending: str | None) -> Path:
        name = self.naming.name(source, index, ending)
        return _target(source, self.output, name, self.naming, count)

    def _saved(self, source: Source, target: Path) -> tuple[Path, ...]:
        """Where the references beside one result go."""
        if self.save_reference is None:
            return ()
        named = Path(self.save_reference) / source.below if self.save_reference else target.parent
        single = named / f"{target.stem}_reference.png"
        return (single,) if self.references == 1 else _numbered(single, self.references)


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
    job = Job(path, path)
    _refuse_as_outputs([job], inputs, "input")
    _make_folders([job], output, None)
    return path


def output_is_folder(output: str | None) -> bool:
    """Whether each result gets a name of its own; without `output` it lies beside its input."""
    return output is None or _is_folder(output)


def _with_labels(sources: Sequence[Source], jobs: Sequence[Job]) -> list[Source]:
    """Sources that would have one result (`a.jpg` and `a.png`) get their extension into its name;
    those that still would, of several folders, get numbers.
    """
    by_name: dict[str, list[Source]] = {}
    for source, job in zip(sources, jobs, strict=True):
        by_name.setdefault(_one_name(job.target), []).append(source)
    labels: dict[int, str] = {}
    for group in by_name.values():
        if len(group) == 1:
            continue
        names = [f"{each.path.stem}_{each.path.suffix[1:]}".rstrip("_") for each in group]
        if len({name.casefold() for name in names}) < len(group):
            names = [f"{each.path.stem}-{number}" for number, each in enumerate(group, start=1)]
        labels |= {id(each): name for each, name in zip(group, names, strict=True)}
    return [replace(each, label=labels.get(id(each), each.label)) for each in sources]


def _beside(target: Path, ending: str) -> Path:
    """A PNG file beside a result, named after it."""
    return target.with_name(f"{target.stem}{ending}.png")


def _numbered(path: Path, count: int) -> tuple[Path, ...]:
    """`NAME-1.png` to `NAME-COUNT.png` for `NAME.png`."""
    numbers = range(1, count + 1)
    return tuple(path.with_name(f"{path.stem}-{number}{path.suffix}") for number in numbers)


def _without_results(sources: Sequence[Source], jobs: Sequence[Job]) -> list[Source]:
    """Leave out what a folder search found and this call would write.

    A result with the name of its source is never left out: it may be an original.
    """
    ours = {
        _place(path)
        for job in jobs
        for path in job.outputs
        if path.stem.casefold() != job.source.stem.casefold()
    }
    return [each for each in sources if not (each.from_search and _place(each.path) in ours)]


def _place(path: Path) -> str:
    """A name in its folder, whatever links lead there; names alone, so a link is not its target."""
    return os.path.join(os.path.realpath(path.parent), path.name)


def _target(source: Source, output: str | None, name: str, naming: Naming, count: int) -> Path:
    """Where the picture of one source goes: by its `name` unless a file is named."""
    if output is None:
        target = source.path.parent / name
    elif _is_folder(output):
        target = Path(output) / source.below / name
    elif count > 1:
        raise UsageError(
            f"-o {shown(output)} is one file for {count} inputs",
            f"name a folder: -o {shown(output + os.sep)}",
        )
    else:
        target = Path(output)
        if naming.format not in (None, SAME) and format_of(target) != format_named(naming.format):
            raise UsageError(
                f"-o {shown(output)} is no name for {naming.format}", "leave --format out"
            )
    format_of(target)
    return target


def _is_folder(output: str) -> bool:
    """A folder is what is one, ends in a slash, or has no extension."""
    seps = tuple(sep for sep in (os.sep, os.altsep) if sep)
    return output.endswith(seps) or os.path.isdir(output) or not Path(output).suffix


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    owners: dict[str, Job] = {}
    for job in jobs:
        for path in job.outputs:
            owner = owners.setdefault(_one_name(path), job)
            other = owner.source
            if owner is not job:
                raise UsageError(
                    f"{shown(other)} and {shown(job.source)} would both be written "
                    f"to {shown(path)}",
                    "rename one, or enlarge them in two runs with different -o folders",
                )


def _one_name(path: Path) -> str:
    """The same text for all names that mean one file: links, and case where it does not count."""
    real = os.path.realpath(path)
    return real.casefold() if _ignores_case(os.path.dirname(real)) else real


@cache
def _ignores_case(folder: str) -> bool:
    """Whether a folder, or the nearest above it that exists, is also there in the other case."""
    while not os.path.isdir(folder) and os.path.dirname(folder) != folder:
        folder = os.path.dirname(folder)
    other = folder.swapcase()
    try:
        return other != folder and os.path.samefile(folder, other)
    except OSError:
        return False


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
    """Create the folders that the user named; those of the inputs exist or the inputs do not.

    What is too long for a folder is left to the pictures that would lie in it: others go on.
    """
    folders = {job.target.parent for job in jobs} if output is not None else set()
    if save_reference:
        folders.add(Path(save_reference))
    for folder in sorted(filter(is_short, folders)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = reason_of(error)
            raise UsageError(f"cannot make the folder {shown(folder)}: {reason}") from None
