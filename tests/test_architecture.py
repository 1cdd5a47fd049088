"""Imports point one way, and heavy or wrong ones do not creep in."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import coser_cli

PACKAGE = Path(coser_cli.__file__).parent
BASE = {"errors", "settings", "paths", "config", "lean_diffusers", "lean_open_clip", "lean_torch"}
ROOMS = {"models", "sampling", "tiling", "imageio", "weights"}
BY_THEMSELVES = {
    "models.config": "config",
    "dpm_solver": "sampling",
    "weights.install": "install",
    "weights.extend": "install",
    "weights.installing": "install",
    "weights.supply": "install",
    "weights.audit": "install",
}

# What each box may import, beside the base. `config` is `models/config.py`: numbers only, which
# everyone may know. A model is put together from files by `models/build.py`, hence its arrow.
# `install` is `weights/install.py`, a box above both: it asks the networks for their shapes.
MAY_IMPORT = {
    "cli": {"engine", "pages", "training", "evaluation", "bench", "install"} | ROOMS,
    "engine": ROOMS,
    "pages": {"imageio"},
    "training": {"engine"} | ROOMS,
    "evaluation": {"engine"} | ROOMS,
    "bench": {"engine"} | ROOMS,
    "parity": {"engine"} | ROOMS,
    "install": {"models", "weights"},
    "models": {"weights"},
    "sampling": set(),
    "tiling": set(),
    "imageio": set(),
    "weights": set(),
}
BASE_MAY_IMPORT = {"settings": {"errors", "config"}, "errors": set(), "paths": set()}
# Who may import what of others'.
OWNERS = {
    "typer": {"cli"},
    "rich": {"cli"},
    "platformdirs": {"paths"},
    "open_clip": {"models", "parity", "lean_open_clip"},
    "diffusers": {"models", "sampling", "lean_diffusers", "training"},
    "httpx": {"weights"},
    "filelock": {"weights"},
    "gdown": {"weights"},
    "PIL": {"imageio", "training", "evaluation"},
    "pillow_heif": {"imageio"},
    "pyvips": {"imageio"},
    "ray": {"engine"},
    "matplotlib": {"evaluation"},
    "triton": {"models"},
}
FORBIDDEN = {"click", "basicsr", "xformers", "pytorch_lightning", "lightning", "omegaconf"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def box_of(module: str) -> str:
    """The box of a dotted module name inside the package."""
    return BY_THEMSELVES.get(module, module.split(".")[0])


def imports_of(path: Path) -> Iterator[str]:
    """Every imported module, with the imported names, which may be modules themselves."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            is_package = (PACKAGE.parent / node.module.replace(".", "/")).is_dir()
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from names if is_package else [node.module]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_arrows_point_down(path):
    box = box_of(name_of(path))
    if box.startswith("__"):
        return
    allowed = BASE_MAY_IMPORT.get(box, MAY_IMPORT.get(box, set()) | BASE) | {box, "__version__"}
    for name in imports_of(path):
        if name.startswith("coser_cli."):
            assert box_of(name.removeprefix("coser_cli.")) in allowed, name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_packages_have_owners(path):
    box = box_of(name_of(path))
    for name in imports_of(path):
        root = name.split(".")[0]
        assert root not in FORBIDDEN, name
        assert box in OWNERS.get(root, {box}), name


def test_every_box_is_in_the_table():
    boxes = {box_of(name_of(path)) for path in MODULES}
    assert {box for box in boxes if not box.startswith("__")} <= set(MAY_IMPORT) | BASE


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_and_functions_stay_short(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name
