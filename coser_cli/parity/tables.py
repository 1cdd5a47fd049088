"""Schedule tables and colour fixes, as our sampler and engine have them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from coser_cli.config import ScheduleConfig
from coser_cli.engine.color_fix import color_fix
from coser_cli.parity.load import GoldenSet
from coser_cli.sampling.schedulers import alphas_cumprod, base_betas, make_scheduler
from coser_cli.tiling.blend import PUBLISHED, VARIANCE

Tensors = dict[str, Tensor]


def schedule_tables(golden: GoldenSet, name: str) -> Tensors:
    """Tables of the whole and of the respaced schedules, and the published tile weights."""
    config = golden.config(name)
    schedule = ScheduleConfig(config["timesteps"], config["linear_start"], config["linear_end"])
    tables: Tensors = {}
    for group in {output.split("/")[0] for output in golden.outputs(name)}:
        if group.isdigit():
            group_tables = _respaced_tables(schedule, int(group))
        elif group.startswith("base"):
            group_tables = _tables(base_betas(schedule), alphas_cumprod(schedule))
        else:
            side = int(group.split("_")[2])
            window = torch.outer(PUBLISHED.rows(side), PUBLISHED.columns(side))
            # a constant factor, which cancels in the average
            tables[group] = window / (2 * torch.pi * VARIANCE)
            continue
        tables |= {f"{group}/{table}": values for table, values in group_tables.items()}
    return tables


def _respaced_tables(schedule: ScheduleConfig, steps: int) -> Tensors:
    """Tables of the `ddpm` sampler, with the posterior as its steps really apply it."""
    sampler = make_scheduler("ddpm", schedule, steps)
    scheduler = sampler.scheduler
    tables = _tables(scheduler.betas, scheduler.alphas_cumprod)
    tables["ori_timesteps"] = torch.tensor(sampler.timesteps[::-1])
    return tables | _posterior_of_steps(scheduler)


def _tables(betas: Tensor, alphas: Tensor) -> Tensors:
    """All tables of a schedule, ascending in time, from its betas and ᾱ."""
    previous = torch.cat([torch.ones_like(alphas[:1]), alphas[:-1]])
    variance = betas * (1 - previous) / (1 - alphas)
    return {
        "betas": betas,
        "alphas_cumprod": alphas,
        "alphas_cumprod_prev": previous,
        "sqrt_alphas_cumprod": alphas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas).sqrt(),
        "sqrt_recip_alphas_cumprod": (1 / alphas).sqrt(),
        "sqrt_recipm1_alphas_cumprod": (1 / alphas - 1).sqrt(),
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp_min(1e-20).log(),
        "posterior_mean_coef1": betas * previous.sqrt() / (1 - alphas),
        "posterior_mean_coef2": (1 - previous) * (1 - betas).sqrt() / (1 - alphas),
    }


def _posterior_of_steps(scheduler: Any) -> Tensors:
    """Posterior mean and variance read off single steps: a step is linear in its three inputs."""
    zero, one = torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)

    def step(index: int, output: Tensor, state: Tensor, seed: int = 0) -> float:
        generator = torch.Generator().manual_seed(seed)
        previous: Tensor = scheduler.step(
            output, index, state, generator=generator, return_dict=False
        )[0]
        return previous.item()

    alphas, rows = scheduler.alphas_cumprod.double(), []
    for index in range(len(alphas)):
        noise = step(index, zero, zero)
        drawn = torch.randn(1, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        of_state, of_output = step(index, zero, one) - noise, step(index, one, zero) - noise
        kept = alphas[index].item()
        coef1 = -of_output * (kept / (1 - kept)) ** 0.5
        coef2 = of_state - coef1 * kept**-0.5
        rows.append((coef1, coef2, (noise / drawn.item()) ** 2))
    coef1s, coef2s, variance = torch.tensor(rows, dtype=torch.float64).unbind(dim=1)
    return {
        "posterior_mean_coef1": coef1s,
        "posterior_mean_coef2": coef2s,
        "posterior_variance": variance,
        "posterior_log_variance_clipped": variance.clamp_min(1e-20).log(),
    }


def fixed_colors(golden: GoldenSet, name: str) -> Tensors:
    """Both colour fixes; the golden is in [-1, 1]."""
    inputs = golden.inputs(name)
    content, style = ((inputs[key] + 1) / 2 for key in ("content", "style"))
    return {fix: color_fix(fix, content, style) * 2 - 1 for fix in ("adain", "wavelet")}
