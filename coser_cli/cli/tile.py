"""`coser tile`: enlarge large photos in tiles, whatever their size."""

from __future__ import annotations

from typing import Any

from coser_cli.cli.options.groups import like
from coser_cli.cli.upscale import upscale


@like(upscale)
def tile(**values: Any) -> None:
    """Enlarge large photos in tiles: in bounded memory, with one reference and without seams."""
    upscale(**values, _always_tiles=True)
