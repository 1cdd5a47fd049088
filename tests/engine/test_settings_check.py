"""What settings ask of a model that it cannot do, or that has no effect with it."""

from dataclasses import replace

import pytest

from coser_cli.config import OneStep
from coser_cli.engine.settings_check import idle_settings, require_possible
from coser_cli.errors import UsageError
from coser_cli.settings import Settings
from tests.toy import TOY

ONE = replace(TOY, one_step=OneStep(100), reference=OneStep(500))
NOISED = replace(ONE, reference=OneStep(500, noised=True))
BLIND = replace(ONE, reference=None)


def idle(config, what=None, **settings):
    return [each.name for each in idle_settings(Settings(**settings), config, **(what or {}))]


@pytest.mark.parametrize(
    ("config", "settings", "names"),
    [
        (TOY, {"steps": 3, "seed": 1, "prompt": "a cat", "references": 2}, []),
        (TOY, {"strength": 0.0, "steps": 3, "prompt": "a"}, ["steps", "prompt"]),
        (ONE, {}, []),
        (ONE, {"prompt": "a cat", "strength": 0.5, "fidelity": 0.1, "color_fix": "adain"}, []),
        (ONE, {"steps": 1, "sampler": TOY.defaults.sampler, "guidance_scale": 1.0}, []),
        (ONE, {"steps": 3, "sampler": "euler"}, ["steps", "sampler"]),
        (ONE, {"seed": 1, "references": 2}, ["references", "seed"]),
        (ONE, {"negative_prompt": "blurred"}, ["negative_prompt"]),
        (NOISED, {"seed": 1, "references": 2}, []),
        (NOISED, {"seed": 1, "reference_mode": "none"}, ["seed"]),
        (BLIND, {"seed": 1}, ["seed"]),
        (BLIND, {"reference_weight": 0.5, "control_weight": 2.0}, ["reference_weight"]),
        (NOISED, {"reference_weight": 0.5}, []),
        (replace(TOY, cfw=None), {"fidelity": 0.5}, ["fidelity"]),
    ],
)
def test_settings_without_effect(config, settings, names):
    assert idle(config, **settings) == names


def test_pictures_of_the_user_and_references_that_are_written():
    assert idle(TOY, {"files": True}, strength=0.0) == ["reference"]
    assert idle(NOISED, {"files": True}, seed=1) == ["seed"]
    assert idle(TOY, {"want_reference": True}, strength=0.0, prompt="a", seed=1) == []


def test_what_a_model_without_imagination_refuses():
    for what in ({}, {"files": True}, {"files": True, "want_reference": True}):
        require_possible(Settings(), BLIND, **what)
    for config in (TOY, ONE):
        require_possible(Settings(), config, want_reference=True)
    with pytest.raises(UsageError, match="imagines no references"):
        require_possible(Settings(), BLIND, want_reference=True)
    with pytest.raises(UsageError, match="imagines no references"):
        require_possible(Settings(reference_mode="global"), BLIND)
