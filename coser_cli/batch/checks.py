"""Checks around one job, and the picture's name in its errors."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coser_cli.batch.lengths import require_short
from coser_cli.errors import (
    CoserError,
    DeviceError,
    InputError,
    UsageError,
    WeightsError,
    shown,
)
from coser_cli.size import Size


@contextmanager
def naming(source: Path) -> Iterator[None]:
    """Put the picture's name before the engine's messages, which have no names."""
    try:
        yield
    except (WeightsError, UsageError):
        raise
    except CoserError as error:
        if shown(source) in error.message:
            raise
        raise type(error)(f"cannot enlarge {shown(source)}: {error.message}", error.hint) from error
    except RuntimeError as error:
        from coser_cli.engine.compute.retry import REMEDY, is_out_of_memory

        if not is_out_of_memory(error):
            raise
        raise DeviceError(f"cannot enlarge {shown(source)}: out of memory", REMEDY) from error


def require_writable(paths: Sequence[Path], size: Size) -> None:
    """Find out before minutes of work, not after, that the result could not be written."""
    from coser_cli.imageio.formats import require_fits

    for path in paths:
        require_fits(path, size)
        require_short(path)
        if path.is_dir():
            raise InputError(f"cannot write {shown(path)}: it is a folder", "give another name")
        if not os.access(path.parent, os.W_OK):
            raise InputError(
                f"cannot write into {shown(path.parent)}: permission denied",
                "name a folder of your own with -o",
            )
