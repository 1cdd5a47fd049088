"""Pictures of further conditions."""

import pytest
import torch
from torch.nn import functional as F

from coser_cli.errors import UsageError
from coser_cli.models.aia import AiATransformer, initialise_from_base
from coser_cli.models.transformer import prepare_context
from coser_cli.training.conditions import condition_of, edges


def test_edges_are_where_a_picture_changes():
    pixels = torch.zeros(2, 3, 16, 16)
    pixels[0, :, :, 8:] = 1
    found = edges(pixels)
    assert found.shape == pixels.shape
    assert torch.equal(found[0, 0, 3] > 0.5, torch.arange(16).eq(7) | torch.arange(16).eq(8))
    assert not found[1].any()
    assert torch.equal(edges(pixels.transpose(2, 3)), found.transpose(2, 3))


def test_a_condition_that_is_not_known_is_named():
    with pytest.raises(UsageError, match="there is no condition 'depth'; known: edges"):
        condition_of("depth")


def lines(count, seed):
    """Pictures of thin white lines."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.zeros(count, 3, 32, 32)
    for picture in pixels:
        for row, column in torch.randint(0, 24, (4, 2), generator=generator).tolist():
            picture[:, row, column : column + 9] = picture[:, row : row + 9, column] = 1
    return pixels


def loss_after_training(make):
    """Held-out error of an attention whose condition is made of the true picture, which alone
    learns, and whose input is noise."""
    torch.manual_seed(0)
    transformer = AiATransformer(16, 8, 4, 4, 16, conditions=("edges",))
    initialise_from_base(transformer)
    torch.nn.init.normal_(transformer.block.condition_attns["edges"].out.weight, std=0.1)
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_("condition_" in name)
    learning = [each for each in transformer.parameters() if each.requires_grad]
    optimizer = torch.optim.AdamW(learning, 1e-2)
    context = prepare_context([transformer], [torch.zeros(1, 2, 4)])

    def cells(pixels):
        return F.pixel_unshuffle(pixels[:, :1], 4)

    def loss(pixels, seed):
        clean = cells(pixels)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
        maps = {"low_res": torch.zeros_like(clean), "edges": cells(make(pixels))}
        found = transformer(noise, context, len(pixels), maps) - noise
        return (found - clean).square().mean()

    for step in range(100):
        optimizer.zero_grad()
        loss(lines(16, step + 1), step).backward()
        optimizer.step()
    with torch.no_grad():
        return float(loss(lines(64, 0), 0))


def test_edges_lower_the_loss_against_blank_pictures():
    blank, guided = loss_after_training(torch.zeros_like), loss_after_training(edges)
    assert guided < 0.75 * blank
