"""The options of large pictures: how they are cut, and how much they may take."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from coser_cli import settings as names
from coser_cli.cli.options.common import reporting_option
from coser_cli.cli.options.declare import options_of
from coser_cli.errors import UsageError

tiling_option = options_of("Tiling")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
LEAST_BYTES = 10**6
"""Fewer are a number whose unit was forgotten."""
_UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(text: str) -> int:
    """An amount of memory: `4GiB`, `4G`, `500 MB`, `1.5GiB`; units of 1000 or, with an i, 1024.

    Raises `UsageError`.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match[2] not in _UNITS or float(match[1]) == 0:
        raise UsageError(f"{text!r} is no amount of memory", "write it like 4GiB, 4GB or 500MB")
    if not match[2] and float(match[1]) < LEAST_BYTES:
        raise UsageError(f"{text!r} is an amount of bytes", f"did you mean {match[1]}GiB?")
    return round(float(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True)
class Tiles:
    """The values of the options about large pictures."""

    tile_size: Annotated[
        int,
        tiling_option(
            "Side of the tiles that diffusion works on, in pixels of the result.",
            min=1,
            max=names.MAX_TILE_SIZE,
            envvar="COSER_TILE_SIZE",
        ),
    ] = names.DEFAULT_TILE_SIZE
    overlap: Annotated[
        int | None,
        tiling_option(
            "Let neighbouring tiles overlap by this many pixels of the result; by default, 64 with"
            " mini and 256 with sd21.",
            min=0,
            max=names.MAX_TILE_SIZE,
            envvar="COSER_OVERLAP",
        ),
    ] = None
    tile_batch: Annotated[
        int | None,
        tiling_option(
            "Work on this many tiles at once; by default, on as many as memory suffices for.",
            min=1,
            max=names.MAX_TILE_BATCH,
            envvar="COSER_TILE_BATCH",
        ),
    ] = None
    tile_jitter: Annotated[
        bool,
        tiling_option(
            "Move the tiles from step to step, so that no place lies at a border for long.",
            "--tile-jitter/--no-tile-jitter",
        ),
    ] = False
    max_memory: Annotated[
        int | None,
        tiling_option(
            "Take about this much memory, such as 4GiB; by default, what is free.",
            metavar="SIZE",
            parser=parse_bytes,
            envvar="COSER_MAX_MEMORY",
        ),
    ] = None
    temp_dir: Annotated[
        Path | None,
        tiling_option(
            "Put what does not fit memory into this folder; by default, the system's.",
            metavar="DIR",
            envvar="COSER_TEMP_DIR",
            exists=True,
            file_okay=False,
        ),
    ] = None
    dry_run: Annotated[
        bool, reporting_option("Only say what would be made, and what it takes.", "--dry-run")
    ] = False

    @property
    def spec(self) -> names.TileSpec:
        """How large pictures are cut. Raises `UsageError`."""
        return names.TileSpec(
            self.tile_size,
            self.overlap,
            self.tile_batch,
            self.tile_jitter,
            self.max_memory,
            self.temp_dir,
        )
