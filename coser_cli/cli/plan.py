"""What a command is about to do: inputs, names, references; refused here if it cannot be done."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from coser_cli.cli.options.files import Files
from coser_cli.cli.options.groups import explicit_options
from coser_cli.cli.stdio import Pipes
from coser_cli.errors import CoserError, UsageError, reason_of, shown
from coser_cli.imageio.formats import format_of
from coser_cli.settings import MAX_REFERENCES, Settings

if TYPE_CHECKING:
    from coser_cli.batch.jobs import Job, Kind
    from coser_cli.batch.request import Request, Work
    from coser_cli.cli.options.reporting import Reporting
    from coser_cli.cli.options.tiling import Tiles
    from coser_cli.cli.options.workers import Workers
    from coser_cli.cli.output.pictures import PictureReporter
    from coser_cli.config import ModelConfig
    from coser_cli.settings import Compute


OF_DIFFUSION = {"tile_size", "overlap", "tile_batch", "tile_jitter", "compile"}
"""Options that are no settings, and concern nothing but diffusion."""


@dataclass(frozen=True)
class Planned:
    """What a command is about to do: jobs, inputs that already failed, notes on the inputs."""

    jobs: list[Job]
    problems: list[CoserError]
    notes: list[str]
    pipes: Pipes


def make_request(
    ctx: typer.Context,
    reporter: PictureReporter,
    settings: Settings,
    files: Files,
    tiles: Tiles,
    compute: Compute,
    workers: Workers,
    reporting: Reporting,
    *,
    overwrite: bool,
    references: tuple[Path, ...] = (),
    always_tiles: bool = False,
    conditions: Collection[str] = (),
) -> Request:
    """What the options ask for. Raises `UsageError` where they contradict each other, or name
    `conditions` that the model does not have, and
    `WeightsError` where the model is not installed; says which one "auto" has become.
    """
    from coser_cli.batch.request import Request
    from coser_cli.engine.settings_check import require_conditions
    from coser_cli.weights.store import model_folder, read_model_config, resolve_model

    workers.require_sane(reporting.fail_fast)
    model = resolve_model(compute.model)
    folder = model_folder(model)
    if compute.model == "auto":
        reporter.message(f"model: {folder.name}")
    config = read_model_config(folder)
    require_conditions(config, conditions)
    if settings.strength is None and (references or conditions):
        option = "--reference" if references else "--condition"
        settings = _with_diffusion(reporter, settings, config, option)
    own = compute.pre_restorer and os.path.abspath(compute.pre_restorer)  # for other processes
    return Request(
        settings=settings,
        compute=replace(compute, model=model, pre_restorer=own),
        references=references,
        fit=files.fit(ctx),
        encoding=files.encoding,
        tiles=tiles.spec,
        always_tiles=always_tiles,
        overwrite=overwrite,
        batch_size=workers.batch,
        fail_fast=reporting.fail_fast,
        devices=workers.device_names,
        cluster=workers.cluster,
    )


def require_named(words: Sequence[str]) -> dict[str, Path]:
    """The values of --condition by name. Raises `UsageError`."""
    conditions: dict[str, Path] = {}
    for word in words:
        name, equals, file = word.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--condition {shown(word)} names no file", "write it NAME=FILE")
        if name in conditions:
            raise UsageError(f"--condition {name} is there twice", "leave one out")
        conditions[name] = Path(file)
    return conditions


def _with_diffusion(
    reporter: PictureReporter, settings: Settings, config: ModelConfig, option: str
) -> Settings:
    """With the strength that lets a picture of the user have an effect, where the model's is 0."""
    defaults = config.preset(settings.preset)
    if defaults.strength or config.align_references:
        return settings
    strength = defaults.reference_strength or 1.0
    reporter.message(f"--strength {strength:g}: without it {option} would have no effect")
    return replace(settings, strength=strength)


