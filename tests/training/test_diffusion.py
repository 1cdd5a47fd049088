"""The forward process against diffusers', and one stage after the other on toy networks."""

from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler

from coser_cli.config import ScheduleConfig
from coser_cli.models.build import make_network
from coser_cli.models.controlnet import controlnet_from_unet
from coser_cli.models.unet import UNet, initialise_aia_from_base
from coser_cli.training.cognition import CognitionStage
from coser_cli.training.diffusion import Examples, Forward, RestorationStage, UNetStage
from coser_cli.training.latents import Captions, LatentPool
from coser_cli.training.pixels import (
    AutoencoderStage,
    CFWStage,
    PictureLoss,
    PixelWeights,
    SRResNetStage,
)

SCHEDULES = [ScheduleConfig(prediction_type=kind) for kind in ("epsilon", "v_prediction")]
TIMES = torch.tensor([0, 250, 999])


def diffusers_of(config):
    return DDPMScheduler(
        num_train_timesteps=config.num_train_timesteps,
        beta_start=config.beta_start,
        beta_end=config.beta_end,
        beta_schedule="scaled_linear",
        prediction_type=config.prediction_type,
        clip_sample=False,
    )


@pytest.fixture
def latents():
    return torch.randn(3, 4, 8, 8), torch.randn(3, 4, 8, 8)


@pytest.mark.parametrize("config", SCHEDULES, ids=lambda config: config.prediction_type)
def test_noisy_is_diffusers(config, latents):
    clean, noise = latents
    expected = diffusers_of(config).add_noise(clean, noise, TIMES)
    torch.testing.assert_close(Forward(config).noisy(clean, noise, TIMES), expected)


@pytest.mark.parametrize("config", SCHEDULES, ids=lambda config: config.prediction_type)
def test_clean_undoes_noisy(config, latents):
    clean, noise = latents
    forward, scheduler = Forward(config), diffusers_of(config)
    noisy = forward.noisy(clean, noise, TIMES)
    right = noise
    if config.prediction_type == "v_prediction":
        right = scheduler.get_velocity(clean, noise, TIMES)
    found = forward.clean(right, noisy, TIMES)
    torch.testing.assert_close(found, clean, atol=1e-4, rtol=1e-4)
    assert forward.loss(right, noisy, clean, TIMES).max() < 1e-6


@pytest.mark.parametrize("config", SCHEDULES, ids=lambda config: config.prediction_type)
def test_clean_is_what_diffusers_takes_it_for(config, latents):
    output, noisy = latents
    scheduler = diffusers_of(config)
    for row, time in enumerate(TIMES):
        one = slice(row, row + 1)
        step = scheduler.step(output[one], int(time), noisy[one], return_dict=True)
        found = Forward(config).clean(output[one], noisy[one], time[None])
        torch.testing.assert_close(found, step.pred_original_sample, atol=1e-3, rtol=1e-3)


def test_loss_of_epsilon_is_its_error_below_the_cap(latents):
    """SNR · |x_0 error|² = |epsilon error|², wherever the SNR is not capped."""
    clean, noise = latents
    forward = Forward(SCHEDULES[0])
    output = noise + 0.1 * torch.randn_like(noise)
    found = forward.loss(output, forward.noisy(clean, noise, TIMES), clean, TIMES)
    error = (output - noise).square().mean((1, 2, 3))
    ratio = forward.alphas_cumprod / (1 - forward.alphas_cumprod)
    assert ratio[0] > 5 > ratio[250]
    torch.testing.assert_close(found[1:], error[1:], rtol=1e-3, atol=1e-5)
    assert found[0] == pytest.approx(float(error[0] * 5 / ratio[0]), rel=1e-2)


@pytest.fixture
def examples(trained):
    return Examples(Forward(trained.config.schedule), trained.latents(6), 4, 8, 3, 1.0)


def test_examples_are_the_same_for_a_seeded_step(examples):
    draws = []
    for _ in range(2):
        torch.manual_seed(5)
        draws.append(examples(7))
    first, second = draws
    assert torch.equal(first.noisy, second.noisy)
    assert np.array_equal(first.photos, second.photos)
    assert first.high.shape == first.low.shape == first.noisy.shape == (4, 4, 8, 8)
    assert np.array_equal(examples.pool.photo[first.rows], first.photos)
    assert first.timesteps.min() >= 0 and first.timesteps.max() < 1000
    assert not np.array_equal(first.rows, examples(8).rows)


def test_depth_prefers_early_timesteps(trained):
    pool = trained.latents(6)
    means = [
        Examples(Forward(trained.config.schedule), pool, 400, 8, 3, depth)(0).timesteps
        for depth in (1.0, 2.0)
    ]
    assert means[0].float().mean() == pytest.approx(500, abs=60)
    assert means[1].float().mean() == pytest.approx(333, abs=60)


class Still:
    """Examples that never change, on the real pool."""

    def __init__(self, examples):
        self.forward, self.pool, self.crop = examples.forward, examples.pool, examples.crop
        drawn = examples(0)
        times = torch.tensor([50, 300, 600, 900])
        noisy = self.forward.noisy(drawn.high, torch.randn_like(drawn.high), times)
        self.drawn = replace(drawn, timesteps=times, noisy=noisy)

    def __call__(self, step):
        return self.drawn


