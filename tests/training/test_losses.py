"""Losses at points where their value is known."""

import math

import pytest
import torch

from coser_cli.training.losses import (
    Discriminator,
    PerceptualLoss,
    gradient_loss,
    relativistic_losses,
)
from coser_cli.training.pixels import PictureLoss, PixelWeights, make_critic

CPU = torch.device("cpu")


def test_gradient_loss_sees_slopes_not_levels():
    target = torch.rand(1, 3, 8, 8)
    assert gradient_loss(target + 0.2, target) < 1e-6
    ramp = torch.arange(8.0).expand(1, 3, 8, 8) * 0.1
    assert gradient_loss(target + ramp, target) == pytest.approx(0.1, abs=1e-5)


@pytest.fixture(scope="module")
def perceptual():
    return PerceptualLoss()


def test_perceptual_is_zero_for_equal_pictures_and_grows(perceptual):
    target = torch.rand(2, 3, 32, 32)
    noise = torch.randn_like(target)
    assert perceptual(target, target) == 0
    near, far = (perceptual((target + s * noise).clamp(0, 1), target) for s in (0.02, 0.2))
    assert 0 < near < far


def test_perceptual_trains_the_picture_and_not_itself(perceptual):
    output = torch.rand(1, 3, 32, 32, requires_grad=True)
    perceptual(output, torch.rand(1, 3, 32, 32)).backward()
    assert output.grad is not None and output.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())


def test_relativistic_losses_are_log_2_where_real_and_fake_are_equal():
    pixels = torch.rand(2, 3, 16, 16)

    class Constant(torch.nn.Module):
        def forward(self, pixels):
            return torch.full((len(pixels), 1, 2, 2), 3.0)

    for loss in relativistic_losses(Constant(), pixels, pixels):
        assert loss == pytest.approx(math.log(2))


def test_relativistic_losses_pull_against_each_other():
    class Brightness(torch.nn.Module):
        def forward(self, pixels):
            return pixels.mean((1, 2, 3), keepdim=True) * 8

    real, fake = torch.full((2, 3, 8, 8), 0.9), torch.full((2, 3, 8, 8), 0.1)
    critic, generator = relativistic_losses(Brightness(), real, fake)
    assert critic < math.log(2) < generator
    swapped, _ = relativistic_losses(Brightness(), fake, real)
    assert swapped == pytest.approx(float(generator))


def test_each_relativistic_loss_trains_its_own_side():
    critic = Discriminator(width=4)
    fake = torch.rand(1, 3, 16, 16, requires_grad=True)
    critic_loss, generator_loss = relativistic_losses(critic, torch.rand(1, 3, 16, 16), fake)
    generator_loss.backward()
    assert fake.grad is not None and fake.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in critic.parameters())
    fake.grad = None
    critic_loss.backward()
    assert fake.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())


def test_discriminator_judges_patches():
    assert Discriminator(width=4)(torch.rand(2, 3, 32, 24)).shape == (2, 1, 4, 3)


def test_picture_loss_adds_what_its_weights_ask_for():
    output, target = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    plain = PictureLoss(PixelWeights(), CPU)(output, target)
    assert plain.keys() == {"loss", "l1"}
    assert plain["loss"] == plain["l1"] == (output - target).abs().mean()
    graded = PictureLoss(PixelWeights(gradient=0.5), CPU)(output, target)
    expected = plain["l1"] + 0.5 * gradient_loss(output, target)
    assert graded["loss"] == pytest.approx(float(expected))


def test_picture_loss_with_an_adversary():
    weights = PixelWeights(adversarial=0.1)
    loss = PictureLoss(weights, CPU)
    loss.critic = make_critic(weights)
    found = loss(torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16))
    expected = found["l1"] + 0.1 * found["adversarial"]
    assert found["loss"] == pytest.approx(float(expected.detach()))
    assert found["critic"].requires_grad
    assert make_critic(PixelWeights()) is None
