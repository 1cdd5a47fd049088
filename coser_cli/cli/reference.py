"""`coser reference`: write the picture that CoSeR imagines as its reference."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from coser_cli.cli import options
from coser_cli.cli.report import Reporter
from coser_cli.cli.upscale import choose_model, load_model, work
from coser_cli.settings import DEFAULT_SEED, MAX_GUIDANCE, Settings

# Where the reference is all there is, the short names mean it, too.
_GuidanceScale = Annotated[
    float | None,
    typer.Option(
        "--reference-guidance-scale",
        "--guidance-scale",
        min=1.0,
        max=MAX_GUIDANCE,
        envvar="COSER_REFERENCE_GUIDANCE_SCALE",
        help="Follow prompt and understanding this strongly; 1 is off and takes half the time.",
        rich_help_panel=options.SAMPLING,
        show_default=False,
    ),
]
_Strength = Annotated[
    float | None,
    typer.Option(
        "--reference-strength",
        "--strength",
        min=0.0,
        max=1.0,
        envvar="COSER_REFERENCE_STRENGTH",
        help="Let diffusion change this much: 0 not at all, 1 from pure noise.",
        rich_help_panel=options.SAMPLING,
        show_default=False,
    ),
]


def reference(
    inputs: options.Inputs,
    scale: options.Scale = 4.0,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    references: options.References = 1,
    steps: options.Steps = None,
    sampler: options.Sampler = None,
    seed: options.Seed = DEFAULT_SEED,
    reference_guidance_scale: _GuidanceScale = None,
    reference_strength: _Strength = None,
    prompt: options.Prompt = "",
    negative_prompt: options.NegativePrompt = None,
    model: options.Model = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    config: options.Config = None,  # noqa: ARG001 (its callback has done the work)
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Write the references that would guide the enlargement, and not the enlargement."""
    settings = Settings(
        scale=scale,
        steps=steps,
        sampler=sampler,
        reference_guidance_scale=reference_guidance_scale,
        reference_strength=reference_strength,
        prompt=prompt,
        negative_prompt=negative_prompt,
        references=references,
        seed=seed,
    )
    with Reporter(as_json=as_json, quiet=quiet) as reporter:
        from coser_cli.engine.jobs import plan

        model = choose_model(reporter, model)
        jobs = plan(inputs, output, scale=scale, kind="reference", references=references)
        load = partial(load_model, reporter, model, device, dtype)
        work(reporter, jobs, load, settings, overwrite=overwrite)
