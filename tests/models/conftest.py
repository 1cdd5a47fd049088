import pytest
import torch

from coser_cli.config import (
    AutoencoderConfig,
    ClipTextConfig,
    ClipVisionConfig,
    ControlNetConfig,
    QFormerConfig,
    UNetConfig,
)

DENOISER = {
    "block_out_channels": (32, 64, 64),
    "layers_per_block": 1,
    "attention_factors": (1, 2),
    "head_dim": 16,
    "context_dim": 24,
    "norm_num_groups": 8,
}
UNET = UNetConfig(**DENOISER)
CONTROLNET = ControlNetConfig(**DENOISER)
AUTOENCODER = AutoencoderConfig(
    block_out_channels=(32, 32, 64), layers_per_block=1, mid_block_attention=False
)
CLIP_VISION = ClipVisionConfig(32, 8, width=32, layers=2, heads=2, output_dim=24)
CLIP_TEXT = ClipTextConfig(context_length=16, vocab_size=100, width=24, heads=2, layers=3)
QFORMER = QFormerConfig(6, 24, num_layers=3, num_heads=2, intermediate_size=32, encoder_width=24)


def randomise(network):
    """Weights that make every path count; what starts at zero is not zero any more."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.3)
    return network.eval()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def assert_near(actual, expected):
    """Equal but for the rounding of another order of summation."""
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
