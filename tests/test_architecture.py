"""Imports point one way, and heavy or wrong ones do not creep in."""

import ast
import re
from collections.abc import Iterator
from functools import cache, wraps
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import coser_cli

PACKAGE = Path(coser_cli.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "architecture.md"

GROUND = {
    "errors", "version", "paths", "size", "config", "settings",
    "lean_diffusers", "lean_open_clip",
}  # fmt: skip
WEIGHTS = {"weights", "weights.fetch", "weights.checkpoints", "weights.install"}
ENGINE = {"engine.compute", "engine", "engine.tiled"}
NETWORKS = {"models", "sampling", "tiling", "imageio", "weights", "weights.checkpoints"}

# What the files of a folder may import, beside each other and the ground. From below upwards.
MAY_IMPORT: dict[str, set[str]] = {
    "ground": set(),
    "models": set(),
    "sampling": set(),
    "tiling": set(),
    "imageio": set(),
    "pages": {"imageio"},
    "weights": {"models"},
    "weights.fetch": {"weights"},
    "weights.checkpoints": {"weights"},
    "weights.install": {"models", "weights", "weights.fetch", "weights.checkpoints"},
    "engine.compute": {"models", "tiling", "imageio", "weights"},
    "engine": {"models", "sampling", "tiling", "imageio", "weights", "engine.compute"},
    "engine.tiled": {"models", "sampling", "tiling", "engine", "engine.compute"},
    "batch": {"imageio", "tiling", "weights"} | ENGINE,
    "batch.workers": {"imageio", "weights", "batch"} | ENGINE,
    "server": {"weights", "batch", "batch.workers"} | ENGINE,
    "training": NETWORKS | ENGINE,
    "evaluation": NETWORKS | ENGINE,
    "bench": NETWORKS | ENGINE,
    "parity": NETWORKS | ENGINE,
    "cli.output": {"imageio", "pages", "batch", "evaluation", "bench"} | WEIGHTS,
    "cli.options": {"imageio", "batch", "batch.workers", "evaluation", "cli.output"} | WEIGHTS,
    "cli": {
        "imageio", "pages", "batch", "batch.workers", "server", "training", "evaluation",
        "bench", "cli.output", "cli.options",
    } | WEIGHTS | ENGINE,
    "entry": {"imageio", "engine", "batch.workers", "cli"},
}  # fmt: skip
# Who may import what of others': folders with all below them, or files of the ground.
OWNERS = {
    "typer": {"cli"},
    "rich": {"cli"},
    "platformdirs": {"paths"},
    "open_clip": {"models", "parity", "evaluation", "lean_open_clip"},
    "diffusers": {"models", "sampling", "lean_diffusers", "training"},
    "httpx": {"weights.fetch"},
    "filelock": {"weights.install", "training"},
    "gdown": {"weights.fetch"},
    "PIL": {"imageio", "training", "evaluation"},
    "pillow_heif": {"imageio"},
    "pyvips": {"imageio"},
    "tifffile": {"imageio"},
    "imagecodecs": {"imageio"},
    "ray": {"batch.workers"},
    "matplotlib": {"evaluation"},
    "spandrel": {"weights"},
    "jinja2": {"pages"},
    "markupsafe": {"pages"},
}
FORBIDDEN = {"click", "basicsr", "xformers", "pytorch_lightning", "lightning", "omegaconf"}


def name_of(path: Path) -> str:
    """`engine.tiled.cost`; a folder's `__init__.py` has the folder's name, the package's none."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def each_file(rule):
    """A test that asks a rule of every file, and names those that break it: one test, as there are
    hundreds of files."""

    @wraps(rule)
    def test():
        broken = []
        for name in FILES:
            try:
                rule(name)
            except AssertionError as error:
                broken.append(f"{name or '__init__'}: {error}")
        assert not broken, "\n".join(broken)

    del test.__wrapped__  # its parameter is no fixture
    return test


def folder_of(name: str) -> str:
    """The row of `MAY_IMPORT` that a file belongs to."""
    if name in ("", "__main__"):
        return "entry"
    if name in GROUND:
        return "ground"
    return name if FILES[name].name == "__init__.py" else name.rpartition(".")[0]


@cache
def imports_of(name: str) -> list[str]:
    """Every imported module, wherever in the file, also for type checks alone."""
    return list(_imports_of(name))


def _imports_of(name: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole.removeprefix("coser_cli.") in FILES else node.module


def own_imports(name: str) -> set[str]:
    """The files of this package that a file imports."""
    found = {each for each in imports_of(name) if each.split(".")[0] == "coser_cli"}
    return {each.removeprefix("coser_cli").removeprefix(".") for each in found}


@each_file
def test_arrows_point_down(name):
    own = folder_of(name)
    for other in own_imports(name):
        assert folder_of(other) in MAY_IMPORT[own] | {own, "ground"}, other


def test_the_table_itself_points_down():
    TopologicalSorter(MAY_IMPORT).prepare()


def test_no_files_import_each_other():
    graph = {name: own_imports(name) for name in FILES if FILES[name].name != "__init__.py"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


@each_file
def test_packages_have_owners(name):
    own = name if folder_of(name) == "ground" else folder_of(name)
    for other in imports_of(name):
        root = other.split(".")[0]
        assert root not in FORBIDDEN, other
        owners = OWNERS.get(root)
        assert owners is None or any(f"{own}.".startswith(f"{each}.") for each in owners), other


def test_every_folder_is_in_the_table():
    assert {folder_of(name) for name in FILES} == set(MAY_IMPORT)


@each_file
def test_modules_and_functions_stay_short(name):
    text = FILES[name].read_text(encoding="utf-8")
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 60, node.name


def test_the_page_names_no_file_that_does_not_exist():
    text = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.(?:py|toml))`", text))
    assert len(named) > 20
    roots = PACKAGE, PAGE.parents[1]
    assert not {each for each in named if not any((root / each).is_file() for root in roots)}


def test_the_page_names_every_folder():
    text = PAGE.read_text(encoding="utf-8")
    folders = {folder.replace(".", "/") for folder in MAY_IMPORT} - {"ground", "entry"}
    assert not {folder for folder in folders if f"`{folder}/`" not in text}
