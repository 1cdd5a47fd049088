"""`coser train`: the stages that make a model such as `mini`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coser_cli.errors import UsageError

STAGE_NAMES = (
    "autoencoder",
    "srresnet",
    "sharpen",
    "cognition",
    "unet",
    "restoration",
    "cfw",
    "export",
)
RECIPE = Path(__file__).parents[1] / "training" / "recipes" / "mini.toml"


def train(
    stage: Annotated[
        str,
        typer.Argument(metavar="STAGE", help=f"One of, in this order: {' '.join(STAGE_NAMES)}."),
    ],
    data: Annotated[
        Path, typer.Option(help="Folder with photos and captions.tsv (file, label_or_caption).")
    ],
    config: Annotated[
        Path, typer.Option(help="Recipe (TOML).", show_default="the bundled recipe of mini")
    ] = RECIPE,
    work: Annotated[
        Path, typer.Option(help="Folder for checkpoints, logs, caches and the exported model.")
    ] = Path("runs/mini"),
) -> None:
    """Run one training stage; run again after an interruption, it goes on."""
    if stage not in STAGE_NAMES:
        raise UsageError(f"STAGE {stage!r} is none of {', '.join(STAGE_NAMES)}")
    try:
        import accelerate  # noqa: F401
        from stlpips_pytorch import stlpips  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"training is not installed ({error.name})", "pip install 'coser-cli[train]'"
        ) from error
    from coser_cli.training.stages import STAGES, Workspace, read_recipe

    STAGES[stage](Workspace(read_recipe(config), data, work))
    typer.echo(str(work / ("model" if stage == "export" else stage)))
