import pytest
import torch
from torch.nn import functional as F

from coser_cli.models.clip import ClipText, ClipVision, token_lengths
from coser_cli.models.cognitive_encoder import (
    CognitiveEncoder,
    CognitiveEncoderConfig,
    QFormer,
    cognitive_loss,
    select_text_tokens,
)

from .conftest import CLIP_TEXT, CLIP_VISION, QFORMER, assert_near, randomise


@pytest.mark.parametrize(
    ("length", "expected"),
    [(7, [3, 4, 5, 6]), (4, [0, 1, 2, 3]), (3, [0, 1, 2, 2]), (1, [0, 0, 0, 0])],
)
def test_the_last_caption_tokens_are_selected(length, expected):
    text = torch.arange(10.0).view(1, 10, 1).expand(1, 10, 3)
    selected = select_text_tokens(text, torch.tensor([length]), 4)
    assert selected[0, :, 0].tolist() == expected


def test_the_loss_is_zero_for_the_selected_tokens_and_a_mean():
    text, lengths = torch.randn(2, 10, 3), torch.tensor([3, 9])
    target = select_text_tokens(text, lengths, 4)
    assert cognitive_loss(target, text, lengths) == 0
    assert_near(cognitive_loss(target + 2, text, lengths), torch.tensor(4.0))


def test_the_end_token_has_the_largest_id():
    assert token_lengths(torch.tensor([[98, 5, 99, 0, 0], [98, 99, 0, 0, 0]])).tolist() == [3, 2]


def test_image_tokens_do_not_depend_on_the_batch():
    tower = randomise(ClipVision(CLIP_VISION))
    pixels = torch.rand(3, 3, 20, 50)
    tokens = tower(pixels)
    assert tokens.shape == (3, 17, 24)
    assert_near(tokens[1:2], tower(pixels[1:2]))


def test_the_picture_is_squashed_without_antialiasing_and_not_clamped():
    tower = ClipVision(CLIP_VISION)
    pixels = torch.rand(1, 3, 90, 50) * 4 - 2
    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    resized = tower.prepare(pixels) * std + mean
    expected = F.interpolate(pixels, (32, 32), mode="bicubic", antialias=False)
    assert_near(resized, expected)


def test_text_states_are_causal_and_of_all_blocks_but_the_last():
    tower = randomise(ClipText(CLIP_TEXT))
    assert len(tower.tower.transformer.resblocks) == 2
    tokens = torch.randint(1, 90, (2, 16))
    states = tower.encode_tokens(tokens)
    tokens[:, 9:] = 3
    changed = tower.encode_tokens(tokens)
    assert_near(changed[:, :9], states[:, :9])
    assert not torch.allclose(changed[:, 9:], states[:, 9:])


def test_prompts_are_cut_to_the_context():
    from dataclasses import replace

    text = ClipText(replace(CLIP_TEXT, vocab_size=49408))
    tokens = text.tokenize(["", "a photo of a bird " * 20])
    assert tokens.shape == (2, 16)
    assert token_lengths(tokens).tolist() == [2, 16]


def test_the_qformer_reads_the_image_and_learns():
    qformer = QFormer(QFORMER)
    image = torch.randn(2, 17, 24)
    embedding = qformer(image)
    assert embedding.shape == (2, 6, 24)
    assert not torch.allclose(embedding[0], embedding[1])
    assert [layer.cross for layer in qformer.layers] == [True, False, True]
    embedding.square().sum().backward()
    assert all(p.grad is not None for p in qformer.parameters())


def test_the_encoder_takes_any_size():
    encoder = CognitiveEncoder(CognitiveEncoderConfig(CLIP_VISION, QFORMER)).eval()
    assert encoder(torch.rand(1, 3, 4, 4)).shape == encoder(torch.rand(1, 3, 70, 33)).shape
