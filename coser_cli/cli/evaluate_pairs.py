"""`coser evaluate make-pairs`: low-resolution pictures of high-resolution ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from coser_cli.cli.options import common as options
from coser_cli.errors import CoserError, Exit, UsageError, shown
from coser_cli.settings import DEFAULT_SEED
from coser_cli.version import __version__

Recipe = Literal["bicubic", "coser", "realesrgan"]
RECIPE_HELP = (
    "How pictures are reduced: bicubic; coser (blur, resizing, noise and JPEG, twice, in the mild "
    "ranges of the public CoSeR reproduction); realesrgan (the same in Real-ESRGAN's ranges)."
)


def make_pairs(
    folder: Annotated[
        Path,
        typer.Argument(metavar="HR_DIR", help="Folder with true pictures.", readable=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Write DIR/HR, DIR/LR and DIR/manifest.json.",
            rich_help_panel=options.IN_OUT,
        ),
    ],
    recipe: Annotated[Recipe, typer.Option("--recipe", help=RECIPE_HELP)] = "bicubic",
    scale: Annotated[
        int, typer.Option("--scale", "-s", min=1, max=16, help="Reduce each side by this.")
    ] = 4,
    crop: Annotated[
        int | None,
        typer.Option(
            "--crop",
            min=8,
            metavar="SIDE",
            help="Take a square with this side from the middle of each picture, for example 512.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Draw degradations with this seed.")
    ] = (DEFAULT_SEED),
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Make pairs of true and low-resolution pictures, and a manifest of how they were made."""
    from coser_cli.evaluation.pair_maker import (
        MANIFEST,
        PairMaker,
        require_distinct_names,
        write_manifest,
    )
    from coser_cli.evaluation.pairs import pictures_in
    from coser_cli.training.degradation import RECIPES, degrade

    if crop is not None and crop % scale:
        raise UsageError(f"--crop {crop} is no multiple of --scale {scale}")
    sources = pictures_in(folder)
    require_distinct_names(sources)
    taken = [each for each in ("HR", "LR", MANIFEST) if (output / each).exists()]
    if taken and not overwrite:
        raise UsageError(
            f"{shown(output)} has {taken[0]} already", "use a new folder, or --overwrite"
        )
    config = replace(RECIPES[recipe], scale=scale)
    maker = PairMaker(lambda pixels, rng: degrade(pixels, config, rng), scale, seed, crop)
    pairs, failed = [], 0
    for source in sources:
        try:
            pairs.append(maker.make(source, output))
        except CoserError as error:
            failed += 1
            typer.echo(f"coser: {error}", err=True)
    if pairs:
        facts = {
            "recipe": recipe,
            "scale": scale,
            "seed": seed,
            "crop": crop,
            "program": f"coser {__version__}",
        }
        typer.echo(str(write_manifest(output, facts, pairs)))
    if not quiet:
        typer.echo(f"{len(pairs)} pairs, {failed} failed", err=True)
    if failed:
        raise typer.Exit(Exit.FAILED)
