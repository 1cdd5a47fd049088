"""`coser info`: what is installed, where, and what would be used."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coser_cli.cli.options import common as options
from coser_cli.errors import DeviceError
from coser_cli.paths import bundled_weights_dir, weights_dir
from coser_cli.version import __version__, installed_version

if TYPE_CHECKING:
    from coser_cli.weights.manifest import Manifest, Variant

INFO_VERSION = 1
DISTRIBUTION = "coser-cli"
_PACKAGES = ("torch", "torchvision", "diffusers", "open_clip_torch", "pillow", "numpy", "typer")


Files = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="FILE",
        help="Results of coser: show their records, and the commands that make them again.",
        show_default=False,
        readable=False,
    ),
]


def info(
    files: Files = None,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    as_json: options.Json = False,
) -> None:
    """Show versions, models, device and missing optional parts; of a FILE, how it was made."""
    if files:
        from coser_cli.cli.reproduce import show_records

        show_records(files, as_json=as_json)
        return
    facts = gather(device, dtype)
    typer.echo(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


def gather(device: str, dtype: str) -> dict[str, Any]:
    """Everything that `coser info` shows; its keys are a contract with scripts."""
    from coser_cli.weights.manifest import load_manifest

    manifest = load_manifest()
    return {
        "type": "info",
        "version": INFO_VERSION,
        "coser": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: installed_version(name) for name in _PACKAGES},
        "weights_dir": str(weights_dir()),
        "models": [_model(manifest, each) for each in manifest.variants.values()],
        "compute": _compute(device, dtype),
        "extras": _extras(),
    }


def _model(manifest: Manifest, variant: Variant) -> dict[str, Any]:
    """One variant; `licenses` are those of what is installed, or would be without options."""
    from coser_cli.weights.store import MODEL_FILE, WEIGHTS_FILE

    folder = (bundled_weights_dir() if variant.bundled else weights_dir()) / variant.folder
    installed = (folder / MODEL_FILE).is_file()
    parts = (
        sorted(file.parent.name for file in folder.glob(f"*/{WEIGHTS_FILE}")) if installed else []
    )
    left_out = set() if "cfw" in parts else set(variant.optional)
    files = [name for name in (*variant.files, variant.base) if name and name not in left_out]
    own = [manifest.licenses[name] for name in variant.licenses]
    licenses = [*own, *manifest.licenses_of(files)]
    return {
        "name": variant.name,
        "description": variant.description,
        "bundled": variant.bundled,
        "folder": str(folder),
        "installed": installed,
        "parts": parts,
        "decoder": ("cfw" if "cfw" in parts else "vae") if installed else None,
        "licenses": [asdict(each) for each in licenses],
        "set": next((e.name for e in manifest.sets.values() if e.variant == variant.name), None),
    }


def _compute(device: str, dtype: str) -> dict[str, Any]:
    """Device, number type and free memory that a run would find."""
    import torch

    from coser_cli.engine.compute.device import choose_device, choose_dtype
    from coser_cli.engine.compute.memory import available_memory

    try:
        chosen = choose_device(device)
    except DeviceError as error:
        return {"device": None, "dtype": None, "free_bytes": None, "problem": str(error)}
    return {
        "device": str(chosen),
        "dtype": str(choose_dtype(dtype, chosen)).removeprefix("torch."),
        "free_bytes": available_memory(chosen),
        "threads": torch.get_num_threads(),
        "problem": None,
    }


def _extras() -> dict[str, list[str]]:
    """Optional parts of the installed package, with the packages that each still lacks."""
    from importlib import metadata

    try:
        requirements = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:  # run from a checkout that was never installed
        return {}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*extra\s*==\s*['\"]([\w-]+)['\"]", requirement)
        if match:
            package, extra = match.groups()
            packages = [] if installed_version(package) else [package]
            missing.setdefault(extra, []).extend(packages)
    return missing


def _lines(facts: dict[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {version or '-'}" for name, version in facts["packages"].items())
    lines = [
        f"coser {facts['coser']} on Python {facts['python']}, {facts['platform']}",
        f"packages   {packages}",
        f"weights    {facts['weights_dir']}",
    ]
    for model in facts["models"]:
        state = "ready in" if model["installed"] else "not installed; would be in"
        lines.append(f"model      {model['name']}: {state} {model['folder']}")
        lines += [f"           {line}" for line in _model_lines(model)]
    lines.append(f"device     {_compute_line(facts['compute'])}")
    for extra, packages in facts["extras"].items():
        state = f"missing {', '.join(packages)}" if packages else "installed"
        lines.append(f"optional   [{extra}] {state}")
    return lines


def _model_lines(model: dict[str, Any]) -> list[str]:
    decoders = {
        "cfw": "decodes with CFW",
        "vae": "decodes with the plain VAE: CFW is not installed, and --fidelity has no effect",
    }
    lines = [decoders[model["decoder"]]] if model["decoder"] and not model["bundled"] else []
    for each in model["licenses"]:
        lines.append(f"{each['name']}; commercial use: {each['commercial']}")
    if not model["installed"] and model["set"]:
        lines = [f"to get it: coser download-weights {model['set']}"]
    return lines


def _compute_line(compute: dict[str, Any]) -> str:
    if compute["problem"]:
        return str(compute["problem"])
    free = compute["free_bytes"]
    memory = "memory unknown" if free is None else f"{free / 2**30:.1f} GiB free"
    return f"{compute['device']}, {compute['dtype']}, {memory}, {compute['threads']} CPU threads"
