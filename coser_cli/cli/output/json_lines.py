"""Results, plans and errors as data for `--json`, and plans as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from coser_cli.cli.output.streams import write_line
from coser_cli.errors import CoserError, shown
from coser_cli.size import Size

if TYPE_CHECKING:
    from coser_cli.batch.dry_run import Plan
    from coser_cli.batch.results import Result, Tally


JSON_VERSION = 1
"""Of the lines of `--json`. It grows when a key goes or changes its meaning; keys may come at any
time. `docs/json.md` describes them."""


def print_record(kind: str, values: Mapping[str, Any]) -> None:
    """One line of `--json` on stdout."""
    write_line(json.dumps({"type": kind, "version": JSON_VERSION, **values}))


def image_record(result: Result) -> dict[str, Any]:
    """One picture's line of `--json`; its keys are a contract with scripts."""
    job = result.job
    references = job.references or (() if job.kind == "upscale" else (job.target,))
    beside = job.references[0] if job.references and job.kind == "upscale" else None
    width, height = result.target_size.wh if result.target_size else (None, None)
    return {
        "source": str(job.source),
        "frame": None if job.frame is None else job.frame + 1,
        "target": str(job.target),
        "reference": None if beside is None else str(beside),
        "references": [str(path) for path in references],
        "comparison": None if job.comparison is None else str(job.comparison),
        "mask": None if job.mask is None else str(job.mask),
        "conditions": {name: str(path) for name, path in job.conditions.items()},
        "scores": None if result.scores is None else [round(each, 6) for each in result.scores],
        "chosen": None if result.chosen is None else result.chosen + 1,
        "status": result.status,
        "seconds": round(result.seconds, 3),
        "source_size": _pair(result.source_size),
        "width": width,
        "height": height,
        "seed": result.seed,
        "notes": list(result.notes),
        "error": None if result.error is None else error_record(result.error),
    }


def error_record(error: CoserError) -> dict[str, Any]:
    """An error for `--json`: a stable code, the exit code it stands for, message and remedy."""
    return {
        "code": error.exit_code.name.lower(),
        "exit_code": int(error.exit_code),
        "message": error.message,
        "hint": error.hint,
    }


def picture_counts(total: int, tally: Tally | None) -> dict[str, int]:
    """What the summary of a command that makes pictures counts."""
    names = ("done", "skipped", "failed", "not_started")
    return {"total": total, **{name: getattr(tally, name, 0) for name in names}}


def plan_record(plan: Plan) -> dict[str, Any]:
    """One picture's line of `--dry-run --json`; sizes are [width, height], amounts bytes."""
    cost = plan.cost
    record: dict[str, Any] = {
        "source": str(plan.job.source),
        "frame": None if plan.job.frame is None else plan.job.frame + 1,
        "target": str(plan.job.target),
        "outputs": [str(path) for path in plan.job.outputs],
        "existing": [str(path) for path in plan.existing],
        "source_size": _pair(plan.source_size),
        "size": _pair(plan.target_size),
        "tiled": bool(plan.why),
        "why_tiled": plan.why or None,
        "tiles": None,
        "seconds": None if plan.seconds is None else round(plan.seconds, 1),
        "error": None if plan.error is None else error_record(plan.error),
    }
    if cost is not None:
        diffusion = cost.diffusion
        record |= {
            "tiles": diffusion.tiles,
            "tile_batch": diffusion.tile_batch,
            "batches": diffusion.batches,
            "steps": diffusion.steps,
            "references": diffusion.references,
            "reference_steps": diffusion.reference_steps,
            "evaluations": {"unet": diffusion.unet, "controlnet": diffusion.controlnet},
            "vae_tiles": cost.vae_tiles,
            "memory_bytes": cost.memory,
            "disk_bytes": cost.disk,
        }
    return record


def plan_text(plan: Plan) -> str:
    """A plan in words: a line for the picture, and indented ones for what it takes."""
    head = f"{shown(plan.job.source)} → {shown(plan.job.target)}"
    if plan.error is not None:
        return f"{head}\n  cannot: {plan.error}"
    lines = [head]
    if plan.source_size and plan.target_size:
        lines.append(f"  {plan.source_size} → {plan.target_size} pixels")
    if plan.existing:
        existing = ", ".join(shown(path) for path in plan.existing)
        lines.append(f"  exists already: {existing}")
    lines += _cost_lines(plan)
    return "\n".join(lines)


def _cost_lines(plan: Plan) -> list[str]:
    cost = plan.cost
    if cost is None:
        return []
    diffusion, lines = cost.diffusion, []
    lines.append(f"  in tiles ({plan.why})" if plan.why else "  at once")
    if diffusion.tiles:
        steps = _counted(diffusion.steps, "step")
        if diffusion.references and diffusion.reference_steps:
            imagined = _counted(diffusion.reference_steps, "step")
            steps += f" after {_counted(diffusion.references, 'reference')} of {imagined}"
        tiles, batches = _counted(diffusion.tiles, "tile"), diffusion.batches
        lines.append(
            f"  diffusion: {steps}, {tiles} in {_counted(batches, 'batch', 'batches')} per step,"
            f" {_counted(diffusion.unet, 'evaluation')} of the U-Net,"
            f" {diffusion.controlnet} of the ControlNet"
        )
    time = "time unknown" if plan.seconds is None else f"about {_duration(plan.seconds)}"
    memory, disk = cost.memory / 2**30, cost.disk / 2**30
    lines.append(f"  {memory:.1f} GiB of memory, {disk:.1f} GiB of temporary space, {time}")
    return lines


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _pair(size: Size | None) -> list[int] | None:
    return None if size is None else list(size.wh)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