def train(parameters, stage, steps=20, rate=5e-3, step_of=lambda step: 0):
    """Losses of the first and the last step."""
    optimizer = torch.optim.Adam(parameters, rate)
    found = []
    for step in range(steps):
        torch.manual_seed(0)
        values = stage(step_of(step))
        values["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append({name: float(value.detach()) for name, value in values.items()})
    return found[0], found[-1]


def test_unet_stage_learns_a_batch(trained, examples):
    unet = make_network(trained.config, "unet")
    first, last = train(unet.parameters(), UNetStage(unet, Still(examples), trained.captions))
    assert last["loss"] < 0.8 * first["loss"]
    assert {"early", "late"} <= first.keys()


@pytest.mark.parametrize(("step", "length"), [(0, 8), (3, 8), (7, 12)])
def test_unet_stage_contexts(trained, step, length):
    """The empty prompt, the caption, the empty prompt with L'."""
    captions = trained.captions
    found = UNetStage(None, None, captions)._context(np.array([2, 0]), step)
    assert found.shape == (2, length, 384)
    text = captions.text[[2, 0]] if step == 3 else captions.empty.expand(2, -1, -1)
    assert torch.equal(found[:, :8], text)
    assert torch.equal(found[:, 8:], captions.selected[[2, 0]][:, : length - 8])


def test_restoration_stage_learns_a_batch(trained, examples):
    unet = make_network(trained.config, "unet")
    assert isinstance(unet, UNet)
    initialise_aia_from_base(unet)
    controlnet = controlnet_from_unet(unet, trained.config.controlnet)
    embeddings = torch.randn(6, 4, 384)
    stage = RestorationStage(unet, controlnet, Still(examples), trained.captions, embeddings)
    parameters = [*unet.parameters(), *controlnet.parameters()]
    first, last = train(parameters, stage)
    assert last["loss"] < 0.8 * first["loss"]


@pytest.fixture
def batch(trained):
    return next(trained.pool.batches(2, 32, seed=1))


@pytest.fixture
def plain():
    return PictureLoss(PixelWeights(gradient=0.1), torch.device("cpu"))


def test_srresnet_stage_learns_a_batch(trained, batch, plain):
    network = make_network(trained.config, "srresnet")
    with torch.no_grad():
        network.conv_last.bias += 0.3
    first, last = train(network.parameters(), SRResNetStage(network, repeat(batch), plain))
    assert last["l1"] < 0.5 * first["l1"]


def test_autoencoder_stage_learns_a_batch(trained, batch):
    network = make_network(trained.config, "vae")
    picture_loss = PictureLoss(PixelWeights(gradient=0.1, kl=1e-4), torch.device("cpu"))
    first, last = train(
        network.parameters(), AutoencoderStage(network, repeat(batch), picture_loss)
    )
    assert last["l1"] < 0.7 * first["l1"]
    assert first["kl"] > 0


def test_cfw_stage_learns_a_batch(trained, batch, plain):
    coder, restorer = make_network(trained.config, "vae"), make_network(trained.config, "srresnet")
    network = make_network(trained.config, "cfw")
    stage = CFWStage(network, coder, restorer, repeat(batch), plain)
    first, last = train(network.parameters(), stage)
    assert last["l1"] < 0.85 * first["l1"]
    assert all(parameter.grad is None for parameter in coder.parameters())


def test_cognition_stage_learns_a_batch(trained, batch):
    encoder = make_network(trained.config, "cognitive_encoder")
    encoder.qformer.aim_at(trained.captions.selected)
    restorer = make_network(trained.config, "srresnet")
    photo = torch.from_numpy(trained.pool.photo)
    stage = CognitionStage(encoder, restorer, repeat(batch), trained.captions, photo)
    first, last = train(encoder.parameters(), stage)
    assert last["loss"] < 0.8 * first["loss"]
    assert last["explained"] > first["explained"]


def test_cognition_is_compared_with_the_captions_of_its_own_photos(trained, batch):
    """An encoder that says L' of the right photos explains everything."""
    photo = torch.from_numpy(trained.pool.photo)
    answer = trained.captions.selected[photo[torch.from_numpy(batch[2])]]

    class Oracle(torch.nn.Module):
        def forward(self, pixels):
            assert pixels.shape == (2, 3, 32, 32)
            return answer

    restorer = make_network(trained.config, "srresnet")
    found = CognitionStage(Oracle(), restorer, repeat(batch), trained.captions, photo)(0)
    assert found["loss"] == 0
    assert found["explained"] == 1


def test_latent_pool_has_a_sibling_for_every_row(tmp_path):
    np.save(tmp_path / "high.npy", np.zeros((5, 4, 8, 8), np.float16))
    np.save(tmp_path / "low.npy", np.zeros((5, 4, 8, 8), np.float16))

    class Photos:
        photo = np.array([7, 3, 7, 7, 5, 3])  # the last row has no latents

    pool = LatentPool(tmp_path, Photos())
    assert pool.sibling[[1, 4]].tolist() == [1, 4]
    assert sorted(pool.sibling[[0, 2, 3]]) == [0, 2, 3]
    assert all(pool.sibling[row] != row for row in (0, 2, 3))


def test_captions_are_a_tuple_of_states(trained):
    assert isinstance(trained.captions, Captions)
