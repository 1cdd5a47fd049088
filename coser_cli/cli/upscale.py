"""`coser upscale`: enlarge pictures."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import typer

from coser_cli.cli import options
from coser_cli.cli.report import Reporter
from coser_cli.errors import Exit, UsageError
from coser_cli.settings import DEFAULT_SEED, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from coser_cli.engine.batch import Enlarger
    from coser_cli.engine.jobs import Job, Kind


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
    reference_guidance_scale: options.ReferenceGuidanceScale = None,
    reference_strength: options.ReferenceStrength = None,
    save_reference: options.SaveReference = None,
    compare: options.Compare = False,
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
        seed=seed,
    )
    with Reporter(as_json=as_json, quiet=quiet) as reporter:
        if save_reference is not None and reference_mode == "none":
            raise UsageError(
                "--save-reference has nothing to save with --reference-mode none", "leave one out"
            )
        from coser_cli.engine.jobs import plan

        model = choose_model(reporter, model)
        _warn_of_idle_prompt(reporter, model, settings)
        jobs = plan(inputs, output, scale=scale, save_reference=save_reference, compare=compare)
        load = partial(load_model, reporter, model, device, dtype)
        work(reporter, jobs, load, settings, overwrite=overwrite)


def choose_model(reporter: Reporter, model: str) -> str:
    """The model to use, sure to be there; says which one "auto" has become."""
    from coser_cli.weights.store import model_folder, resolve_model

    name = resolve_model(model)
    folder = model_folder(name)
    if model == "auto":
        reporter.message(f"model: {folder.name}")
    return name


def _warn_of_idle_prompt(reporter: Reporter, model: str, settings: Settings) -> None:
    """Words act through diffusion only; some models leave it out by default."""
    if not settings.prompt:
        return
    from coser_cli.weights.store import model_folder, read_model_config

    defaults = read_model_config(model_folder(model)).defaults
    if settings.with_defaults(defaults).strength == 0:
        reporter.message("--prompt has no effect without diffusion: give a --strength above 0")


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
    kind: Kind = "upscale",
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
            kind=kind,
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
