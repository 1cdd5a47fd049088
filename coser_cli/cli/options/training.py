"""Options of `coser train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coser_cli.cli.options.declare import option

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
    option(
        "", RUN, "Folder with pictures: captions.tsv, folders of classes, or webdataset shards."
    ),
]
Config = Annotated[
    Path | None,
    option("", RUN, "Recipe (TOML).", show_default="the bundled recipe of mini"),
]
Work = Annotated[
    Path,
    option("", RUN, "Folder for checkpoints, logs, samples and the exported model."),
]
DryRun = Annotated[
    bool,
    option("--dry-run", RUN, "Train nothing: print parameters, memory, steps and hours."),
]
MixedPrecision = Annotated[
    str | None,
    option("", COMPUTE, "no, fp16 or bf16.", show_default=OF_RECIPE),
]
Accumulation = Annotated[
    int | None,
    option(
        "",
        COMPUTE,
        "Passes per step of the optimiser; the recipe's batch is shared among them.",
        metavar="N",
        min=1,
        show_default=OF_RECIPE,
    ),
]
GradientCheckpointing = Annotated[
    bool | None,
    option(
        "",
        COMPUTE,
        "Compute activations again instead of keeping them: less memory, more time.",
        show_default=OF_RECIPE,
    ),
]
DataWorkers = Annotated[
    int | None,
    option(
        "--data-workers",
        COMPUTE,
        "Processes that prepare examples, for each that trains.",
        metavar="N",
        min=0,
        show_default=OF_RECIPE,
    ),
]
Gpus = Annotated[
    int,
    option("", COMPUTE, "GPUs that a dry run counts with.", metavar="N", min=1),
]
Rate = Annotated[
    float,
    option("", COMPUTE, "TFLOP/s that a dry run takes each GPU to sustain.", min=0.1, max=10000),
]
SamplesEvery = Annotated[
    int | None,
    option(
        "",
        REPORTING,
        "Write sample pictures every N steps; 0 never.",
        metavar="N",
        min=0,
        show_default=OF_RECIPE,
    ),
]
TensorBoard = Annotated[bool, option("", REPORTING, "Write TensorBoard's events, too.")]
