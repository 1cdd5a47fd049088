"""`coser upscale --compare`: names, what is skipped, what is made again."""

import os

from PIL import Image

from coser_cli.batch import load
from coser_cli.errors import Exit


def test_comparison_lies_beside_the_result(coser, photo):
    photo("photo.png")
    ran = coser("upscale", "photo.png", "-s", 2, "--compare", "--json")
    assert ran.code == Exit.OK
    assert sorted(os.listdir()) == ["photo.png", "photo_2x.png", "photo_2x_compare.png"]
    assert ran.records[0]["comparison"] == "photo_2x_compare.png"
    with Image.open("photo_2x_compare.png") as sheet:
        assert sheet.width > 2 * 24


def test_comparison_goes_with_o(coser, photo):
    photo("a.png")
    assert coser("upscale", "a.png", "-s", 1, "--compare", "-o", "out/").code == Exit.OK
    assert coser("upscale", "a.png", "-s", 1, "--compare", "-o", "b.jpg").code == Exit.OK
    assert os.path.exists("out/a_1x_compare.png")
    assert os.path.exists("b_compare.png")


def test_a_saved_reference_is_shown(coser, photo):
    photo("a.png")
    coser("upscale", "a.png", "-s", 2, "--compare", "-o", "two.png")
    coser("upscale", "a.png", "-s", 2, "--compare", "-o", "three.png", "--save-reference")
    with Image.open("two_compare.png") as two, Image.open("three_compare.png") as three:
        assert three.width > two.width * 1.4
        assert three.height == two.height


def no_model(*args):
    raise AssertionError("the model is not needed")


def test_a_missing_comparison_is_made_from_the_files_that_are_there(coser, photo, monkeypatch):
    photo("a.png")
    words = ("upscale", "a.png", "-s", 2, "--save-reference", "--compare")
    coser(*words)
    with Image.open("a_2x_compare.png") as sheet:
        whole = sheet.tobytes()
    os.unlink("a_2x_compare.png")
    before = os.stat("a_2x.png").st_mtime_ns
    monkeypatch.setattr(load, "load_model", no_model)
    assert coser(*words).code == Exit.OK
    with Image.open("a_2x_compare.png") as sheet:
        assert sheet.tobytes() == whole
    assert os.stat("a_2x.png").st_mtime_ns == before
    assert "skipped" in coser(*words).err


def test_the_comparison_shows_the_result_that_is_kept(coser, photo):
    """A result of other settings stays; its comparison must not show another picture."""
    photo("a.png")
    Image.new("RGB", (24, 16), (0, 255, 0)).save("a_2x.png")
    coser("upscale", "a.png", "-s", 2, "--compare", "--save-reference")
    with Image.open("a_2x_compare.png") as sheet:
        assert sheet.getpixel((sheet.width - 40, sheet.height - 60)) == (0, 255, 0)
    with Image.open("a_2x.png") as kept:
        assert kept.getpixel((0, 0)) == (0, 255, 0)


def test_overwrite_makes_all_again(coser, photo):
    photo("a.png")
    coser("upscale", "a.png", "-s", 1, "--compare")
    names = ("a_1x.png", "a_1x_compare.png")
    before = [os.stat(name).st_mtime_ns for name in names]
    coser("upscale", "a.png", "-s", 1, "--compare", "--overwrite")
    assert all(os.stat(name).st_mtime_ns > old for name, old in zip(names, before, strict=True))


def test_comparison_that_would_be_an_input(coser, photo):
    photo("a.png")
    photo("a_4x_compare.png")
    ran = coser("upscale", "a.png", "a_4x_compare.png", "--compare", "--overwrite")
    assert ran.code == Exit.USAGE
    assert "inputs are never overwritten" in ran.err
    assert sorted(os.listdir()) == ["a.png", "a_4x_compare.png"]


def test_comparisons_of_the_same_stem_are_kept_apart(coser, photo):
    photo("a.png")
    photo("a.jpg")
    ran = coser("upscale", "a.png", "a.jpg", "--compare")
    assert ran.code == Exit.OK
    stems = ["a_jpg_4x", "a_png_4x"]
    written = [f"{stem}{end}.png" for stem in stems for end in ("", "_compare")]
    assert sorted(os.listdir()) == sorted(["a.jpg", "a.png", *written])


def test_folder_in_the_place_of_the_comparison(coser, photo):
    photo("a.png")
    os.mkdir("a_1x_compare.png")
    ran = coser("upscale", "a.png", "-s", 1, "--compare", "--overwrite")
    assert ran.code == Exit.FAILED
    assert "it is a folder" in ran.err
    assert not os.path.exists("a_1x.png")


def test_a_result_made_in_tiles_has_a_comparison_of_the_same_kind(coser, photo):
    photo("a.png")
    assert coser("tile", "a.png", "-s", 2, "--compare", "-o", "b.png").code == Exit.OK
    assert coser("upscale", "a.png", "-s", 2, "--compare", "-o", "c.png").code == Exit.OK
    with Image.open("b_compare.png") as tiled, Image.open("c_compare.png") as whole:
        assert tiled.size == whole.size
        corner = (0, 0, tiled.width // 2 - 8, tiled.height // 2)  # the input, and its label
        assert tiled.crop(corner).getpixel((30, 60)) == whole.crop(corner).getpixel((30, 60))
