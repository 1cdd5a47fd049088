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
        ("coser_cli.models.config", {"torch"}),
        ("coser_cli.weights.store", {"torch", "safetensors"}),
        ("coser_cli.weights.tables", {"torch"}),
        ("coser_cli.models.build", {"diffusers", "open_clip", "torchvision", "accelerate"}),
        ("coser_cli.engine.upscaler", {"diffusers", "open_clip", "torchvision", "accelerate"}),
        ("coser_cli.models.autoencoder", {"torch._dynamo", "open_clip", "transformers"}),
        ("coser_cli.models.controlnet", {"torch._dynamo", "open_clip", "transformers"}),
    ],
)
def test_imports_stay_narrow(module, absent):
    assert imported(module) & absent == set()


def output_of(code):
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


TOWERS = """
import sys
from coser_cli.lean_open_clip import import_towers
towers = import_towers()
"""


def test_the_towers_come_without_torchvision_and_timm():
    code = TOWERS + "print({'torchvision', 'timm', 'open_clip', 'torch._dynamo'} & {*sys.modules})"
    assert output_of(code) == "set()"


def test_open_clip_itself_is_not_affected():
    code = f"""{TOWERS}
import inspect, open_clip, torchvision.ops.misc
own = open_clip.transformer.VisionTransformer
print(inspect.getsource(own) == inspect.getsource(towers.VisionTransformer))
print(torchvision.ops.misc.FrozenBatchNorm2d.__module__)
print(import_towers() is open_clip.transformer)
"""
    assert output_of(code).split() == ["True", "torchvision.ops.misc", "True"]


def test_an_open_clip_that_cannot_be_taken_apart_is_imported_the_ordinary_way():
    code = """
import coser_cli.lean_open_clip as lean
lean.find_spec = lambda name: None
print(lean.import_towers().__name__)
"""
    assert output_of(code) == "open_clip.transformer"
