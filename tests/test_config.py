"""Configurations survive being written to JSON and read again, whatever they leave out."""

import json
from dataclasses import asdict, replace

import pytest

from coser_cli.config import MINI, SD21, ModelConfig, OneStep
from coser_cli.weights.store import config_from_dict
from tests.toy import TOY

ONE_STEP = replace(TOY, one_step=OneStep(100), reference=OneStep(700, noised=True), cfw=None)


@pytest.mark.parametrize("config", [MINI, SD21, TOY, ONE_STEP], ids=lambda c: c.name)
def test_written_and_read_it_is_the_same(config):
    assert config_from_dict(ModelConfig, json.loads(json.dumps(asdict(config)))) == config


def test_what_models_can_imagine():
    assert TOY.imagines
    assert ONE_STEP.imagines
    assert not replace(ONE_STEP, reference=None).imagines


def test_a_field_that_is_not_known_is_refused():
    data = asdict(ONE_STEP) | {"one_step": {"timestep": 1, "steps": 2}}
    with pytest.raises(TypeError, match="OneStep has no field steps"):
        config_from_dict(ModelConfig, data)


@pytest.mark.parametrize("name", ["plain_result", "low_res_source"])
def test_a_word_that_is_no_choice_is_refused(name):
    data = asdict(TOY) | {name: "lowres"}
    with pytest.raises(ValueError, match=f"{name} must be one of .*, not 'lowres'"):
        config_from_dict(ModelConfig, data)
