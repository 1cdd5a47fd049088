"""`coser reference`: write the picture that CoSeR imagines as its reference."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import typer

from coser_cli.cli.execute import execute
from coser_cli.cli.options import common as options
from coser_cli.cli.options import sampling
from coser_cli.cli.options.compute import ComputeOptions
from coser_cli.cli.options.files import Files
from coser_cli.cli.options.groups import with_groups
from coser_cli.cli.options.reporting import Reporting
from coser_cli.cli.options.tiling import Tiles
from coser_cli.cli.options.workers import Workers
from coser_cli.cli.output.stages import expected_costs
from coser_cli.cli.plan import make_plan, make_request, warn_of_idle_options
from coser_cli.cli.stdio import Pipes
from coser_cli.settings import DEFAULT_SEED, MAX_GUIDANCE, Settings

# Where the reference is all there is, the short names mean it, too.
_GuidanceScale = Annotated[
    float | None,
    options.sampling_option(
        "Follow prompt and understanding this strongly; 1 is off and takes half the time.",
        "--reference-guidance-scale --guidance-scale",
        min=1.0,
        max=MAX_GUIDANCE,
        envvar="COSER_REFERENCE_GUIDANCE_SCALE",
    ),
]
_Strength = Annotated[
    float | None,
    options.sampling_option(
        "Let diffusion change this much: 0 not at all, 1 from pure noise.",
        "--reference-strength --strength",
        min=0.0,
        max=1.0,
        envvar="COSER_REFERENCE_STRENGTH",
    ),
]
_Mode = Annotated[
    Literal["global", "tile"],
    options.reference_option(
        "Where a large picture is done in tiles: steer them all by what the whole shows, or "
        "each also by what it shows itself.",
        envvar="COSER_REFERENCE_MODE",
    ),
]


@dataclass(frozen=True)
class Imagining:
    """The values of the options about the reference and its sampling."""

    steps: sampling.Steps = None
    sampler: sampling.Sampler = None
    seed: sampling.Seed = DEFAULT_SEED
    reference_guidance_scale: _GuidanceScale = None
    guidance_interval: sampling.GuidanceInterval = None
    reference_strength: _Strength = None
    deep_interval: sampling.DeepInterval = 1
    prompt: sampling.Prompt = ""
    negative_prompt: sampling.NegativePrompt = None
    reference_mode: _Mode = "global"


@with_groups
def reference(
    ctx: typer.Context,
    *,
    inputs: options.Inputs = None,
    scale: options.Scale = 4.0,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    references: sampling.References = 1,
    files: Files,
    presets: sampling.Presets,
    imagining: Imagining,
    tiles: Tiles,
    compute: ComputeOptions,
    workers: Workers,
    reporting: Reporting,
) -> None:
    """Write the references that would guide the enlargement, and not the enlargement."""
    values = asdict(imagining)
    steps = values.pop("steps")
    preset = presets.chosen
    settings = Settings(
        scale, preset=preset, references=references, reference_steps=steps, **values
    )
    with (
        Pipes(inputs or [], output, files.from_file, as_json=reporting.as_json) as pipes,
        reporting.reporter(results=not pipes.to_stdout) as reporter,
    ):
        from coser_cli.batch.request import prepare

        request = make_request(
            ctx, reporter, settings, files, tiles, compute, workers, reporting, overwrite=overwrite
        )
        work = prepare(request, reporter.report)
        warn_of_idle_options(ctx, reporter, work, want_result=False)
        reporter.expect(expected_costs(work.settings, reference_only=True))
        planned = make_plan(files, pipes, request, kind="reference", references=references)
        execute(reporter, planned, work, dry_run=tiles.dry_run, warm=workers.warm)
