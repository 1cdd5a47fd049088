"""Options of `coser train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

STAGE_NAMES = (
    "teacher",
    "srresnet",
    "cognition",
    "restoration",
    "condition",
    "one_step",
    "export",
)
RUN, COMPUTE, REPORTING = "Run", "Compute", "Reporting"
OF_RECIPE = "the recipe's"

StageName = Annotated[
    str, typer.Argument(metavar="STAGE", help=f"One of, in this order: {' '.join(STAGE_NAMES)}.")
]
Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder with pictures: captions.tsv, folders of classes, or webdataset shards.",
        rich_help_panel=RUN,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        help="Recipe (TOML).", show_default="the bundled recipe of mini", rich_help_panel=RUN
    ),
]
Work = Annotated[
    Path,
    typer.Option(
        help="Folder for checkpoints, logs, samples and the exported model.", rich_help_panel=RUN
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Train nothing: print parameters, memory, steps and hours.",
        rich_help_panel=RUN,
    ),
]
MixedPrecision = Annotated[
    str | None,
    typer.Option(help="no, fp16 or bf16.", show_default=OF_RECIPE, rich_help_panel=COMPUTE),
]
Accumulation = Annotated[
    int | None,
    typer.Option(
        help="Passes per step of the optimiser; the recipe's batch is shared among them.",
        metavar="N",
        min=1,
        show_default=OF_RECIPE,
        rich_help_panel=COMPUTE,
    ),
]
GradientCheckpointing = Annotated[
    bool | None,
    typer.Option(
        help="Compute activations again instead of keeping them: less memory, more time.",
        show_default=OF_RECIPE,
        rich_help_panel=COMPUTE,
    ),
]
DataWorkers = Annotated[
    int | None,
    typer.Option(
        "--data-workers",
        help="Processes that prepare examples, for each that trains.",
        metavar="N",
        min=0,
        show_default=OF_RECIPE,
        rich_help_panel=COMPUTE,
    ),
]
Gpus = Annotated[
    int,
    typer.Option(
        help="GPUs that a dry run counts with.", metavar="N", min=1, rich_help_panel=COMPUTE
    ),
]
Rate = Annotated[
    float,
    typer.Option(
        help="TFLOP/s that a dry run takes each GPU to sustain.",
        min=0.1,
        max=10000,
        rich_help_panel=COMPUTE,
    ),
]
SamplesEvery = Annotated[
    int | None,
    typer.Option(
        help="Write sample pictures every N steps; 0 never.",
        metavar="N",
        min=0,
        show_default=OF_RECIPE,
        rich_help_panel=REPORTING,
    ),
]
TensorBoard = Annotated[
    bool, typer.Option(help="Write TensorBoard's events, too.", rich_help_panel=REPORTING)
]
