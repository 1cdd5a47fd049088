"""What pictures are compared with."""

import pytest
import torch
from torch.nn import functional as F

from coser_cli.errors import UsageError
from coser_cli.training.losses import PictureLoss, PictureWeights, damage

SHARES = ((0.0, 0.25), (10.0, 0.75))


def batch_of(noise):
    generator = torch.Generator().manual_seed(0)
    high = F.interpolate(torch.rand(2, 3, 8, 8, generator=generator), 64, mode="bicubic")
    high = high.clamp(0.2, 0.8)
    low = F.interpolate(high, 16, mode="bicubic", antialias=True).clamp(0, 1)
    low[1] += noise / 255 * torch.randn(low[1].shape, generator=generator)
    return {"high": high, "low": low, "teacher": torch.rand(high.shape, generator=generator)}


def test_damage_is_what_reducing_does_not_explain():
    batch = batch_of(10)
    first, second = damage(batch["low"], batch["high"]).tolist()
    assert first == 0
    assert second == pytest.approx(10, rel=0.1)


def test_damaged_pictures_are_to_be_more_like_the_teachers():
    batch = batch_of(100)
    loss = PictureLoss(PictureWeights(teacher_share=SHARES), torch.device("cpu"))
    share = torch.tensor([0.25, 0.75])[:, None, None, None]
    aim = torch.lerp(batch["high"], batch["teacher"], share)
    assert float(loss(aim, batch, aim)["loss"]) < 1e-6
    assert float(loss(batch["high"], batch, aim)["loss"]) > 0.1
    del batch["teacher"]
    assert float(loss(batch["high"], batch, aim)["loss"]) == 0


@pytest.mark.parametrize("pairs", [((5, 0.5), (1, 0.7)), ((1, 2, 3),)])
def test_shares_that_are_none(pairs):
    with pytest.raises(UsageError, match="pairs of damage and share"):
        PictureWeights(teacher_share=pairs)
