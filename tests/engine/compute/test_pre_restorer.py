"""Networks of the user: in tiles as in memory, of every scale, and in place of the SRResNet."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from coser_cli.engine.compute.memory import needed_memory
from coser_cli.engine.compute.pre_restorer import HALO, PreRestorer
from coser_cli.engine.preparation import prepare
from coser_cli.engine.tiled.enlarging import enlarge, pre_restore, scratch_bytes
from coser_cli.engine.upscaler import Upscaler
from coser_cli.settings import Settings, TileSpec
from coser_cli.size import Size, srresnet_passes
from coser_cli.tiling.canvas import Scratch, TensorMap
from coser_cli.weights.load import load_model
from coser_cli.weights.pre_restorer import load_pre_restorer
from tests.pre_restorers import compact, save
from tests.toy_upscaler import in_tiles, save_toy, whole

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Of a file of each scale."""
    folder = tmp_path_factory.mktemp("networks")
    return lambda scale: save(folder / f"{scale}.pth", compact(scale))


@pytest.fixture(scope="module")
def loaded(file):
    files = {scale: load_pre_restorer(file(scale)) for scale in (2, 3, 4)}
    return lambda scale: files[scale]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return save_toy(tmp_path_factory.mktemp("toy"))


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(PreRestorer, "tile", 17)


def noise(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))


@torch.inference_mode()
def test_a_tile_sees_farther_than_small_networks_do(loaded, small_tiles):
    pixels = noise(2, 3, 40, 55)
    own = torch.cat([loaded(3).network(each) for each in pixels.split(1)])
    network = PreRestorer(loaded(3), CPU)
    assert network.tile < 40 and HALO >= 4  # four convolutions
    torch.testing.assert_close(network(pixels), own, rtol=0, atol=1e-5)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 60), st.integers(2, 60), st.sampled_from([2, 3, 4]), st.integers(10, 95))
def test_enlarged_in_tiles_as_in_memory(loaded, toy, height, width, each, tenths):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreRestorer, "tile", 17)
        scale, pixels = tenths / 10, noise(1, 3, height, width)
        with torch.inference_mode(), Scratch() as scratch:
            model = load_model(toy, pre_restorer=PreRestorer(loaded(each), CPU))
            expected = prepare(model, pixels, scale)
            padded = TensorMap(torch.zeros_like(expected.padded))
            count = []
            first = enlarge(
                model,
                TensorMap(pixels),
                expected.size,
                scale,
                padded,
                scratch,
                lambda *done: count.append(done),
            )
            assert count[-1] == (len(count), len(count))
            assert torch.equal(whole(first), expected.pre_restored)
            again = pre_restore(model, TensorMap(pixels), scratch)
            assert torch.equal(whole(again), expected.pre_restored)
            # torch 2.14 reduces to a width of 1 wrongly, unless channels come last
            assert expected.size.width > 1
            torch.testing.assert_close(padded.tensor, expected.padded, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("scale", "each", "passes"), [(2, 2, 1), (4, 2, 2), (1, 2, 1), (3, 2, 2), (4, 3, 1), (9, 3, 2)]
)
def test_passes(scale, each, passes):
    assert srresnet_passes(scale, each) == passes


@pytest.mark.parametrize("each", [2, 3, 4])
def test_without_diffusion_the_result_is_its_picture(file, loaded, toy, each):
    upscaler = Upscaler.from_pretrained(toy, device="cpu", pre_restorer=file(each))
    pixels = noise(1, 3, 9, 12)
    result = upscaler.upscale(pixels, scale=each, strength=0).pixels
    assert torch.equal(result, loaded(each).network(pixels))
    larger = upscaler.upscale(pixels, scale=5, strength=0).pixels  # a pass, or two, and a resize
    own = loaded(each).network(pixels)
    own = own if each > 3 else loaded(each).network(own)
    own = F.interpolate(own, (45, 60), mode="bicubic", antialias=True).clamp(0, 1)
    torch.testing.assert_close(larger, own, rtol=0, atol=1e-6)


def test_diffusion_starts_from_its_picture(file, loaded, toy):
    """Of a model whose latents are those of the bicubic enlargement otherwise."""
    choice = Settings(scale=2, steps=2, strength=0.5, seed=1)
    pixels = noise(1, 3, 16, 16)
    plain = Upscaler.from_pretrained(toy, device="cpu")
    own = Upscaler.from_pretrained(toy, device="cpu", pre_restorer=file(2))
    assert plain.model.config.low_res_source == "bicubic"
    low_res = own.prepare(pixels, own.resolve(choice))
    assert torch.equal(low_res.enlarged, loaded(2).network(pixels))
    latents = own.model.autoencoder.encode(low_res.padded)
    torch.testing.assert_close(low_res.latents, latents, rtol=0, atol=1e-5)
    whole_result = own.upscale(pixels, choice).pixels
    assert not torch.allclose(whole_result, plain.upscale(pixels, choice).pixels, atol=1e-2)
    large = in_tiles(own, pixels, choice, TileSpec(tile_size=512))
    torch.testing.assert_close(large.pixels.tensor, whole_result, rtol=0, atol=2e-4)


@pytest.mark.parametrize("how", [{"low_memory": True}, {"offload": "sequential"}])
def test_it_stays_where_weights_come_and_go(file, toy, how):
    pixels = noise(1, 3, 8, 8)
    own = Upscaler.from_pretrained(toy, device="cpu", pre_restorer=file(2))
    other = Upscaler.from_pretrained(toy, device="cpu", pre_restorer=file(2), **how)
    for _ in range(2):
        result = other.upscale(pixels, scale=2, strength=0).pixels
        assert torch.equal(result, own.upscale(pixels, scale=2, strength=0).pixels)
    again = own.to("cpu").upscale(pixels, scale=2, strength=0).pixels
    assert torch.equal(result, again)


def test_memory_and_space_count_its_scale(file, toy):
    config = load_model(toy).config
    model = Upscaler.from_pretrained(toy, device="cpu", pre_restorer=file(2)).model
    assert model.config.pass_scale == 2 and "srresnet" not in model.sizes
    each = model.config.pass_memory
    side = PreRestorer.tile + 2 * HALO
    assert each == load_pre_restorer(file(2)).pixel_bytes * side**2
    needed = [needed_memory(c, Size(8, 8), 4, torch.float32) for c in (config, model.config)]
    assert each <= needed[1] <= needed[0] + each + 8 * 8 * 16 * 3 * 2 * 4
    assert scratch_bytes(Size(3, 2), 4, 2) == 3 * 2 * 3 * 4 * (4 + 16)
