"""coser: super-resolution of photographs by cognition, a generated reference and diffusion."""

from __future__ import annotations

from importlib import import_module

from coser_cli.version import __version__

TYPE_CHECKING = False  # not of typing: a Ctrl-C while that is imported could not be handled yet
if TYPE_CHECKING:
    from typing import Any

    from coser_cli.batch.workers.one_file import upscale_file
    from coser_cli.engine.images import Upscaled
    from coser_cli.engine.upscaler import Upscaler
    from coser_cli.errors import CoserError
    from coser_cli.imageio.photo import Photo
    from coser_cli.imageio.read import read_photo
    from coser_cli.imageio.write import write_photo
    from coser_cli.settings import Settings, TileSpec

__all__ = [
    "CoserError",
    "Photo",
    "Settings",
    "TileSpec",
    "Upscaled",
    "Upscaler",
    "__version__",
    "read_photo",
    "upscale_file",
    "write_photo",
]

_HOMES = {
    "CoserError": "coser_cli.errors",
    "Photo": "coser_cli.imageio.photo",
    "Settings": "coser_cli.settings",
    "TileSpec": "coser_cli.settings",
    "Upscaled": "coser_cli.engine.images",
    "Upscaler": "coser_cli.engine.upscaler",
    "read_photo": "coser_cli.imageio.read",
    "upscale_file": "coser_cli.batch.workers.one_file",
    "write_photo": "coser_cli.imageio.write",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: torch takes seconds, `--help` must not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
