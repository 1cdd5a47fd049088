"""The model that the jobs of a run share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from typing import TYPE_CHECKING

from coser_cli.batch.events import Emit, Hint, Note, ignore
from coser_cli.settings import Compute

if TYPE_CHECKING:
    from coser_cli.engine.upscaler import Upscaler

Load = Callable[[], "Upscaler"]


def load_model(compute: Compute, emit: Emit = ignore) -> Upscaler:
    """Load the model, having said so before the seconds that torch takes.

    Raises what `Upscaler.from_pretrained` raises.
    """
    emit(Hint("loading weights ..."))
    forward_log(emit)
    from coser_cli.engine.upscaler import Upscaler

    upscaler = Upscaler.from_pretrained(**asdict(compute))
    if upscaler.note:
        emit(Note(upscaler.note))
    return upscaler


def loader(compute: Compute, emit: Emit = ignore) -> Load:
    """`load_model`, called when the model is first needed, and once."""
    return cache(partial(load_model, compute, emit))


def forward_log(report: Emit) -> None:
    """Report what the engine logs, in place of the previous listener."""

    class Forward(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            report(Note(record.getMessage()))

    logger = logging.getLogger("coser_cli.engine")
    logger.handlers[:] = [Forward()]
    logger.setLevel(logging.INFO)
