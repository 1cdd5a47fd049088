"""Options of `coser train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coser_cli.cli.options.common import reporting_option
from coser_cli.cli.options.declare import options_of

STAGE_NAMES = (
    "teacher",
    "srresnet",
    "cognition",
    "restoration",
    "condition",
    "one_step",
    "export",
)
run_option, compute_option = options_of("Run"), options_of("Compute")
OF_RECIPE = "the recipe's"

StageName = Annotated[
    str, typer.Argument(metavar="STAGE", help=f"One of, in this order: {' '.join(STAGE_NAMES)}.")
]
Data = Annotated[
    Path | None,
    run_option("Folder with pictures: captions.tsv, folders of classes, or webdataset shards."),
]
Config = Annotated[
    Path | None, run_option("Recipe (TOML).", show_default="the bundled recipe of mini")
]
Work = Annotated[Path, run_option("Folder for checkpoints, logs, samples and the exported model.")]
DryRun = Annotated[
    bool, run_option("Train nothing: print parameters, memory, steps and hours.", "--dry-run")
]
MixedPrecision = Annotated[str | None, compute_option("no, fp16 or bf16.", show_default=OF_RECIPE)]
Accumulation = Annotated[
    int | None,
    compute_option(
        "Passes per step of the optimiser; the recipe's batch is shared among them.",
        metavar="N",
        min=1,
        show_default=OF_RECIPE,
    ),
]
GradientCheckpointing = Annotated[
    bool | None,
    compute_option(
        "Compute activations again instead of keeping them: less memory, more time.",
        show_default=OF_RECIPE,
    ),
]
DataWorkers = Annotated[
    int | None,
    compute_option(
        "Processes that prepare examples, for each that trains.",
        metavar="N",
        min=0,
        show_default=OF_RECIPE,
    ),
]
Gpus = Annotated[int, compute_option("GPUs that a dry run counts with.", metavar="N", min=1)]
Rate = Annotated[
    float, compute_option("TFLOP/s that a dry run takes each GPU to sustain.", min=0.1, max=10000)
]
SamplesEvery = Annotated[
    int | None,
    reporting_option(
        "Write sample pictures every N steps; 0 never.", metavar="N", min=0, show_default=OF_RECIPE
    ),
]
TensorBoard = Annotated[bool, reporting_option("Write TensorBoard's events, too.")]
