"""A subset of the golden numbers lies beside this file; larger sets are named by variables.

COSER_GOLDEN: a whole set (every module and run). COSER_GOLDEN_FULL: the full-size check.
"""

import json
import os
import runpy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from coser_cli.config import ModelConfig
from coser_cli.errors import Exit
from coser_cli.models.build import build, make_network
from coser_cli.parity.__main__ import collect, main
from coser_cli.parity.load import GoldenSet, compare, compare_picture
from coser_cli.weights.checkpoints.names import PREFIXES, apply_table
from coser_cli.weights.checkpoints.tables import controlnet_table, unet_table
from tests.parity.full_size import full_size_cases

FOLDER = Path(__file__).parent / "golden"


@pytest.fixture(scope="module")
def cases():
    return collect(GoldenSet(FOLDER))


def test_every_stored_output_agrees(cases):
    assert [case for case in cases if not case.passed] == []


def test_every_stored_output_is_covered(cases):
    golden = GoldenSet(FOLDER)
    stored = {(name, output) for name in golden.names for output in golden.outputs(name)}
    assert {(case.golden, case.output) for case in cases} == stored


def test_the_modules_meet_their_bar_with_room(cases):
    modules = [case for case in cases if case.golden in ("vae", "controlnet", "qformer")]
    assert max(case.error for case in modules) < 5e-6


def changed_copy(folder, name, change):
    """A set of one item whose tensors `change` has altered."""
    tensors = load_file(FOLDER / f"{name}.safetensors")
    change(tensors)
    save_file(tensors, folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text((FOLDER / f"{name}.json").read_text())
    return folder


def test_a_wrong_number_fails_with_exit_1(tmp_path, capsys):
    folder = changed_copy(tmp_path, "srresnet", lambda t: t["outputs/y"].mul_(1.001))
    assert main([str(folder)]) == Exit.FAILED
    assert "FAILED" in capsys.readouterr().out


def test_an_output_that_no_code_knows_fails(tmp_path):
    folder = changed_copy(tmp_path, "srresnet", lambda t: t.update({"outputs/new": torch.ones(1)}))
    failures = [case.name for case in collect(GoldenSet(folder)) if not case.passed]
    assert failures == ["srresnet/new"]


def test_an_item_that_no_code_knows_fails(tmp_path):
    changed_copy(tmp_path, "srresnet", lambda t: None)
    for suffix in ("json", "safetensors"):
        (tmp_path / f"srresnet.{suffix}").rename(tmp_path / f"mystery.{suffix}")
    assert not any(case.passed for case in collect(GoldenSet(tmp_path)))


def test_code_that_raises_fails_and_is_shown(tmp_path, capsys):
    folder = changed_copy(
        tmp_path, "srresnet", lambda t: t.pop("weights/pre_sr_model.conv_hr.bias")
    )
    assert main([str(folder)]) == Exit.FAILED
    assert "conv_hr.bias" in capsys.readouterr().err


def test_a_good_set_exits_0(tmp_path, capsys):
    assert main([str(changed_copy(tmp_path, "srresnet", lambda t: None))]) == Exit.OK
    assert "1 cases, 0 failed" in capsys.readouterr().out


def test_a_folder_without_goldens_is_a_usage_error(tmp_path, capsys):
    assert main([str(tmp_path)]) == Exit.USAGE
    assert str(tmp_path) in capsys.readouterr().err


def test_compare_sees_shape_and_nan():
    assert not compare("g", "o", torch.ones(2), torch.ones(3)).passed
    assert not compare("g", "o", torch.tensor([1.0, float("nan")]), torch.ones(2)).passed
    assert compare("g", "o", torch.zeros(2), torch.zeros(2)).passed


def test_pictures_may_differ_by_one_level_in_a_thousandth():
    picture = torch.full((50, 20, 3), 100, dtype=torch.uint8)
    other = picture.clone()
    other[0, 0] += 1
    assert compare_picture("g", "o", other, picture).passed
    other[0, 1, 0] += 1
    assert not compare_picture("g", "o", other, picture).passed
    other = picture.clone()
    other[0, 0, 0] += 2
    assert not compare_picture("g", "o", other, picture).passed


@pytest.mark.skipif("COSER_GOLDEN" not in os.environ, reason="COSER_GOLDEN names no set")
def test_a_whole_set():
    cases = collect(GoldenSet(Path(os.environ["COSER_GOLDEN"])))
    assert [case for case in cases if not case.passed] == []


@pytest.mark.slow
@pytest.mark.skipif("COSER_GOLDEN_FULL" not in os.environ, reason="COSER_GOLDEN_FULL is not set")
def test_the_full_size():
    """The real layout: 981 M and 344 M parameters, drawn from their names by the set's recipe."""
    folder = Path(os.environ["COSER_GOLDEN_FULL"])
    recipe = runpy.run_path(str(folder / "recipe.py"))
    config = ModelConfig("sd21")
    shapes = json.loads((FOLDER.parent / "keys_full.json").read_text())
    tables = {"controlnet": controlnet_table(config.controlnet), "unet": unet_table(config.unet)}

    def drawn(part):
        prefix = PREFIXES[part]
        published = {
            name.removeprefix(prefix): torch.from_numpy(recipe["weight"](name, shape))
            for name, shape in shapes.items()
            if name.startswith(prefix)
        }
        state = apply_table(published, tables[part], part)
        return build(lambda: make_network(config, part), state, part)

    assert [case for case in full_size_cases(folder, drawn) if not case.passed] == []
