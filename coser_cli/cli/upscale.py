"""`coser upscale`: enlarge pictures."""

from __future__ import annotations

import typer

from coser_cli.cli import options
from coser_cli.cli.files import Files, make_plan
from coser_cli.cli.groups import with_groups
from coser_cli.cli.pipes import Pipes
from coser_cli.cli.references import read_references, require_fitting, warn_of_idle_options
from coser_cli.cli.report import Reporter
from coser_cli.cli.running import Compute, choose_model, tell_plans, work
from coser_cli.cli.tile_options import Tiles
from coser_cli.settings import DEFAULT_SEED, Settings


@with_groups
def upscale(
    ctx: typer.Context,
    *,
    inputs: options.Inputs = None,
    scale: options.Scale = 4.0,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    files: Files,
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
    compare: options.Compare = False,
    tiles: Tiles,
    compute: Compute,
    config: options.Config = None,  # noqa: ARG001 (its callback has done the work)
    quiet: options.Quiet = False,
    as_json: options.Json = False,
    _always_tiles: bool = False,
) -> None:
    """Enlarge pictures and restore their detail; large ones in tiles."""
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
    with (
        Pipes(inputs or [], output, files.from_file, as_json=as_json) as pipes,
        Reporter(as_json=as_json, quiet=quiet, results=not pipes.to_stdout) as reporter,
    ):
        from coser_cli.engine.worker import Work

        spec = tiles.spec
        given = require_fitting(settings, reference or (), save_reference)
        imported = read_references(reporter, given)
        model = choose_model(reporter, compute.model)
        warn_of_idle_options(reporter, model, settings, given, save_reference)
        guides = 1 if reference_select == "clip" else len(given) or references
        planned = make_plan(
            ctx,
            files,
            pipes,
            model=model,
            save_reference=save_reference,
            references=guides,
            imported=given,
            compare=compare,
        )
        job = Work(
            settings, imported, planned.fit, planned.encoding, spec, _always_tiles, overwrite
        )
        act = tell_plans if tiles.dry_run else work
        act(reporter, planned, compute, model, job)
