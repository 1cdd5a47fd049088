"""Steps as CUDA graphs: what a step launches is recorded once per form of input, and replayed.

A GPU is kept waiting where launching takes longer than computing: by small pictures. A graph reads
and writes fixed memory; everything that changes is copied there before, and the result from there.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from coser_cli.engine.compute.retry import free_cache, is_out_of_memory, reason_of
from coser_cli.models.step import (
    Execute,
    Step,
    agree,
    eagerly,
    form_of,
    is_finite,
    leaves,
    with_leaves,
)

logger = logging.getLogger(__name__)
PATIENCE = 3
"""Steps of one form that are run as they are, until the next one is recorded: recording takes the
time of about five steps."""
MOST_GRAPHS = 12
"""Graphs per process: each holds memory of its own."""
_WARM_UP = 3
Replay = Callable[[], None]
Capture = Callable[[Callable[[], None]], Replay]
"""Records what a function without arguments launches; what it returns launches that again."""


class CudaCapture:
    """Capture by `torch.cuda.CUDAGraph`, as its documentation wants it: warmed up on a side stream;
    one pool of memory for all graphs, which are never replayed at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None

    def __call__(self, function: Callable[[], None]) -> Replay:
        with torch.cuda.device(self._device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            ours, side = torch.cuda.current_stream(), torch.cuda.Stream()
            side.wait_stream(ours)
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP):
                    function()
            ours.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # other threads read and write files, and may do with the device what they like
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                function()
        return graph.replay


class Graphed:
    """Runs steps as graphs of what `run` does with them (`step.Execute`).

    A form is recorded after `PATIENCE` steps, on numbers that are not those of any step, and its
    first replay is compared with the step as it is: whatever were baked in would show. Where that
    fails, or memory does not suffice, one line says so, and steps are run as they are from then on.
    """

    def __init__(self, capture: Capture, run: Execute = eagerly) -> None:
        self._capture = capture
        self._run = run
        self._graphs: dict[Any, _Graph] = {}
        self._seen: Counter[Any] = Counter()
        self._given_up = False

    @property
    def count(self) -> int:
        """How many graphs there are."""
        return len(self._graphs)

    def __call__(self, step: Step, network: Any, given: Any) -> Any:
        if self._given_up:
            return self._run(step, network, given)
        form = step, network, form_of(given), torch.is_inference_mode_enabled()
        if form in self._graphs:
            return self._graphs[form](given)
        self._seen[form] += 1
        found = self._as_it_is(step, network, given)
        if self._seen[form] <= PATIENCE or self.count >= MOST_GRAPHS or not is_finite(found):
            return found
        try:
            return self._recorded(form, given, found)
        except Exception as error:  # of CUDA, of a kernel that cannot be captured
            reason = reason_of(error)
        self._give_up(reason, given)
        return found

    def _recorded(self, form: Any, given: Any, expected: Any) -> Any:
        step, network, *_ = form
        run = lambda given: self._run(step, network, given)  # noqa: E731
        graph = _Graph(self._capture, run, given)
        found = graph(given)
        if not agree(found, expected):
            self._give_up("its result is not that of the networks as they are", given)
            return expected
        self._graphs[form] = graph
        return found

    def _as_it_is(self, step: Step, network: Any, given: Any) -> Any:
        """Where memory does not suffice, that of the graphs goes first."""
        try:
            return self._run(step, network, given)
        except (RuntimeError, MemoryError) as error:
            if not self._graphs or not is_out_of_memory(error):
                raise
        self._give_up("the memory does not suffice", given)
        return self._run(step, network, given)

    def _give_up(self, reason: str, given: Any) -> None:
        """Once, for good."""
        self._given_up = True
        self._graphs.clear()
        free_cache(leaves(given)[0].device)
        logger.warning(f"CUDA graphs were given up: {reason}; steps are launched as ever")


class _Graph:
    """One recorded step, with the memory that it reads from and writes to."""

    def __init__(self, capture: Capture, run: Callable[[Any], Any], given: Any) -> None:
        self._inputs = [_room_for(leaf) for leaf in leaves(given)]
        inputs = with_leaves(given, iter(self._inputs))
        self._output: Any = None

        def record() -> None:
            self._output = run(inputs)

        self._replay = capture(record)

    def __call__(self, given: Any) -> Any:
        torch._foreach_copy_(self._inputs, leaves(given))
        self._replay()
        # the next replay overwrites it
        return with_leaves(self._output, (leaf.clone() for leaf in leaves(self._output)))


def _room_for(leaf: Tensor) -> Tensor:
    """A tensor of the same form, and of half the numbers: as harmless, and others."""
    with torch.inference_mode(leaf.is_inference()):
        return torch.empty_like(leaf).copy_(leaf * 0.5)
