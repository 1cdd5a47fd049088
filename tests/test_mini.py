"""The bundled model, as a user meets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coser_cli.cli.app import main
from coser_cli.paths import WEIGHTS_DIR_VARIABLE, bundled_weights_dir

ROOT = Path(__file__).parents[1]
MINI = bundled_weights_dir() / "mini"


@pytest.fixture(autouse=True)
def _nothing_installed(monkeypatch, tmp_path):
    monkeypatch.setenv(WEIGHTS_DIR_VARIABLE, str(tmp_path / "none"))


def test_weights_are_small_and_have_a_card():
    files = list(MINI.rglob("*.safetensors"))
    sizes = [file.stat().st_size for file in files]
    assert len(files) == 6
    assert sum(sizes) <= 40 * 2**20
    assert "Model card" in (MINI / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cat", "coffee"])
def test_example_is_sharper_than_bicubic_and_still_the_same_picture(name, tmp_path, capsys):
    photo, out = ROOT / "examples" / f"{name}.jpg", tmp_path / "out.png"
    assert main(["upscale", str(photo), "-s", "4", "-o", str(out), "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{out}\n"
    small = Image.open(photo).convert("RGB")
    result = Image.open(out)
    assert result.size == (small.width * 4, small.height * 4)
    bicubic = small.resize(result.size, Image.Resampling.BICUBIC)
    assert _sharpness(result) > 1.3 * _sharpness(bicubic)
    back = np.asarray(result.resize(small.size, Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(back - np.asarray(small, dtype=float)).mean() < 5


def _sharpness(image: Image.Image) -> float:
    levels = np.asarray(image.convert("L"), dtype=float)
    return float(np.square(np.diff(levels, axis=0)).mean() + np.square(np.diff(levels)).mean())


def test_a_prompt_that_can_do_nothing_is_said_to(tmp_path, capsys):
    photo = tmp_path / "crop.png"
    Image.open(ROOT / "examples" / "cat.jpg").crop((60, 40, 76, 56)).save(photo)
    assert main(["upscale", str(photo), "--strength", "0", "--prompt", "a cat"]) == 0
    assert "--prompt has no effect" in capsys.readouterr().err


def test_diffusion_and_reference_run_with_the_bundled_networks(tmp_path):
    photo, out = tmp_path / "crop.png", tmp_path / "out.png"
    Image.open(ROOT / "examples" / "cat.jpg").crop((60, 40, 84, 56)).save(photo)
    arguments = ["--steps", "2", "--strength", "0.2", "--save-reference", str(tmp_path / "refs")]
    assert main(["upscale", str(photo), "-o", str(out), *arguments]) == 0
    assert Image.open(out).size == (96, 64)
    assert len(list((tmp_path / "refs").iterdir())) == 1


def test_default_run_needs_no_transformers_scheduler_or_clip(tmp_path):
    photo = tmp_path / "crop.png"
    Image.open(ROOT / "examples" / "cat.jpg").crop((60, 40, 76, 56)).save(photo)
    script = (
        "import sys; from coser_cli.cli.app import main; "
        f"assert main(['upscale', {str(photo)!r}]) == 0; "
        "heavy = ['transformers', 'open_clip', 'torchvision', 'torch._dynamo', "
        "'diffusers.schedulers.scheduling_ddpm', 'diffusers.schedulers.scheduling_ddim']; "
        "assert not [name for name in heavy if name in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=120)
