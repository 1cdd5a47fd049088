"""Options without effect: named in one line, no reason to make a result again, not recorded."""

import json
import os
import shutil
from pathlib import Path

import pytest

from coser_cli.errors import Exit


@pytest.fixture
def still(coser, weights, monkeypatch, tmp_path):
    """`coser` with a toy whose diffusion is off by default, as in `mini`."""
    root = tmp_path / "weights"
    shutil.copytree(weights / "toy", root / "still")
    config = json.loads((root / "still" / "model.json").read_text())
    config["defaults"] |= {"strength": 0.0, "reference_strength": 0.25}
    (root / "still" / "model.json").write_text(json.dumps(config))
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(root))
    monkeypatch.setenv("COSER_MODEL", "still")
    return coser


def settings_of(coser, path):
    return coser("info", path, "--json").records[0]["record"]["settings"]


def test_they_are_named_and_do_not_make_a_result_again(still, photo):
    photo("a.png")
    ran = still("upscale", "a.png", "-s", 2, "--seed", 1, "--steps", 3, "--prompt", "a cat")
    assert "--steps, --prompt and --seed have no effect without diffusion" in ran.err
    before = os.stat("a_2x.png").st_mtime_ns
    ran = still("upscale", "a.png", "-s", 2, "--seed", 2)
    assert "--seed has no effect without diffusion: give a --strength above 0" in ran.err
    assert "skipped" in ran.err
    assert os.stat("a_2x.png").st_mtime_ns == before
    assert set(settings_of(still, "a_2x.png")) == {
        *("scale", "strength", "fidelity", "color_fix", "preset"),
    }


def test_what_nobody_gave_is_not_named(still, photo):
    photo("a.png")
    assert "effect" not in still("upscale", "a.png", "-s", 2).err


def test_what_has_an_effect_makes_it_again(still, photo):
    photo("a.png")
    still("upscale", "a.png", "-s", 2, "--seed", 1)
    ran = still("upscale", "a.png", "-s", 2, "--seed", 1, "--strength", 0.5, "--steps", 1)
    assert "made again: strength was 0.0, is 0.5" in ran.err
    ran = still("upscale", "a.png", "-s", 2, "--seed", 2, "--strength", 0.5, "--steps", 1)
    assert "made again: seed was 1, is 2" in ran.err
    assert settings_of(still, "a_2x.png")["seed"] == 2


def test_a_reference_that_is_written_has_settings_of_its_own(still, photo):
    photo("a.png")
    still("upscale", "a.png", "-s", 2)
    before = os.stat("a_2x.png").st_mtime_ns
    ran = still("upscale", "a.png", "-s", 2, "--save-reference", "--seed", 1, "--steps", 1)
    assert "effect" not in ran.err
    assert os.stat("a_2x.png").st_mtime_ns == before, "they do not change the result"
    recorded = settings_of(still, "a_2x_reference.png")
    assert (recorded["seed"], recorded["reference_steps"]) == (1, 1)


def test_a_reference_of_the_user_turns_diffusion_on(still, photo):
    photo("a.png")
    photo("b.png")
    ran = still("upscale", "a.png", "-s", 2, "--reference", "b.png", "--steps", 1)
    assert "--strength 0.25: without it --reference would have no effect" in ran.err
    assert settings_of(still, "a_2x.png")["strength"] == 0.25
    ran = still("upscale", "a.png", "-s", 3, "--reference", "b.png", "--strength", 0)
    assert "--reference has no effect without diffusion" in ran.err


def test_tiles_and_compilation_concern_diffusion(still, photo):
    photo("a.png")
    ran = still("upscale", "a.png", "-s", 2, "--tile-size", 64, "--overlap", 32)
    assert "--overlap and --tile-size have no effect without diffusion" in ran.err


def test_the_command_of_a_record_makes_the_same(still, photo):
    photo("a.png")
    still("upscale", "a.png", "-s", 2, "--seed", 5)
    command = still("info", "a_2x.png", "--json").records[0]["command"]
    assert "--seed" not in command
    assert still(*command[1:]).code == Exit.OK
    assert Path("a_2x-again.png").read_bytes() == Path("a_2x.png").read_bytes()


def test_choices_of_an_encoder_that_the_format_has_not(coser, photo):
    photo("a.png")
    ran = coser("upscale", "a.png", "-s", 2, "--quality", 80)
    assert "--quality has no effect on PNG" in ran.err
    ran = coser("upscale", "a.png", "-s", 2, "--quality", 80, "--lossless", "--format", "webp")
    assert "--quality has no effect with --lossless" in ran.err
    ran = coser("upscale", "a.png", "-s", 2, "--quality", 80, "--format", "jpeg")
    assert "effect" not in ran.err
