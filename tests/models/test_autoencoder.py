from dataclasses import replace

import pytest
import torch

from coser_cli.config import AutoencoderConfig, CFWConfig
from coser_cli.models.autoencoder import Autoencoder
from coser_cli.models.cfw import CFWDecoder

from .conftest import AUTOENCODER, assert_near, randomise


@pytest.mark.parametrize(
    "config",
    [AUTOENCODER, AutoencoderConfig(block_out_channels=(32, 32, 32, 64), norm_num_groups=16)],
    ids=["three levels", "four levels"],
)
def test_it_is_diffusers_autoencoder_by_name_and_by_number(config):
    from diffusers import AutoencoderKL  # seconds, for this test alone

    levels = len(config.block_out_channels)
    theirs = AutoencoderKL(
        block_out_channels=config.block_out_channels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        layers_per_block=config.layers_per_block,
        norm_num_groups=config.norm_num_groups,
        latent_channels=4,
        mid_block_add_attention=config.mid_block_attention,
    ).eval()
    ours = Autoencoder(config).eval()
    ours.load_state_dict(theirs.state_dict())
    pixels = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        mode = theirs.encode(pixels * 2 - 1).latent_dist.mode()
        assert_near(ours.encode(pixels), mode * config.scaling_factor)
        assert_near(ours.decode(mode * config.scaling_factor) * 2 - 1, theirs.decode(mode).sample)


def test_features_are_the_levels_before_downsampling():
    latents, features = Autoencoder(AUTOENCODER).encode_with_features(torch.rand(1, 3, 32, 48))
    assert latents.shape == (1, 4, 8, 12)
    assert [tuple(f.shape[1:]) for f in features] == [(32, 32, 48), (32, 16, 24), (64, 8, 12)]


@pytest.fixture
def cfw():
    config = CFWConfig(
        AUTOENCODER, fuse_levels=(2, 1, 0), num_fuse_blocks=1, growth_channels=8, own_encoder=False
    )
    return randomise(CFWDecoder(config))


def test_fidelity_0_is_the_plain_decoder_and_the_rest_is_linear_at_the_finest_level(cfw):
    vae = Autoencoder(AUTOENCODER).eval()
    vae.decoder.load_state_dict(cfw.decoder.state_dict())
    vae.post_quant_conv.load_state_dict(cfw.post_quant_conv.state_dict())
    latents, features = vae.encode_with_features(torch.rand(1, 3, 32, 32))
    assert_near(cfw.decode(latents, features, 0.0), vae.decode(latents))
    assert not torch.allclose(cfw.decode(latents, features, 0.5), vae.decode(latents))


def test_fidelity_may_differ_within_a_batch(cfw):
    vae = Autoencoder(AUTOENCODER).eval()
    latents, features = vae.encode_with_features(torch.rand(1, 3, 16, 16))
    twice = tuple(f.repeat(2, 1, 1, 1) for f in features)
    weights = torch.tensor([0.2, 0.9]).view(2, 1, 1, 1)
    both = cfw.decode(latents.repeat(2, 1, 1, 1), twice, weights)
    for row, fidelity in enumerate((0.2, 0.9)):
        single = cfw.decode(latents, features, fidelity)
        assert_near(both[row : row + 1], single)


def test_only_a_cfw_with_its_own_encoder_has_features(cfw):
    with pytest.raises(AttributeError, match="encoder"):
        cfw.features(torch.rand(1, 3, 16, 16))
    own = CFWDecoder(replace(cfw.config, own_encoder=True))
    assert len(own.features(torch.rand(1, 3, 16, 16))) == 3


def test_gradients_reach_everything_in_bfloat16_and_channels_last(cfw):
    cfw = cfw.requires_grad_(True).to(memory_format=torch.channels_last)
    vae = Autoencoder(AUTOENCODER).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        latents, features = vae.encode_with_features(torch.rand(1, 3, 16, 16))
        pixels = cfw.decode(latents, features, 0.5)
    pixels.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cfw.parameters())
    assert all(p.grad is not None for p in vae.encoder.parameters())


def test_patches_and_no_norms_make_a_network_that_looks_nearby_only():
    """Without norms, a change in one corner of the latents leaves the far corner's pixels alone."""
    config = replace(AUTOENCODER, patch_size=2, norm_num_groups=0)
    vae = randomise(Autoencoder(config))
    latents, features = vae.encode_with_features(torch.rand(1, 3, 192, 192))
    assert latents.shape == (1, 4, 24, 24)
    assert [f.shape[-1] for f in features] == [96, 48, 24]
    pixels = vae.decode(latents)
    assert pixels.shape == (1, 3, 192, 192)
    latents[..., 0, 0] += 1
    changed = (vae.decode(latents) - pixels).abs().amax((0, 1))
    assert changed[:8, :8].max() > 0
    assert changed[128:, 128:].max() == 0
