"""coser: super-resolution of photographs by cognition, a generated reference and diffusion."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from coser_cli.version import __version__

if TYPE_CHECKING:
    from coser_cli.engine.upscaler import Upscaled, Upscaler
    from coser_cli.settings import Settings

__all__ = ["Settings", "Upscaled", "Upscaler", "__version__"]

_HOMES = {
    "Settings": "coser_cli.settings",
    "Upscaled": "coser_cli.engine.upscaler",
    "Upscaler": "coser_cli.engine.upscaler",
}


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: torch takes seconds, `--help` must not."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
