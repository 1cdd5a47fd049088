"""Pictures of further conditions."""

import pytest
import torch

from coser_cli.errors import UsageError
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
