"""`coser train`: the stages that make a model such as `mini`, or train the full one."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from coser_cli.cli.options import training as options
from coser_cli.errors import UsageError

RECIPES = Path(__file__).parents[1] / "training" / "recipes"
LAUNCHER = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher sets beside WORLD_SIZE."""


def train(
    stage: options.StageName,
    data: options.Data = None,
    config: options.Config = None,
    work: options.Work = Path("runs/mini"),
    dry_run: options.DryRun = False,
    mixed_precision: options.MixedPrecision = None,
    accumulation: options.Accumulation = None,
    gradient_checkpointing: options.GradientCheckpointing = None,
    data_workers: options.DataWorkers = None,
    gpus: options.Gpus = 1,
    rate: options.Rate = 100.0,
    samples_every: options.SamplesEvery = None,
    tensorboard: options.TensorBoard = False,
) -> None:
    """Run one training stage; run again after an interruption, it goes on.

    Several GPUs: accelerate launch -m coser_cli train STAGE ...
    """
    if stage not in options.STAGE_NAMES:
        raise UsageError(f"STAGE {stage!r} is none of {', '.join(options.STAGE_NAMES)}")
    if mixed_precision not in (None, "no", "fp16", "bf16"):
        raise UsageError(f"--mixed-precision {mixed_precision!r} is none of no, fp16, bf16")
    _require_launcher()
    _require_extra()
    if dry_run and stage in ("teacher", "export"):
        raise UsageError(f"the stage {stage} trains nothing", "a dry run is of another stage")
    choices = {
        "mixed_precision": mixed_precision,
        "accumulation": accumulation,
        "gradient_checkpointing": gradient_checkpointing,
        "workers": data_workers,
        "samples_every": samples_every,
    }
    overrides = {name: value for name, value in choices.items() if value is not None}
    from coser_cli.training.recipe import read_recipe
    from coser_cli.training.workspace import Workspace

    recipe = read_recipe(config or RECIPES / "mini.toml")
    if dry_run:
        from coser_cli.training.dry_run import needs_of, report

        space = Workspace(recipe, data, work, overrides, meta=True)
        for line in report(stage, needs_of(space, stage, gpus), gpus, rate):
            typer.echo(line)
        return
    from coser_cli.training.stages import STAGES

    space = Workspace(recipe, data, work, overrides, tensorboard)
    space.require_pictures(stage)
    STAGES[stage](space)
    if os.environ.get("RANK", "0") == "0":
        typer.echo(str(work / ("model" if stage == "export" else stage)))


def _require_launcher() -> None:
    """Processes that know of others, but not how to reach them, would all write one checkpoint."""
    world = os.environ.get("WORLD_SIZE", "1")
    missing = [name for name in LAUNCHER if name not in os.environ]
    if world != "1" and missing:
        raise UsageError(
            f"WORLD_SIZE is {world}, but {missing[0]} is not set",
            "start several processes with: accelerate launch -m coser_cli train ...",
        )


def _require_extra() -> None:
    try:
        import accelerate  # noqa: F401
        import webdataset  # noqa: F401
        from stlpips_pytorch import stlpips  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"training is not installed ({error.name})", "pip install 'coser-cli[train]'"
        ) from error
