"""`docs/python.md` runs as it stands: with a toy called `mini`, and with the bundled weights."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from coser_cli.paths import WEIGHTS_DIR_VARIABLE, bundled_weights_dir
from tests.toy import TOY
from tests.toy_upscaler import save_toy

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
DENOISERS = ("unet", "controlnet")


def run_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute all blocks in one namespace, in a folder with the examples in it."""
    shutil.copytree(ROOT / "examples", folder / "examples")
    monkeypatch.chdir(folder)
    blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(blocks) > 5
    exec(compile("\n".join(blocks), "docs/python.md", "exec"), {"__name__": "docs"})
    assert (folder / "cat_4x.png").exists()


def test_examples_run_with_a_toy(tmp_path, monkeypatch):
    """Its attention is at the lower level alone: the examples are pictures of 128 pixels."""
    sparse = {part: replace(getattr(TOY, part), attention_factors=(2,)) for part in DENOISERS}
    save_toy(tmp_path / "weights" / "mini", replace(TOY, **sparse))
    monkeypatch.setenv(WEIGHTS_DIR_VARIABLE, str(tmp_path / "weights"))
    run_blocks(tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.skipif(
    not (bundled_weights_dir() / "mini" / "model.json").exists(), reason="mini is not bundled yet"
)
def test_examples_run_with_mini(tmp_path, monkeypatch):
    monkeypatch.setenv(WEIGHTS_DIR_VARIABLE, str(tmp_path / "none"))
    run_blocks(tmp_path, monkeypatch)
