"""`coser evaluate make-pairs`: low-resolution pictures of high-resolution ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from coser_cli.cli.evaluate_metrics import Overwrite
from coser_cli.cli.options import common as options
from coser_cli.cli.options.declare import option
from coser_cli.cli.options.groups import with_groups
from coser_cli.errors import CoserError, Exit, UsageError, shown
from coser_cli.settings import DEFAULT_SEED, MAX_SEED
from coser_cli.version import __version__

if TYPE_CHECKING:
    from coser_cli.evaluation.pair_maker import PairMaker

Recipe = Literal["bicubic", "coser", "realesrgan"]
RECIPE_HELP = (
    "How pictures are reduced: bicubic; coser (blur, resizing, noise and JPEG, twice, in the mild "
    "ranges of the public CoSeR reproduction); realesrgan (the same in Real-ESRGAN's ranges)."
)


@dataclass(frozen=True)
class Reduction:
    """The values of the options that decide what low-resolution pictures look like."""

    recipe: Annotated[Recipe, option(RECIPE_HELP)] = "bicubic"
    scale: Annotated[
        int, option("Reduce each side by this factor.", "--scale -s", min=1, max=16)
    ] = 4
    crop: Annotated[
        int | None,
        option(
            "Take a square with this side from the middle of each picture, for example 512.",
            min=8,
            max=65536,
            metavar="SIDE",
        ),
    ] = None
    seed: Annotated[int, option("Draw degradations with this seed.", min=0, max=MAX_SEED)] = (
        DEFAULT_SEED
    )


@with_groups
def make_pairs(
    folder: Annotated[
        Path,
        typer.Argument(metavar="HR_DIR", help="Folder with true pictures.", readable=False),
    ],
    output: Annotated[
        Path,
        options.file_option(
            "Write DIR/HR, DIR/LR and DIR/manifest.json.", "--output -o", metavar="DIR"
        ),
    ],
    reduction: Reduction,
    overwrite: Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Make pairs of true and low-resolution pictures, and a manifest of how they were made."""
    from coser_cli.evaluation.pair_maker import without_empty_folders, write_manifest
    from coser_cli.evaluation.pairs import pictures_in

    if reduction.crop is not None and reduction.crop % reduction.scale:
        raise UsageError(f"--crop {reduction.crop} is no multiple of --scale {reduction.scale}")
    sources = pictures_in(folder)
    _require_new(output, sources, overwrite=overwrite)
    maker = _maker(reduction)
    pairs, failed = [], 0
    with without_empty_folders(output):
        for source in sources:
            try:
                pairs.append(maker.make(source, output))
            except CoserError as error:
                failed += 1
                typer.echo(f"coser: {error}", err=True)
    if pairs:
        facts = {**asdict(reduction), "program": f"coser {__version__}"}
        typer.echo(str(write_manifest(output, facts, pairs)))
    if not quiet:
        typer.echo(f"{len(pairs)} pairs, {failed} failed", err=True)
    if failed:
        raise typer.Exit(Exit.FAILED)


def _require_new(output: Path, sources: Sequence[Path], *, overwrite: bool) -> None:
    """Raise `UsageError` where pairs would be written over, or over each other."""
    from coser_cli.evaluation.pair_maker import MANIFEST, require_distinct_names

    require_distinct_names(sources)
    existing = [each for each in ("HR", "LR", MANIFEST) if (output / each).exists()]
    if existing and not overwrite:
        raise UsageError(
            f"{shown(output)} has {existing[0]} already", "use a new folder, or --overwrite"
        )
    inputs = {source.resolve().parent for source in sources}
    if inputs & {(output / kind).resolve() for kind in ("HR", "LR")}:
        raise UsageError(f"{shown(output)} holds the true pictures themselves", "use a new folder")


def _maker(reduction: Reduction) -> PairMaker:
    from coser_cli.evaluation.pair_maker import PairMaker
    from coser_cli.training.degradation import RECIPES, degrade

    config = replace(RECIPES[reduction.recipe], scale=reduction.scale)
    return PairMaker(
        lambda pixels, rng: degrade(pixels, config, rng),
        reduction.scale,
        reduction.seed,
        reduction.crop,
    )
