"""What importing the networks must not pull in; each in a process of its own."""

import subprocess
import sys
from importlib import metadata

import pytest

from coser_cli import lean_torch


def imported(module):
    code = f"import {module}, sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True).split())


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("coser_cli.config", {"torch"}),
        ("coser_cli.weights.store", {"torch", "safetensors"}),
        ("coser_cli.weights.checkpoints.tables", {"torch"}),
        ("coser_cli.models.build", {"diffusers", "open_clip", "torchvision", "accelerate"}),
        ("coser_cli.engine.upscaler", {"diffusers", "open_clip", "torchvision", "accelerate"}),
        ("coser_cli.lean_torch", {"torch", "numpy"}),
        ("coser_cli.models.autoencoder", {"torch._dynamo", "open_clip", "diffusers"}),
        ("coser_cli.models.controlnet", {"torch._dynamo", "open_clip", "transformers"}),
    ],
)
def test_imports_stay_narrow(module, absent):
    assert imported(module) & absent == set()


def output_of(code):
    return subprocess.check_output([sys.executable, "-c", code], text=True).strip()


LEAN = """
import gc, sys
from coser_cli import lean_torch
lean_torch.prepare()
lean_torch.prepare()
import torch
"""


@pytest.mark.skipif(
    not metadata.version("torch").startswith(lean_torch.VERSIONS),
    reason="this torch is imported whole",
)
def test_torch_comes_without_what_its_compiler_needs_until_somebody_asks():
    code = (
        LEAN
        + """
print({"torch._decomp", "torch._meta_registrations"} & {*sys.modules})
print(hasattr(torch, "_meta_registrations"), gc.isenabled(), gc.get_freeze_count() > 100_000)
print(torch.nn.Conv2d(1, 2, 3)(torch.ones(1, 1, 4, 4)).shape == (1, 2, 2, 2))
"""
    )
    assert output_of(code).split() == ["set()", "False", "True", "True", "True"]


ASKED = """
print(len(sys.modules["torch._decomp"].decomposition_table))
print(len(sys.modules["torch._decomp"].meta_table))
print(hash(tuple(sorted(torch._C._dispatch_get_registrations_for_dispatch_key("Meta")))))
print(sys.modules["torch._meta_registrations"] is torch._meta_registrations)
print(sys.modules["torch._decomp"] is torch._decomp, torch._decomp.__spec__.origin)
"""


@pytest.mark.parametrize(
    "asking", ["import torch._refs", "import torch._meta_registrations", "import torch._dynamo"]
)
def test_what_was_left_out_comes_as_if_it_had_never_been(asking, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    lean, ordinary = (
        output_of(f"{start}{asking}{ASKED}") for start in (f"{LEAN}\n", "import torch, sys\n")
    )
    assert lean == ordinary
    assert lean.splitlines()[3] == "True"


@pytest.mark.parametrize(
    ("version", "is_lean"), [("2.14.9", True), ("2.9.1", False), ("3.0.0", False), (None, False)]
)
def test_a_torch_that_takes_something_of_the_kernels_gets_it(tmp_path, version, is_lean):
    """A made-up one stands for other versions, of which only those that are known are leaner."""
    (tmp_path / "torch").mkdir()
    asking = "import sys\nlate = 'torch._meta_registrations' not in sys.modules\n"
    lines = "from torch._meta_registrations import kernel\n"
    (tmp_path / "torch/__init__.py").write_text(asking + lines)
    (tmp_path / "torch/_meta_registrations.py").write_text("kernel = 7\n")
    if version:
        (tmp_path / "torch/version.py").write_text(f"__version__ = '{version}'\n")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})"
        + LEAN
        + """
print(torch.kernel, sys.modules["torch._meta_registrations"] is torch._meta_registrations)
print(torch.late)
"""
    )
    assert output_of(code).split() == ["7", "True", str(not is_lean)]


def test_how_threads_wait_is_left_to_who_has_said_it(monkeypatch):
    code = LEAN + "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    assert output_of(code) == "20000"
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert output_of(code) == "None"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    assert output_of(code) == "5"


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
