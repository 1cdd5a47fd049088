"""Where things lie on this computer: the only user of platformdirs."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import platformdirs

WEIGHTS_DIR_VARIABLE = "COSER_WEIGHTS_DIR"
CACHE_DIR_VARIABLE = "COSER_CACHE_DIR"
RUNTIME_DIR_VARIABLE = "COSER_RUNTIME_DIR"
RECORDS_FOLDER = ".coser-records"
"""Beside results whose records have no room in themselves."""


def weights_dir() -> Path:
    """Folder of installed weights, one sub-folder per model; it need not exist.

    The environment variable `COSER_WEIGHTS_DIR` goes before the user's data folder.
    """
    chosen = os.environ.get(WEIGHTS_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_data_path("coser", appauthor=False) / "weights"


def cache_dir() -> Path:
    """Folder of what can be made again at any time; it need not exist, and may be deleted.

    The environment variable `COSER_CACHE_DIR` goes before the user's cache folder.
    """
    chosen = os.environ.get(CACHE_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return platformdirs.user_cache_path("coser", appauthor=False)


def bundled_weights_dir() -> Path:
    """Folder of the weights that come with the package, one sub-folder per model."""
    return Path(__file__).parent / "assets"


def weights_manifest() -> Path:
    """`weights.toml`: inside the package when installed from a wheel, beside it in a checkout."""
    inside = Path(__file__).parent / "weights.toml"
    return inside if inside.exists() else Path(__file__).parents[1] / "weights.toml"


def runtime_dir() -> Path:
    """Folder of the socket of `coser serve`; it need not exist.

    The environment variable `COSER_RUNTIME_DIR` goes before the user's runtime folder. Raises
    OSError where the system has none that is safe.
    """
    chosen = os.environ.get(RUNTIME_DIR_VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that XDG_RUNTIME_DIR is not set
        return platformdirs.user_runtime_path("coser", appauthor=False)
