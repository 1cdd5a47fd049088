"""What a command is about to do: inputs, names, references; refused here if it cannot be done."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from coser_cli.cli.options.files import Files
from coser_cli.cli.stdio import Pipes
from coser_cli.errors import CoserError, InputError, UsageError, shown
from coser_cli.imageio.encoding import Encoding
from coser_cli.imageio.formats import format_of
from coser_cli.settings import MAX_REFERENCES, Settings

if TYPE_CHECKING:
    from coser_cli.batch.fit import Fit
    from coser_cli.batch.jobs import Job, Kind
    from coser_cli.cli.output.reporter import Reporter
    from coser_cli.imageio.photo import Photo


@dataclass(frozen=True)
class Planned:
    """What a command is about to do: jobs, inputs that already failed, and how to write."""

    jobs: list[Job]
    problems: list[CoserError]
    notes: list[str]
    fit: Fit | None
    encoding: Encoding
    pipes: Pipes


def make_plan(
    ctx: typer.Context,
    files: Files,
    pipes: Pipes,
    *,
    model: str,
    save_reference: str | None = None,
    kind: Kind = "upscale",
    references: int = 1,
    imported: Sequence[Path] = (),
    compare: bool = False,
) -> Planned:
    """Find the inputs, decide every name, and refuse what cannot be done, before anything runs.

    `references` are written for each input, `imported` are the user's own; `compare` asks for a
    comparison beside each result.
    """
    from coser_cli.batch.inputs import Found, find
    from coser_cli.batch.jobs import plan
    from coser_cli.batch.naming import Naming

    fit = files.fit(ctx)
    values = ctx.params
    naming = Naming(values["scale"], files.name, files.format, fit, model, values["seed"])
    words = [*pipes.inputs, *_listed(files.from_file)]
    if not words:
        raise UsageError("no inputs", "name pictures, folders or patterns, or give --from-file")
    found: Found = find(words, recursive=files.recursive, all_frames=files.all_frames)
    jobs = plan(
        found.sources,
        pipes.output,
        save_reference=save_reference,
        kind=kind,
        references=references,
        imported=imported,
        naming=naming,
        compare=compare,
    )
    pipes.require_single(jobs)
    for row in {job.target.suffix: format_of(job.target) for job in jobs}.values():
        files.encoding.options(row)  # raises where the format cannot do as asked
    return Planned(jobs, found.problems, found.notes, fit, files.encoding, pipes)


def _listed(name: str | None) -> list[Path]:
    """The inputs that a list names; it is read from stdin where it is called "-"."""
    from coser_cli.batch.inputs import read_list

    if name is None:
        return []
    if name == "-":
        return read_list(sys.stdin.buffer.read())
    try:
        return read_list(Path(name).read_bytes())
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"cannot read {shown(name)}: {reason}", "check --from-file") from None


def require_fitting(
    settings: Settings, files: Sequence[Path], save_reference: str | None
) -> list[Path]:
    """The reference files without repetitions; `UsageError` where options contradict each other."""
    files = list({os.path.abspath(path): path for path in reversed(files)}.values())[::-1]
    if settings.reference_mode == "none":
        idle = {
            "--save-reference has nothing to save": save_reference is not None,
            "--reference has no use": bool(files),
            f"--references {settings.references} has no use": settings.references > 1,
        }
        for words in (words for words, given in idle.items() if given):
            raise UsageError(f"{words} with --reference-mode none", "leave one out")
    if files and settings.references > 1:
        raise UsageError(
            f"--references {settings.references} imagines nothing where --reference is given",
            "leave one out; give --reference several times for several",
        )
    if len(files) > MAX_REFERENCES:
        raise UsageError(f"{len(files)} --reference files", f"give at most {MAX_REFERENCES}")
    return files


def read_references(reporter: Reporter, files: Sequence[Path]) -> list[Photo]:
    """The user's references. They concern every job, so a bad one ends the run before it begins:
    raises `UsageError`.
    """
    from coser_cli.imageio.read import read_photo

    photos = []
    for path in files:
        try:
            photos.append(read_photo(path))
        except InputError as error:
            raise UsageError(f"--reference: {error.message}", error.hint) from error
        for note in photos[-1].notes:
            reporter.message(f"note on {shown(path)}: {note}")
    return photos


def warn_of_idle_options(
    reporter: Reporter,
    model: str,
    settings: Settings,
    files: Sequence[Path],
    save_reference: str | None,
) -> None:
    """Words and references act through diffusion only; some models leave it out by default."""
    idle = {
        "--prompt": bool(settings.prompt),
        "--reference": bool(files),
        "--references": settings.references > 1 and save_reference is None,
    }
    given = [name for name, is_given in idle.items() if is_given]
    if not given:
        return
    from coser_cli.weights.store import model_folder, read_model_config

    config = read_model_config(model_folder(model))
    if settings.with_defaults(config).strength == 0:
        for name in given:
            reporter.message(f"{name} has no effect without diffusion: give a --strength above 0")
