"""Types of the callables of sampling."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

Predict = Callable[[Tensor, int], Tensor]
"""(latents `(B, C, h, w)`, timestep) -> what the network predicts, same shape."""
Denoise = Callable[[Tensor, int, int], Tensor]
"""(latents `(B, C, h, w)`, timestep, guidance branches n) -> predictions `(n·B, C, h, w)`, one
branch after the other: the positive one alone, or the positive and the negative one."""
Noise = Callable[[int], Tensor]
"""step index, 0 = noisiest -> white noise of the latents' shape."""
Draw = Callable[[str, int], Tensor]
"""(stream, step) -> white noise; streams: start, imagine, restore, and start/k, imagine/k of the
k-th further reference."""
OnStep = Callable[[int, int, Tensor], None]
"""(steps done, steps in all, latents after the step)."""
