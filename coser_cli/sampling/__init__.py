"""Diffusion sampling: samplers by name, noise, guidance and the loop; none of them knows a network.

What `docs/python.md` uses is imported here.
"""

from coser_cli.sampling.loop import sample
from coser_cli.sampling.noise import seeded_noise
from coser_cli.sampling.schedulers import add_noise, alphas_cumprod, make_scheduler

__all__ = ["add_noise", "alphas_cumprod", "make_scheduler", "sample", "seeded_noise"]
