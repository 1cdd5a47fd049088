"""What shells complete: names that are known without torch."""

from __future__ import annotations


def complete_model(incomplete: str) -> list[str]:
    """Models that `--model` could mean: auto, and what is bundled or installed."""
    from coser_cli.weights.store import available_models

    return [name for name in ("auto", *available_models()) if name.startswith(incomplete)]


def complete_set(incomplete: str) -> list[str]:
    """Sets, models and files of the manifest that SET could mean."""
    from coser_cli.weights.manifest import load_manifest

    manifest = load_manifest()
    models = (each.variant for each in manifest.sets.values() if each.variant)
    names = dict.fromkeys([*manifest.sets, *models, *manifest.files])
    return [name for name in names if name.startswith(incomplete)]


def complete_license(incomplete: str) -> list[str]:
    """Licences of the manifest."""
    from coser_cli.weights.manifest import load_manifest

    return [name for name in load_manifest().licenses if name.startswith(incomplete)]
