"""Settings, errors and paths: what everything else stands on."""

import dataclasses
from pathlib import Path

import pytest

from coser_cli import paths
from coser_cli.config import VARIANTS, Defaults, ModelConfig
from coser_cli.errors import (
    CoserError,
    DeviceError,
    Exit,
    InputError,
    UsageError,
    WeightsError,
    shown,
)
from coser_cli.settings import SAMPLERS, Settings


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("scale", [0.99, 16.01, float("nan"), float("inf"), "4", True]),
        ("steps", [0, 1001, 1.5, "3"]),
        ("sampler", ["euler_a", 3]),
        ("guidance_scale", [0.9, float("nan")]),
        ("reference_guidance_scale", [0.0]),
        ("strength", [-0.1, 1.1]),
        ("reference_strength", [2]),
        ("fidelity", [-1]),
        ("color_fix", ["AdaIN"]),
        ("prompt", [None, 3]),
        ("reference_mode", ["local"]),
        ("references", [0, 17, 1.5, True]),
        ("reference_select", ["first", None, 1]),
        ("seed", [-1, 1.0, 2**32]),
    ],
)
def test_wrong_values_are_refused_by_name(field, values):
    for value in values:
        if value is None:
            continue
        with pytest.raises(UsageError, match=f"^{field} must be"):
            Settings(**{field: value})


def test_limits_are_inclusive():
    Settings(scale=1, steps=1, guidance_scale=1, strength=0, fidelity=1, seed=0)
    Settings(scale=16, steps=1000, strength=1, seed=2**32 - 1, sampler=SAMPLERS[-1])


def test_defaults_fill_what_is_open_and_nothing_else():
    filled = Settings(steps=7, negative_prompt="").resolve(
        ModelConfig("toy", defaults=Defaults(fidelity=0.25))
    )
    assert filled.steps == 7
    assert filled.negative_prompt == ""
    assert filled.fidelity == 0.25
    assert filled.reference_steps == 7
    assert None not in dataclasses.asdict(filled).values()


def test_presets_are_other_defaults():
    config = ModelConfig("toy", presets={"fast": {"steps": 3, "guidance_scale": 1.0}})
    fast = Settings(preset="fast", guidance_scale=2.0).resolve(config)
    assert (fast.steps, fast.reference_steps, fast.guidance_scale) == (3, 3, 2.0)
    assert fast.preset == "balanced", "complete settings are what they are"
    with pytest.raises(UsageError, match="the model toy has no --best"):
        Settings(preset="best").resolve(config)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_a_preset_differs_from_the_defaults_or_does_not_exist(config):
    for name in config.presets:
        assert config.preset(name) != config.defaults, name


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CoserError, Exit.FAILED),
        (InputError, Exit.FAILED),
        (UsageError, Exit.USAGE),
        (WeightsError, Exit.WEIGHTS),
        (DeviceError, Exit.DEVICE),
    ],
)
def test_errors_know_their_exit_code(error, code):
    assert error("x").exit_code == code
    assert str(error("what", "do")) == "what; do"
    assert str(error("what")) == "what"


def test_paths_are_shown_on_one_line():
    assert shown("a b.png") == "'a b.png'"
    assert shown(Path("a\nb")) == "'a\\nb'"
    assert shown("it's") == '"it\'s"'
    assert shown("\udce9") == "'\\udce9'"


def test_weights_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(tmp_path))
    assert paths.weights_dir() == tmp_path
    monkeypatch.delenv("COSER_WEIGHTS_DIR")
    assert paths.weights_dir().name == "weights"
    assert "coser" in paths.weights_dir().parts


def test_manifest_beside_the_package_in_a_checkout(monkeypatch, tmp_path):
    package = tmp_path / "coser_cli"
    package.mkdir()
    monkeypatch.setattr(paths, "__file__", str(package / "paths.py"))
    assert paths.weights_manifest() == tmp_path / "weights.toml"
    (package / "weights.toml").touch()
    assert paths.weights_manifest() == package / "weights.toml"
