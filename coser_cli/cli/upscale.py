"""`coser upscale`: enlarge pictures."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from coser_cli.cli import options
from coser_cli.cli.report import Reporter
from coser_cli.errors import Exit, InputError, UsageError, shown
from coser_cli.settings import DEFAULT_SEED, MAX_REFERENCES, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from coser_cli.engine.batch import Enlarger
    from coser_cli.engine.jobs import Job
    from coser_cli.imageio.photo import Photo


def upscale(
    inputs: options.Inputs,
    scale: options.Scale = 4.0,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    steps: options.Steps = None,
    sampler: options.Sampler = None,
    seed: options.Seed = DEFAULT_SEED,
    guidance_scale: options.GuidanceScale = None,
    strength: options.Strength = None,
    prompt: options.Prompt = "",
    negative_prompt: options.NegativePrompt = None,
    fidelity: options.Fidelity = None,
    color_fix: options.ColorFix = None,
    reference_mode: options.ReferenceMode = "global",
    reference: options.Reference = None,
    references: options.References = 1,
    reference_select: options.ReferenceSelect = "all",
    reference_guidance_scale: options.ReferenceGuidanceScale = None,
    reference_strength: options.ReferenceStrength = None,
    save_reference: options.SaveReference = None,
    model: options.Model = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    config: options.Config = None,  # noqa: ARG001 (its callback has done the work)
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Enlarge pictures and restore their detail."""
    settings = Settings(
        scale=scale,
        steps=steps,
        sampler=sampler,
        guidance_scale=guidance_scale,
        reference_guidance_scale=reference_guidance_scale,
        strength=strength,
        reference_strength=reference_strength,
        fidelity=fidelity,
        color_fix=color_fix,
        prompt=prompt,
        negative_prompt=negative_prompt,
        reference_mode=reference_mode,
        references=references,
        reference_select=reference_select,
        seed=seed,
    )
    with Reporter(as_json=as_json, quiet=quiet) as reporter:
        files = require_fitting(settings, reference or (), save_reference)
        imported = read_references(reporter, files)
        model = choose_model(reporter, model)
        _warn_of_idle_options(reporter, model, settings, files, save_reference)
        jobs = _plan(inputs, output, settings, files, save_reference)
        load = partial(load_model, reporter, model, device, dtype)
        work(reporter, jobs, load, settings, overwrite=overwrite, references=imported)


def _plan(
    inputs: Sequence[Path],
    output: str | None,
    settings: Settings,
    files: Sequence[Path],
    save_reference: str | None,
) -> list[Job]:
    """The jobs, with as many references each as guide the result."""
    from coser_cli.engine.jobs import plan

    guides = 1 if settings.reference_select == "clip" else len(files) or settings.references
    return plan(
        inputs,
        output,
        scale=settings.scale,
        save_reference=save_reference,
        references=guides,
        imported=files,
    )


def require_fitting(
    settings: Settings, files: Sequence[Path], save_reference: str | None
) -> list[Path]:
    """The reference files without repetitions; `UsageError` where options contradict each other."""
    from coser_cli.engine.jobs import unique

    files = unique(files)
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


def choose_model(reporter: Reporter, model: str) -> str:
    """The model to use, sure to be there; says which one "auto" has become."""
    from coser_cli.weights.store import model_folder, resolve_model

    name = resolve_model(model)
    folder = model_folder(name)
    if model == "auto":
        reporter.message(f"model: {folder.name}")
    return name


def _warn_of_idle_options(
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

    defaults = read_model_config(model_folder(model)).defaults
    if settings.with_defaults(defaults).strength == 0:
        for name in given:
            reporter.message(f"{name} has no effect without diffusion: give a --strength above 0")


def load_model(reporter: Reporter, model: str, device: str, dtype: str) -> Enlarger:
    """Load the engine, having said so before the seconds that torch takes."""
    reporter.hint("loading weights ...")
    from coser_cli.engine.upscaler import Upscaler

    return Upscaler.load(model, device=device, dtype=dtype)


def work(
    reporter: Reporter,
    jobs: list[Job],
    load: Callable[[], Enlarger],
    settings: Settings,
    *,
    overwrite: bool,
    references: Sequence[Photo] = (),
) -> None:
    """Run the jobs, report each, and end with the exit code they add up to."""
    from coser_cli.engine.batch import Tally, run

    tally = Tally()
    reporter.begin(len(jobs), tally)
    try:
        for result in run(
            jobs,
            load,
            settings,
            overwrite=overwrite,
            references=references,
            on_start=reporter.start,
            on_progress=reporter.progress,
        ):
            tally.add(result)
            reporter.result(result)
    except KeyboardInterrupt:
        reporter.interrupted()
        raise typer.Exit(Exit.INTERRUPTED) from None
    reporter.end(tally)
    raise typer.Exit(tally.exit_code)
