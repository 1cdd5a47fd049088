"""`coser upscale`: enlarge pictures."""

from __future__ import annotations

import typer

from coser_cli.cli.execute import act, choose_model, provenance_of
from coser_cli.cli.options import common as options
from coser_cli.cli.options.compute import Compute
from coser_cli.cli.options.files import Files
from coser_cli.cli.options.groups import with_groups
from coser_cli.cli.options.reporting import Reporting
from coser_cli.cli.options.sampling import Diffusion, Presets
from coser_cli.cli.options.tiling import Tiles
from coser_cli.cli.options.workers import Spread
from coser_cli.cli.plan import make_plan, read_references, require_fitting, warn_of_idle_options
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
    compare: options.Compare = False,
    tiles: Tiles,
    compute: Compute,
    spread: Spread,
    reporting: Reporting,
    _always_tiles: bool = False,
) -> None:
    """Enlarge pictures and restore their detail; large ones in tiles."""
    settings = diffusion.settings(scale, presets.chosen)
    with (
        Pipes(inputs or [], output, files.from_file, as_json=reporting.as_json) as pipes,
        reporting.reporter(results=not pipes.to_stdout) as reporter,
    ):
        from coser_cli.batch.request import Work

        spec = tiles.spec
        spread.require_sane(reporting.fail_fast)
        given = require_fitting(settings, reference or (), save_reference)
        imported = read_references(reporter, given)
        model = choose_model(reporter, compute.model)
        warn_of_idle_options(reporter, model, settings, given, save_reference)
        guides = 1 if settings.reference_select == "clip" else len(given) or settings.references
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
        known = provenance_of(model, given, compute.dtype)
        how = planned.fit, planned.encoding, spec, _always_tiles, overwrite, known
        act(
            reporter,
            planned,
            compute,
            model,
            Work(settings, imported, *how),
            spread,
            dry_run=tiles.dry_run,
            fail_fast=reporting.fail_fast,
        )
