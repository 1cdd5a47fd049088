"""A toy model measured on two tiny pairs, whole and in parts, and other methods."""

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli.errors import UsageError
from coser_cli.evaluation.methods import MODEL_ROWS, PLAIN_ROWS, ROWS, Folder, computed
from coser_cli.evaluation.pairs import Picture, find_set, read_pixels
from coser_cli.evaluation.protocols import PROTOCOLS, centre_crop
from coser_cli.settings import Settings

SETTINGS = Settings(scale=4.0)


def whole(pixels, _):
    return pixels


@pytest.fixture
def pictures(pairs):
    return find_set(pairs).pictures


def result(row, upscaler, picture):
    return computed(row, SETTINGS, lambda: upscaler).pixels(picture, whole)


def test_every_row_enlarges_and_rows_differ(upscaler, pictures):
    found = {row: [result(row, upscaler, each) for each in pictures] for row in ROWS}
    for row, results in found.items():
        for picture, pixels in zip(pictures, results, strict=True):
            low = read_pixels(picture.source)
            assert pixels.shape == (1, 3, 4 * low.shape[-2], 4 * low.shape[-1]), row
            assert pixels.min() >= 0 and pixels.max() <= 1
            assert torch.equal(pixels, (pixels * 255).round() / 255)  # as a file would be
    values = [tuple(each[0].flatten().tolist()) for each in found.values()]
    assert len(set(values)) == len(ROWS)


def test_rows_are_what_they_say(upscaler, pictures):
    low = read_pixels(pictures[0].source)
    settings = upscaler.resolve(SETTINGS)
    plain = upscaler.upscale(low, Settings(strength=0)).pixels
    assert torch.equal(MODEL_ROWS["no-diffusion"](upscaler, low, settings), plain)
    everything = MODEL_ROWS["everything"](upscaler, low, settings)
    assert torch.equal(everything, upscaler.upscale(low).pixels)
    enlarged = upscaler.prepare(low, settings=SETTINGS).enlarged  # of the SRResNet, in this model
    assert torch.equal(MODEL_ROWS["srresnet"](upscaler, low, settings), enlarged)
    levels = (low[0] * 255).byte().permute(1, 2, 0).numpy()
    expected = Image.fromarray(levels).resize((32, 24), Image.Resampling.BICUBIC)
    found = (PLAIN_ROWS["bicubic"](low, SETTINGS)[0] * 255).round().byte()
    assert np.array_equal(found.permute(1, 2, 0).numpy(), np.array(expected))


def test_methods_without_our_model_do_not_load_it(pictures):
    def load():
        raise AssertionError("the model was loaded")

    computed("bicubic", SETTINGS, load).pixels(pictures[0], whole)


def test_real_esrgan_enlarges_four_times_only(pictures):
    method = computed("realesrgan", Settings(scale=2.0), lambda: None)
    with pytest.raises(UsageError, match="enlarges four times"):
        method.pixels(pictures[0], whole)


def test_a_picture_without_low_resolution():
    method = computed("bicubic", SETTINGS, lambda: None)
    with pytest.raises(UsageError, match="bicubic has nothing to enlarge; give --input"):
        method.pixels(Picture("a"), whole)


def test_a_folder_gives_its_files(tmp_path):
    Image.new("RGB", (4, 3), (255, 0, 51)).save(tmp_path / "a.png")
    found = Folder("tool", {"a": tmp_path / "a.png"}).pixels(Picture("a"), whole)
    assert found[0, :, 0, 0].tolist() == pytest.approx([1, 0, 0.2])


@pytest.mark.parametrize(("height", "width"), [(150, 200), (151, 202), (128, 128), (133, 171)])
@pytest.mark.parametrize("rest", [0, 1, 3])
def test_protocols_cut_both_sizes_at_the_same_place(height, width, rest):
    """The LR crop enlarged is the HR crop."""
    protocol = PROTOCOLS["realsr"]
    rows = torch.arange(height)[:, None] * 1000 + torch.arange(width)
    low = rows.float()[None, None].expand(1, 3, -1, -1)
    high = low.repeat_interleave(4, dim=-2).repeat_interleave(4, dim=-1)
    high = torch.nn.functional.pad(high, (0, rest, 0, rest), mode="replicate")
    small = centre_crop(low, protocol.side // 4)
    large = centre_crop(high, protocol.side, protocol.scale)
    assert small.shape[-2:] == (128, 128)
    assert torch.equal(large[..., ::4, ::4], small)