def make_plan(
    files: Files,
    pipes: Pipes,
    request: Request,
    *,
    save_reference: str | None = None,
    kind: Kind = "upscale",
    references: int = 1,
    compare: bool = False,
    mask: Path | None = None,
    conditions: Mapping[str, Path] | None = None,
) -> Planned:
    """Find the inputs, decide every name, and refuse what cannot be done, before anything runs.

    `references` are written for each input; `compare` asks for a comparison beside each result.
    """
    from coser_cli.batch.inputs import Inputs, find
    from coser_cli.batch.jobs import output_is_folder, plan
    from coser_cli.batch.naming import Naming

    settings, model = request.settings, request.compute.model
    naming = Naming(settings.scale, files.name, files.format, request.fit, model, settings.seed)
    words = [*pipes.inputs, *_listed(files.from_file)]
    if not words:
        raise UsageError("no inputs", "name pictures, folders or patterns, or give --from-file")
    _refuse_addresses(words)
    inputs: Inputs = find(words, recursive=files.recursive, all_frames=files.all_frames)
    jobs = plan(
        inputs.sources,
        pipes.output,
        save_reference=save_reference,
        kind=kind,
        references=references,
        imported=request.references,
        naming=naming,
        compare=compare,
        mask=mask,
        conditions=conditions,
    )
    pipes.require_single(jobs)
    if not request.overwrite and not output_is_folder(pipes.output):
        _refuse_foreign(jobs)
    formats = list({row.name: row for row in (format_of(job.target) for job in jobs)}.values())
    for row in formats:
        request.encoding.options(row)  # raises where the format cannot do as asked
    idle = request.encoding.idle(formats)
    return Planned(jobs, inputs.problems, [*inputs.notes, *([idle] if idle else [])], pipes)


def _refuse_foreign(jobs: Sequence[Job]) -> None:
    """Raise `UsageError` where a file that -o names is there, and is no result of this program."""
    from coser_cli.imageio.record import read_record

    for path in (job.target for job in jobs):
        if os.path.lexists(path) and read_record(path) is None:
            raise UsageError(
                f"{shown(path)} is there, and was not made by this program",
                "give another name with -o, or --overwrite replaces it",
            )


def _refuse_addresses(words: Sequence[Path]) -> None:
    """Raise `UsageError` for an address, with the command that does it."""
    for word in words:
        address = re.fullmatch(r"(https?|ftp):/+(.+)", str(word))
        if address is not None and not word.exists():
            whole = f"{address[1]}://{address[2]}"  # a path has lost one of the slashes
            raise UsageError(
                f"{shown(whole)} is an address, and only files are read",
                f"fetch it: curl -L {shown(whole)} | coser upscale - -o result.png",
            )


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
        reason = reason_of(error)
        raise UsageError(f"cannot read {shown(name)}: {reason}", "check --from-file") from None


def require_fitting(
    settings: Settings, files: Sequence[Path], save_reference: str | None
) -> tuple[Path, ...]:
    """The reference files without repetitions; `UsageError` where options contradict each other."""
    files = tuple({os.path.abspath(path): path for path in reversed(files)}.values())[::-1]
    if settings.reference_mode == "none":
        idle = {
            "--save-reference has nothing to save": save_reference is not None,
            "--reference has no use": bool(files),
            f"--references {settings.references} has no use": settings.references > 1,
        }
        for words in (words for words, is_set in idle.items() if is_set):
            raise UsageError(f"{words} with --reference-mode none", "leave one out")
    if files and settings.references > 1:
        raise UsageError(
            f"--references {settings.references} imagines nothing where --reference is given",
            "leave one out; give --reference several times for several",
        )
    if len(files) > MAX_REFERENCES:
        raise UsageError(f"{len(files)} --reference files", f"give at most {MAX_REFERENCES}")
    return files


def warn_of_idle_options(
    ctx: typer.Context,
    reporter: PictureReporter,
    work: Work,
    *,
    want_reference: bool = True,
    want_result: bool = True,
) -> None:
    """Say, in a line per reason, which of the given options have no effect with the model. Raises
    `UsageError` where it cannot do what they ask for.
    """
    from coser_cli.engine import settings_check

    assert work.provenance is not None
    settings, config, files = work.request.settings, work.provenance.config, len(work.references)
    settings_check.require_possible(
        settings, config, files=bool(files), want_reference=want_reference
    )
    explicit = explicit_options(ctx)
    names = {} if want_result else {"reference_steps": "steps"}  # that command has no other steps
    idle = settings_check.idle_settings(
        settings,
        config,
        files=files,
        want_reference=want_reference,
        want_result=want_result,
        explicit=explicit.difference(names.values())
        | {name for name, option in names.items() if option in explicit},
    )
    reasons: dict[str, list[str]] = {}
    for each in idle:
        reasons.setdefault(each.why, []).append(names.get(each.name, each.name))
    if work.settings.strength == 0 and "condition" in explicit:
        reasons.setdefault(settings_check.NO_DIFFUSION, []).append("condition")
    if work.settings.strength == 0 and (files or not want_reference):
        of_diffusion = sorted(explicit & OF_DIFFUSION)
        reasons.setdefault(settings_check.NO_DIFFUSION, []).extend(of_diffusion)
    for why, options in reasons.items():
        *others, last = [f"--{name.replace('_', '-')}" for name in options] or [""]
        words = f"{', '.join(others)} and {last} have" if others else f"{last} has"
        if last:
            reporter.message(f"{words} no effect {why}")
