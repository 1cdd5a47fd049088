"""The Python API: public names, kinds of pictures, lists, devices, files, former names."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import coser_cli
from coser_cli import CoserError, Settings, Upscaler, read_photo, upscale_file, write_photo
from coser_cli.engine import stages
from coser_cli.errors import CoserWarning, DeviceError, InputError, UsageError
from coser_cli.size import Size
from tests.toy_upscaler import save_toy

PLAIN = Settings(scale=2, strength=0.0)
VALUES = np.random.default_rng(0).integers(0, 256, (6, 8, 4), dtype=np.uint8)


@pytest.fixture
def toy_folder(tmp_path):
    return save_toy(tmp_path / "toy")


def test_public_names_are_listed_and_there():
    assert dir(coser_cli) == sorted(coser_cli.__all__)
    assert {"Upscaler", "upscale_file", "read_photo", "CoserError"} <= set(dir(coser_cli))
    assert all(getattr(coser_cli, name) is not None for name in dir(coser_cli))
    with pytest.raises(AttributeError):
        _ = coser_cli.nonesuch


def test_names_alone_import_no_torch():
    code = "import coser_cli, sys; dir(coser_cli); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_an_image_gives_an_image_of_its_mode(upscaler, mode):
    image = Image.fromarray(VALUES).convert(mode)
    image.info["icc_profile"] = b"profile"
    enlarged = upscaler(image, PLAIN)
    assert isinstance(enlarged, Image.Image)
    assert (enlarged.mode, enlarged.size) == (mode, (16, 12))
    assert enlarged.info["icc_profile"] == b"profile"
    pixels = upscaler.upscale(image, PLAIN).pixels
    assert pixels.shape == (1, 3, 12, 16)
    if mode == "RGB":
        np.testing.assert_allclose(
            np.asarray(enlarged) / 255, pixels[0].permute(1, 2, 0).numpy(), atol=0.5001 / 255
        )


def test_modes_that_change_their_name(upscaler):
    image = Image.fromarray(VALUES[..., :3])
    for mode, result in (("P", "RGB"), ("1", "L"), ("CMYK", "RGB")):
        assert upscaler(image.convert(mode), PLAIN).mode == result
    wide = Image.fromarray(VALUES[..., 0].astype(np.uint16) * 257)
    assert upscaler(wide, PLAIN).mode == wide.mode
    with pytest.raises(InputError, match="mode F"):
        upscaler(Image.fromarray(VALUES[..., 0]).convert("F"), PLAIN)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(6, 8), (6, 8, 1), (6, 8, 2), (6, 8, 3), (6, 8, 4), (2, 6, 8, 3)]
)
def test_an_array_gives_an_array_of_its_kind(upscaler, dtype, shape):
    values = np.random.default_rng(1).random(shape)
    array = values if dtype in (np.float32, np.float64) else values * np.iinfo(dtype).max
    enlarged = upscaler(array.astype(dtype), PLAIN)
    wanted = [side * 2 if side in (6, 8) else side for side in shape]
    assert (enlarged.dtype, list(enlarged.shape)) == (dtype, wanted)


def test_depths_agree(upscaler):
    bytes_ = VALUES[..., :3]
    eight, sixteen = upscaler(bytes_, PLAIN), upscaler(bytes_.astype(np.uint16) * 257, PLAIN)
    np.testing.assert_allclose(eight / 255, sixteen / 65535, atol=0.51 / 255)


def test_alpha_is_enlarged_and_colours_nothing(upscaler):
    values = np.full((6, 8, 4), 200, np.uint8)
    values[:, :4] = 0  # transparent black
    enlarged = upscaler(values, PLAIN)
    opaque = upscaler(np.full((6, 8, 3), 200, np.uint8), PLAIN)
    np.testing.assert_array_equal(enlarged[..., :3], opaque)
    assert enlarged[0, 0, 3] == 0 and enlarged[0, -1, 3] == 200


def test_tensors_keep_their_dimensions(upscaler):
    pixels = torch.rand(2, 3, 6, 8)
    together = upscaler(pixels, PLAIN)
    assert together.shape == (2, 3, 12, 16)
    torch.testing.assert_close(upscaler(pixels[1], PLAIN), together[1], atol=1e-5, rtol=0)
    assert upscaler.upscale(pixels, PLAIN).image.shape == together.shape


def test_a_photo_keeps_what_it_carries(upscaler, tmp_path):
    Image.fromarray(VALUES).save(tmp_path / "a.png", dpi=(300, 300))
    photo = read_photo(str(tmp_path / "a.png"))
    enlarged = upscaler(photo, PLAIN)
    assert enlarged.size == Size(12, 16) and enlarged.alpha.shape == (12, 16)
    write_photo(str(tmp_path / "b.png"), enlarged.pixels, enlarged)
    with Image.open(tmp_path / "b.png") as image:
        assert image.mode == "RGBA" and round(image.info["dpi"][0]) == 300


def test_a_list_gives_a_list_in_its_order(upscaler, monkeypatch):
    sizes, original = [], stages.prepare

    def prepare(runtime, pixels, settings):
        sizes.append(len(pixels))
        return original(runtime, pixels, settings)

    monkeypatch.setattr(stages, "prepare", prepare)
    monkeypatch.setattr(type(upscaler.runtime), "batch_limit", lambda *_: 2)
    pictures = [torch.rand(3, 6, 8), VALUES[..., :3], torch.rand(3, 4, 4), torch.rand(3, 6, 8)]
    results = upscaler(pictures, scale=2, strength=0.5, steps=1)
    assert [tuple(each.shape) for each in results] == [
        (3, 12, 16),
        (12, 16, 3),
        (3, 8, 8),
        (3, 12, 16),
    ]
    assert sorted(sizes) == [1, 1, 2]
    alone = upscaler(pictures[3], scale=2, strength=0.5, steps=1)
    torch.testing.assert_close(results[3], alone, atol=1e-4, rtol=0)
    assert upscaler([], PLAIN) == []


def test_keywords_are_settings(upscaler):
    pixels = torch.rand(1, 3, 6, 8)
    by_keyword = upscaler(pixels, scale=3, strength=0.5, steps=1, seed=5)
    settings = Settings(scale=3, strength=0.5, steps=1, seed=5)
    assert torch.equal(by_keyword, upscaler(pixels, settings))
    assert torch.equal(
        by_keyword, upscaler(pixels, Settings(strength=0.5, steps=1), scale=3, seed=5)
    )
    with pytest.raises(UsageError, match=r"no setting 'scael'.*scale"):
        upscaler(pixels, scael=3)


@pytest.mark.parametrize("picture", ["a.png", 3, None, np.zeros((2, 2, 9)), np.zeros((2, 2), int)])
def test_what_is_no_picture_is_refused_in_one_line(upscaler, picture):
    with pytest.raises(InputError) as caught:
        upscaler(picture, PLAIN)
    assert "\n" not in str(caught.value)


def test_progress_shows_a_bar(upscaler, capsys):
    upscaler(torch.rand(3, 4, 4), scale=1, strength=1.0, steps=2, progress=True)
    shown = capsys.readouterr()
    assert "restore: 100%" in shown.err
    assert shown.out == ""


def test_to_changes_and_returns_it(toy_folder):
    upscaler = Upscaler.from_pretrained(toy_folder, device=torch.device("cpu"), dtype="float32")
    pixels, settings = torch.rand(1, 3, 6, 8), Settings(scale=2, strength=1.0, steps=2)
    first = upscaler(pixels, settings)
    assert upscaler.to(torch.bfloat16) is upscaler
    assert upscaler.dtype == torch.bfloat16
    assert not torch.equal(upscaler(pixels, settings), first)
    assert torch.equal(upscaler.to("cpu", torch.float32)(pixels, settings), first)
    with pytest.raises(DeviceError):
        upscaler.to(device="cuda:99")
    assert torch.equal(upscaler(pixels, settings), first)


def test_to_needs_files(make_toy):
    with pytest.raises(DeviceError, match="does not come from files"):
        make_toy().upscaler.to("cpu")


def test_former_names_work_and_say_so(toy_folder):
    with pytest.warns(DeprecationWarning, match="from_pretrained"):
        upscaler = Upscaler.load(toy_folder, device="cpu")
    with pytest.warns(DeprecationWarning, match="resolve"):
        settings = Settings().with_defaults(upscaler.model.config)
    assert settings == upscaler.resolve(None)


def test_stages_also_take_plain_settings(upscaler):
    pixels, settings = torch.rand(1, 3, 6, 8), Settings(scale=2, strength=0.5, steps=1)
    results = []
    for each in (settings, upscaler.resolve(settings)):
        low_res = upscaler.prepare(pixels, each)
        cognition = upscaler.understand(low_res, each)
        latents = upscaler.restore(low_res, cognition, None, each)
        results.append(upscaler.decode(latents, low_res, each))
    assert torch.equal(*results)


@pytest.mark.usefixtures("toy_folder")
def test_a_file_is_enlarged_kept_and_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Image.fromarray(VALUES[..., :3]).save("a.png")
    where = {"model": "toy", "device": "cpu", "strength": 0.0}
    path = upscale_file("a.png", scale=2, **where)
    assert path.name == "a_2x.png"
    with Image.open(path) as image:
        assert image.size == (16, 12)
    before = path.stat().st_mtime_ns
    assert upscale_file("a.png", scale=2, **where) == path
    assert path.stat().st_mtime_ns == before
    with pytest.warns(CoserWarning, match="fidelity was"):
        upscale_file("a.png", path, scale=2, fidelity=0.25, **where)
    with pytest.raises(CoserError, match=r"no such file"):
        upscale_file("none.png", **where)
