"""`coser evaluate`: a model's figures on pairs of pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.options import sampling as sampling_options
from coser_cli.cli.output.json_lines import JSON_VERSION
from coser_cli.errors import UsageError
from coser_cli.settings import DEFAULT_SEED


def evaluate(
    sets: Annotated[
        list[Path], typer.Argument(metavar="SETS", help="Folders with HR/ and LR/ pictures (PNG).")
    ],
    rows: Annotated[
        str, typer.Option(help="What to measure, by commas: parts of the model, or `all`.")
    ] = "bicubic,everything",
    metrics: Annotated[
        str, typer.Option(help="Metrics, by commas: psnr_y, ssim_y, st_lpips, st_lpips_vgg.")
    ] = "psnr_y,st_lpips",
    model: options.Model = "auto",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    scale: options.Scale = 4.0,
    steps: sampling_options.Steps = None,
    sampler: sampling_options.Sampler = None,
    strength: sampling_options.Strength = None,
    fidelity: sampling_options.Fidelity = None,
    guidance_scale: sampling_options.GuidanceScale = None,
    seed: sampling_options.Seed = DEFAULT_SEED,
    as_json: options.Json = False,
) -> None:
    """Measure a model on pairs of LR and HR pictures, whole or with parts left out."""
    try:
        import torchmetrics  # noqa: F401
        from stlpips_pytorch import stlpips  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the metrics are not installed ({error.name})", "pip install 'coser-cli[eval]'"
        ) from error
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.evaluation import protocol
    from coser_cli.evaluation.metrics import METRICS
    from coser_cli.settings import Settings

    chosen = list(protocol.ROWS) if rows == "all" else _names(rows, list(protocol.ROWS), "--rows")
    named = _names(metrics, list(METRICS), "--metrics")
    settings = Settings(
        scale=scale,
        steps=steps,
        sampler=sampler,
        strength=strength,
        fidelity=fidelity,
        guidance_scale=guidance_scale,
        seed=seed,
    )
    upscaler = Upscaler.load(model, device=device, dtype=dtype)
    for folder in sets:
        for row in chosen:
            found = protocol.measure(upscaler, folder, settings, row, named)
            record = {
                "type": "evaluation",
                "version": JSON_VERSION,
                "set": folder.name,
                "row": row,
                **found,
            }
            line = "  ".join(f"{key} {value}" for key, value in list(record.items())[2:])
            typer.echo(json.dumps(record) if as_json else line)


def _names(text: str, known: list[str], option: str) -> list[str]:
    chosen = [name.strip() for name in text.split(",")]
    for name in chosen:
        if name not in known:
            raise UsageError(f"{option}: {name!r} is none of {', '.join(known)}")
    return chosen
