"""What importing the networks must not pull in; each in a process of its own."""

import subprocess
import sys

import pytest


def imported(module):
    code = f"import {module}, sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("coser_cli.config", {"torch"}),
        ("coser_cli.weights.store", {"torch", "safetensors"}),
        ("coser_cli.weights.checkpoints.tables", {"torch"}),
        ("coser_cli.engine.upscaler", {"diffusers", "open_clip", "torchvision", "accelerate"}),
        ("coser_cli.models.autoencoder", {"torch._dynamo", "open_clip", "diffusers"}),
        ("coser_cli.models.controlnet", {"torch._dynamo", "open_clip", "transformers"}),
    ],
)
def test_imports_stay_narrow(module, absent):
    assert imported(module) & absent == set()


def output_of(code):
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


def test_diffusers_knows_distributions_when_it_asks_for_them():
    code = """
import importlib.metadata as metadata
read = metadata.packages_distributions
import coser_cli.lean_diffusers
from diffusers.utils import import_utils
print("_found" in vars(import_utils._package_map), metadata.packages_distributions is read)
print(import_utils._package_map.get("PIL") == read()["PIL"] != [], "coser" in read())
print(import_utils._package_map.get("no such package"))
"""
    assert output_of(code).split() == ["False", "True", "True", "False", "None"]


@pytest.mark.slow
def test_a_diffusers_that_needs_the_compiler_is_imported_the_ordinary_way(tmp_path):
    """A made-up one stands for later versions, whose import is not guarded."""
    (tmp_path / "diffusers" / "utils").mkdir(parents=True)
    (tmp_path / "diffusers" / "__init__.py").write_text("began = True\n")
    (tmp_path / "diffusers" / "utils" / "__init__.py").touch()
    (tmp_path / "diffusers" / "utils" / "torch_utils.py").write_text("import torch._dynamo\n")
    code = f"""
import sys; sys.path.insert(0, {str(tmp_path)!r})
import coser_cli.lean_diffusers
from diffusers.utils import torch_utils
import diffusers
print(torch_utils.torch._dynamo.__name__, diffusers.began)
"""
    assert output_of(code).split() == ["torch._dynamo", "True"]


TOWERS = """
import sys
from coser_cli.lean_open_clip import import_towers
towers = import_towers()
"""


def test_the_towers_come_without_torchvision_and_timm():
    code = TOWERS + "print({'torchvision', 'timm', 'open_clip', 'torch._dynamo'} & {*sys.modules})"
    assert output_of(code) == "set()"


@pytest.mark.slow
def test_open_clip_itself_is_not_affected():
    code = f"""{TOWERS}
import inspect, open_clip, torchvision.ops.misc
own = open_clip.transformer.VisionTransformer
print(inspect.getsource(own) == inspect.getsource(towers.VisionTransformer))
print(torchvision.ops.misc.FrozenBatchNorm2d.__module__)
print(import_towers() is open_clip.transformer)
"""
    assert output_of(code).split() == ["True", "torchvision.ops.misc", "True"]


@pytest.mark.slow
def test_an_open_clip_that_cannot_be_taken_apart_is_imported_the_ordinary_way():
    code = """
import coser_cli.lean_open_clip as lean
lean.find_spec = lambda name: None
print(lean.import_towers().__name__)
"""
    assert output_of(code) == "open_clip.transformer"
