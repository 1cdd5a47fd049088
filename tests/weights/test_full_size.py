"""The published layout at full size, through the command line: some 50 GB of disk and half an hour.

The checkpoints hold all that training may leave in them: an optimiser, surplus names, NumPy's
numbers; and they have the names that Lightning gives.

COSER_FULL_SIZE names a folder for it. What is drawn there is kept, and used again by later runs.
COSER_GOLDEN_FULL (see tests/parity) adds the comparison with recorded numbers: the weights of U-Net
and ControlNet are then drawn by its recipe.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from coser_cli.config import SD21
from coser_cli.weights.checkpoints.open import Origin, open_checkpoint
from coser_cli.weights.install.model import install_model, verify_model
from coser_cli.weights.load import load_model
from coser_cli.weights.lock import read_lock
from coser_cli.weights.manifest import load_manifest
from coser_cli.weights.safetensors_writer import write_safetensors
from tests.parity.full_size import full_size_cases
from tests.weights.measured import measure
from tests.weights.published import (
    CALLBACK,
    ODD_NAME,
    SURPLUS,
    as_saved_by_training,
    cheap,
    write_lightning,
)

KEYS = Path(__file__).parents[1] / "parity"
EXAMPLE = Path(__file__).parents[2] / "examples" / "cat.jpg"
WEIGHTS_BYTES = 4 * 2_654_455_061  # of all networks, in float32 (docs/models.md)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("COSER_FULL_SIZE" not in os.environ, reason="COSER_FULL_SIZE is not set"),
]


@pytest.fixture(scope="module")
def folder():
    """Where everything lies."""
    path = Path(os.environ["COSER_FULL_SIZE"])
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def golden():
    """The folder of recorded numbers, if there is one."""
    return Path(os.environ["COSER_GOLDEN_FULL"]) if "COSER_GOLDEN_FULL" in os.environ else None


@pytest.fixture(scope="module")
def published(folder, golden):
    """Checkpoints as training leaves them, by file id."""
    recipe = runpy.run_path(str(golden / "recipe.py"))["weight"] if golden else cheap

    def draw(name, shape):
        drawn_by_recipe = name.startswith(("model.", "structcond_stage_model."))
        return (recipe if drawn_by_recipe else cheap)(name, shape)

    paths = {}
    for file_id, keys in (("coser", "keys_full.json"), ("cfw", "keys_cfw.json")):
        paths[file_id] = path = folder / file_id / ODD_NAME
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            part, shapes = path.with_suffix(".part"), json.loads((KEYS / keys).read_text())
            write_lightning(part, shapes, draw, as_saved_by_training).replace(path)
    return paths


@pytest.fixture(scope="module")
def installed(folder, published):
    """The model as `coser download-weights --import` installs it, and how that was."""
    root = folder / "weights"
    shutil.rmtree(root, ignore_errors=True)  # of an earlier run: nothing would be converted
    files = [part for i, path in published.items() for part in ("--import", str(path), "--as", i)]
    ran = coser(root, "download-weights", *files, "--offline")
    print(f"import and conversion: {ran}")
    assert ran.code == 0, ran.err
    return root / "sd21", ran


def coser(root, *args):
    env = {**os.environ, "COSER_WEIGHTS_DIR": str(root)}
    return measure(["-m", "coser_cli", *args], env, Path(__file__).parents[2])


def test_it_is_installed_within_its_memory(published, installed):
    folder, ran = installed
    assert verify_model(folder) == []
    assert ran.peaks["VmRSS"] <= 1.3 * published["coser"].stat().st_size
    assert ran.peaks["RssAnon"] <= 1e9


def test_it_is_recognised_by_what_is_in_it(published, folder):
    root = folder / "empty"
    for file_id, path in published.items():
        words = ("--from-dir", str(path.parent), "--dry-run")
        ran = coser(root, "download-weights", *words)
        print(f"recognised as {file_id}: {ran}")
        assert ran.code == 0, ran.err
        assert f"it can be imported as {file_id}" in ran.err
        assert ran.peaks["RssAnon"] <= 1e9


def test_what_no_network_needs_is_counted(installed):
    folder, ran = installed
    for file_id in ("coser", "cfw"):
        assert read_lock(folder)["origins"][file_id]["surplus"]["names"] == len(SURPLUS)
    assert ran.err.count("names that no network needs") == 2


def test_it_computes_the_recorded_numbers(golden, installed):
    if golden is None:
        pytest.skip("COSER_GOLDEN_FULL is not set")

    def load(part):
        return getattr(load_model(installed[0]), part)

    assert [case for case in full_size_cases(golden, load) if not case.passed] == []


@pytest.mark.parametrize(("dtype", "most"), [("float32", 1.0), ("bfloat16", 0.5)])
def test_a_photo_is_enlarged_within_its_memory(folder, installed, dtype, most):
    """bfloat16 takes a smaller photo: CPUs without instructions for it compute it very slowly."""
    side = 128 if dtype == "float32" else 32
    photo, result = folder / f"photo-{side}.png", folder / f"enlarged-{side}.png"
    with Image.open(EXAMPLE) as picture:
        picture.convert("RGB").resize((side, side)).save(photo)
    options = ["-o", str(result), "--overwrite", "--model", "sd21", "--steps", "2"]
    options += ["--device", "cpu", "--dtype", dtype]
    ran = coser(installed[0].parent, "upscale", str(photo), *options)
    print(f"upscale in {dtype}: {ran}")
    assert ran.code == 0, ran.err
    with Image.open(result) as picture:
        assert picture.size == (4 * side, 4 * side)
        assert len(picture.getcolors(1 << 20)) > 1000
    assert ran.peaks["VmRSS"] <= most * (1.2 * WEIGHTS_BYTES + 4e9)


def test_safetensors_give_the_same_model(folder, published, installed):
    manifest, origins = load_manifest(), {}
    for file_id, path in published.items():
        pickled = Origin(path, "lightning-ckpt", safe_globals=(CALLBACK,))
        target = folder / f"{file_id}.safetensors"
        target.unlink(missing_ok=True)
        write_safetensors(target, open_checkpoint(pickled))
        origins[file_id] = Origin(target, "safetensors")
    variant = replace(manifest.variants["sd21"], folder="again")
    again = install_model(variant, origins, folder / "weights", "float32")
    hashes = [read_lock(model)["files"] for model in (installed[0], again)]
    assert hashes[0] == hashes[1]
    assert load_model(again).config == SD21
