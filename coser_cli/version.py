"""The version, in one place: the build reads it here; and the versions of other packages."""

from __future__ import annotations

__version__ = "0.1.0"


def installed_version(package: str) -> str | None:
    """Of a package by its name on PyPI; None where it is not installed."""
    from importlib import metadata  # 10 ms, which `coser --help` does not need

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
