"""The options of large pictures: how they are cut, and how much they may take."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from coser_cli import settings as names
from coser_cli.errors import UsageError

TILING = "Tiling"
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def parse_bytes(text: str) -> int:
    """An amount of memory: `4GiB`, `4G`, `500 MB`, `1.5GiB`; units of 1000 or, with an i, 1024.

    Raises `UsageError`.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", text.lower())
    if found is None or found[2] not in _UNITS or float(found[1]) == 0:
        raise UsageError(f"{text!r} is no amount of memory", "write it like 4GiB, 4GB or 500MB")
    return round(float(found[1]) * _UNITS[found[2]])


TileSize = Annotated[
    int,
    typer.Option(
        "--tile-size",
        min=1,
        max=names.MAX_TILE_SIZE,
        envvar="COSER_TILE_SIZE",
        help="Side of a tile that diffusion works on, in pixels of the result.",
        rich_help_panel=TILING,
    ),
]
Overlap = Annotated[
    int,
    typer.Option(
        "--overlap",
        min=0,
        max=names.MAX_TILE_SIZE,
        envvar="COSER_OVERLAP",
        help="Let neighbouring tiles overlap by this many pixels of the result.",
        rich_help_panel=TILING,
    ),
]
TileBatch = Annotated[
    int | None,
    typer.Option(
        "--tile-batch",
        min=1,
        max=names.MAX_TILE_BATCH,
        envvar="COSER_TILE_BATCH",
        help="Predict this many tiles at once; by default as many as the memory suffices for.",
        rich_help_panel=TILING,
        show_default=False,
    ),
]
TileJitter = Annotated[
    bool,
    typer.Option(
        "--tile-jitter/--no-tile-jitter",
        help="Move the tiles from step to step, so that their borders never lie in one place.",
        rich_help_panel=TILING,
    ),
]
MaxMemory = Annotated[
    int | None,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        parser=parse_bytes,
        envvar="COSER_MAX_MEMORY",
        help="Take at most about this much memory (4GiB, 500MB); default: what is free.",
        rich_help_panel=TILING,
        show_default=False,
    ),
]
TempDir = Annotated[
    Path | None,
    typer.Option(
        "--temp-dir",
        metavar="DIR",
        envvar="COSER_TEMP_DIR",
        help="Put what does not fit memory into this folder; default: the system's.",
        rich_help_panel=TILING,
        show_default=False,
        exists=True,
        file_okay=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only tell, for each input, what would be made, and how much it would take.",
        rich_help_panel="Reporting",
    ),
]
