"""References that the user gives or asks for: what fits together, and what is without effect."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coser_cli.errors import InputError, UsageError, shown
from coser_cli.settings import MAX_REFERENCES, Settings

if TYPE_CHECKING:
    from coser_cli.cli.report import Reporter
    from coser_cli.imageio.photo import Photo


def require_fitting(
    settings: Settings, files: Sequence[Path], save_reference: str | None
) -> list[Path]:
    """The reference files without repetitions; `UsageError` where options contradict each other."""
    files = list({os.path.abspath(path): path for path in reversed(files)}.values())[::-1]
    if settings.reference_mode == "none":
        idle = {
            "--save-reference has nothing to save": save_reference is not None,
            "--reference has no use": bool(files),
            f"--references {settings.references} has no use": settings.references > 1,
        }
        for words in (words for words, given in idle.items() if given):
            raise UsageError(f"{words} with --reference-mode none", "leave one out")
    if files and settings.references > 1:
        raise UsageError(
            f"--references {settings.references} imagines nothing where --reference is given",
            "leave one out; give --reference several times for several",
        )
    if len(files) > MAX_REFERENCES:
        raise UsageError(f"{len(files)} --reference files", f"give at most {MAX_REFERENCES}")
    return files


def read_references(reporter: Reporter, files: Sequence[Path]) -> list[Photo]:
    """The user's references. They concern every job, so a bad one ends the run before it begins:
    raises `UsageError`.
    """
    from coser_cli.imageio.read import read_photo

    photos = []
    for path in files:
        try:
            photos.append(read_photo(path))
        except InputError as error:
            raise UsageError(f"--reference: {error.message}", error.hint) from error
        for note in photos[-1].notes:
            reporter.message(f"note on {shown(path)}: {note}")
    return photos


def warn_of_idle_options(
    reporter: Reporter,
    model: str,
    settings: Settings,
    files: Sequence[Path],
    save_reference: str | None,
) -> None:
    """Words and references act through diffusion only; some models leave it out by default."""
    idle = {
        "--prompt": bool(settings.prompt),
        "--reference": bool(files),
        "--references": settings.references > 1 and save_reference is None,
    }
    given = [name for name, is_given in idle.items() if is_given]
    if not given:
        return
    from coser_cli.weights.store import model_folder, read_model_config

    config = read_model_config(model_folder(model))
    if settings.with_defaults(config).strength == 0:
        for name in given:
            reporter.message(f"{name} has no effect without diffusion: give a --strength above 0")
