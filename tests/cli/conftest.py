"""A whole model at toy size on disk, and `coser` run through its `main`."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.batch import load
from coser_cli.engine.preparation import enlarge_bicubic
from coser_cli.engine.reference import Candidates
from coser_cli.engine.upscaler import Upscaled
from coser_cli.models.build import make_network
from coser_cli.models.text import SentenceText
from coser_cli.size import Size
from coser_cli.weights.load import save_component, save_text_states
from coser_cli.weights.store import save_model_config
from tests.ran import run_here
from tests.toy import TOY
from tests.toy_work import InMemory

PARTS = ("srresnet", "vae", "cfw", "unet", "controlnet", "cognitive_encoder")


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A weights folder with the toy in it, installed under the name `toy`."""
    root = tmp_path_factory.mktemp("weights")
    folder = root / "toy"
    save_model_config(TOY, folder)
    torch.manual_seed(0)
    for part in PARTS:
        save_component(make_network(TOY, part), folder / part)
    prompts = ("", TOY.defaults.negative_prompt)
    text = SentenceText(TOY.text, {prompt: torch.randn(5, 16) for prompt in prompts})
    save_text_states(text, folder / "text")
    return root


@pytest.fixture
def coser(weights, monkeypatch, capsys, tmp_path):
    """`coser(*args)` with the toy as its model, in a fresh folder."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("COSER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(weights))
    monkeypatch.setenv("COSER_MODEL", "toy")
    monkeypatch.setenv("COSER_DEVICE", "cpu")
    monkeypatch.setenv("COSER_DTYPE", "float32")  # on every CPU the same
    monkeypatch.setenv("COSER_WARM", "0")  # a server of the user's must not do the work

    def run(*args):
        return run_here(capsys, *args)

    return run


class Plain(InMemory):
    """Enlarges by plain interpolation: for tests of files, where networks do not matter."""

    device, dtype = torch.device("cpu"), torch.float32
    is_compiled = False

    def upscale(self, pixels, settings=None, *, on_progress=None, want_reference=False, **_):
        size = Size.of(pixels).scaled(settings.scale)
        large = enlarge_bicubic(pixels, size)
        return Upscaled(large, large.flip(-1) if want_reference else None)

    def candidates(self, pixels, settings=None, on_progress=None):
        return Candidates(self.upscale(pixels, settings).pixels.flip(-1), None)


@pytest.fixture
def plain(coser, monkeypatch):
    """`coser` with `Plain` instead of a model."""
    monkeypatch.setattr(load, "load_model", lambda *_: Plain())
    return coser


@pytest.fixture
def photo(tmp_path):
    """`photo(name, size)`: a picture file in the current folder."""

    def make(name="photo.jpg", size=(12, 8), **options):
        values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        path = tmp_path / name
        Image.fromarray(values).save(path, format=options.pop("format", "PNG"), **options)
        return path

    return make
