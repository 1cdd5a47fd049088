"""`coser upscale`: enlarge pictures."""

from __future__ import annotations

import typer

from coser_cli.cli.execute import execute
from coser_cli.cli.options import common as options
from coser_cli.cli.options.compute import ComputeOptions
from coser_cli.cli.options.files import Files
from coser_cli.cli.options.groups import with_groups
from coser_cli.cli.options.reporting import Reporting
from coser_cli.cli.options.sampling import Diffusion, Presets
from coser_cli.cli.options.tiling import Tiles
from coser_cli.cli.options.workers import Workers
from coser_cli.cli.output.stages import expected_costs
from coser_cli.cli.plan import (
    make_plan,
    make_request,
    require_fitting,
    require_named,
    warn_of_idle_options,
)
from coser_cli.cli.stdio import Pipes


@with_groups
def upscale(
    ctx: typer.Context,
    *,
    inputs: options.Inputs = None,
    scale: options.Scale = 4.0,
    output: options.Output = None,
    overwrite: options.Overwrite = False,
    files: Files,
    presets: Presets,
    diffusion: Diffusion,
    reference: options.Reference = None,
    save_reference: options.SaveReference = None,
    mask: options.Mask = None,
    condition: options.Conditions = None,
    compare: options.Compare = False,
    tiles: Tiles,
    compute: ComputeOptions,
    workers: Workers,
    reporting: Reporting,
    _always_tiles: bool = False,
) -> None:
    """Enlarge pictures and restore their detail; large ones in tiles."""
    settings = diffusion.settings(scale, presets.chosen)
    with (
        Pipes(inputs or [], output, files.from_file, as_json=reporting.as_json) as pipes,
        reporting.reporter(results=not pipes.to_stdout) as reporter,
    ):
        from coser_cli.batch.request import prepare

        conditions = require_named(condition or ())
        request = make_request(
            ctx,
            reporter,
            settings,
            files,
            tiles,
            compute,
            workers,
            reporting,
            references=require_fitting(settings, reference or (), save_reference),
            always_tiles=_always_tiles,
            overwrite=overwrite,
            conditions=conditions,
        )
        work = prepare(request, reporter.report)
        saved, imported = save_reference is not None, len(request.references)
        warn_of_idle_options(ctx, reporter, work, want_reference=saved)
        reporter.expect(expected_costs(work.settings, imported=imported, saved=saved))
        used = len(request.references) or settings.references
        planned = make_plan(
            files,
            pipes,
            request,
            save_reference=save_reference,
            references=1 if settings.reference_select == "clip" else used,
            compare=compare,
            mask=mask,
            conditions=conditions,
        )
        execute(reporter, planned, work, dry_run=tiles.dry_run, warm=workers.warm)
