"""DPM-Solver++ 3M for the reverse diffusion SDE, on diffusers' scheduler.

diffusers' own third-order update of the SDE has one half with the wrong sign (as of 0.42: its
coefficient of D2 tends to -1 with the length of a step, where it must tend to 0), which spoils
pictures the more the more steps are taken.
"""

from __future__ import annotations

from typing import Any

# Must come before anything of diffusers.
from coser_cli import lean_diffusers  # noqa: F401

# isort: split
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor


class DPMSolver3MSDEScheduler(DPMSolverMultistepScheduler):
    """`sde-dpmsolver++` of order 3: k-diffusion's `dpmpp_3m_sde` at eta 1, on what Lu et al. 2022
    (DPM-Solver++) call multistep."""

    def multistep_dpm_solver_third_order_update(
        self,
        model_output_list: list[Tensor],
        *args: Any,
        sample: Tensor,
        noise: Tensor,
        **kwargs: Any,
    ) -> Tensor:
        """The state after a step from the last three predictions of x0, newest last.

        h is the length of the step in λ = log(α/σ), of the second order are `slope` and `weight`,
        and what the third adds is `bend`, whose factor goes to 0 with h.
        """
        ratios = [self.sigmas[self.step_index + offset] for offset in (1, 0, -1, -2)]  # σ/α
        alphas = [1 / (ratio**2 + 1) ** 0.5 for ratio in ratios]
        sigmas = [ratio * alpha for ratio, alpha in zip(ratios, alphas, strict=True)]
        alpha_t, sigma_t, sigma_s = alphas[0], sigmas[0], sigmas[1]
        now, last, before, first = (
            alpha.log() - sigma.log() for alpha, sigma in zip(alphas, sigmas, strict=True)
        )
        h, r0, r1 = now - last, (last - before) / (now - last), (before - first) / (now - last)
        newest, middle, oldest = reversed(model_output_list[-3:])
        slope, slope_before = (newest - middle) / r0, (middle - oldest) / r1
        bend = (slope - slope_before) / (r0 + r1)
        slope = slope + r0 * bend
        decay = (-2 * h).exp()
        weight = (decay - 1) / (2 * h) + 1
        predicted = (1 - decay) * newest + weight * slope + (0.5 - weight / (2 * h)) * bend
        deviation = sigma_t * (1 - decay).sqrt()
        return sigma_t / sigma_s * (-h).exp() * sample + alpha_t * predicted + deviation * noise
