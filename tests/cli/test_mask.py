"""`--mask`: which mask is whose, records and resume, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from coser_cli.errors import Exit
from coser_cli.imageio.record import read_record

COMMON = ("-s", 2, "--strength", 0)


def mask(path, level=255, mode="L"):
    path.parent.mkdir(exist_ok=True)
    Image.new(mode, (5, 3), level).save(path)
    return path


def values(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("command", ["upscale", "tile"])
def test_white_is_the_result_and_black_the_plain_enlargement(coser, photo, tmp_path, command):
    photo("a.png")
    mask(tmp_path / "white.png")
    mask(tmp_path / "black.png", 0)
    for name, words in {
        "plain": (),
        "w": ("--mask", "white.png"),
        "b": ("--mask", "black.png"),
    }.items():
        assert coser(command, "a.png", *COMMON, *words, "-o", f"{name}.png").code == Exit.OK
    assert (values("w.png") == values("plain.png")).all()
    assert (values("b.png") != values("plain.png")).any()
    bicubic = np.asarray(Image.open("a.png").resize((24, 16), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(values("b.png") - bicubic).mean() < 1


def test_another_mask_makes_the_result_again(coser, photo, tmp_path):
    photo("a.png")
    mask(tmp_path / "m.png")
    words = ("upscale", "a.png", *COMMON, "-o", "b.png", "--mask", "m.png")
    first = coser(*words, "--json").records[0]
    assert first["mask"] == "m.png" and first["status"] == "done"
    assert read_record(tmp_path / "b.png")["mask"]["name"] == "m.png"
    assert coser(*words, "--json").records[0]["status"] == "skipped"
    mask(tmp_path / "m.png", 7)
    again = coser(*words)
    assert "made again: the mask is another" in again.err
    assert "--mask m.png" in coser("info", "b.png").out
    without = coser(*words[:-2])
    assert "made again: it was made with a mask" in without.err
    assert "mask" not in read_record(tmp_path / "b.png")


def test_a_folder_has_a_mask_for_each(coser, photo, tmp_path):
    photo("a.png")
    photo("b.png")
    mask(tmp_path / "masks" / "a.png", 0)
    ran = coser("upscale", "a.png", "b.png", *COMMON, "--mask", "masks", "-o", "out/", "--json")
    assert ran.code == Exit.FAILED
    done, failed, _ = ran.records
    assert (done["status"], failed["status"]) == ("done", "failed")
    assert "masks/b.png" in failed["error"]["message"]


@pytest.mark.parametrize("mode", ["RGB", "LA", "I;16"])
def test_other_pictures_are_no_masks(coser, photo, tmp_path, mode):
    photo("a.png")
    mask(tmp_path / "m.png", 0 if mode != "LA" else (0, 0), mode)
    ran = coser("upscale", "a.png", "--mask", "m.png")
    assert ran.code == Exit.USAGE
    assert "--mask: cannot read 'm.png'" in ran.err
    assert not (tmp_path / "a_4x.png").exists()


def test_one_file_for_two_inputs_and_two_for_one_are_refused(coser, photo, tmp_path):
    photo("a.png")
    photo("b.png")
    mask(tmp_path / "masks" / "a.png")
    mask(tmp_path / "masks" / "a.tif")
    ran = coser("upscale", "a.png", "b.png", "--mask", "masks/a.png", "-o", "out/")
    assert ran.code == Exit.USAGE
    assert "is one file for 2 inputs" in ran.err
    ran = coser("upscale", "a.png", "--mask", "masks", "--dry-run")
    assert ran.code == Exit.USAGE
    assert "are both masks of a" in ran.err
    ran = coser("upscale", "a.png", "--mask", "missing.png", "--dry-run")
    assert ran.code == Exit.USAGE
    assert "no such file" in ran.err


def test_a_mask_is_never_overwritten(coser, photo, tmp_path):
    photo("a.png")
    mask(tmp_path / "m.png")
    ran = coser("upscale", "a.png", "--mask", "m.png", "-o", "m.png", "--overwrite")
    assert ran.code == Exit.USAGE
    assert "is the mask" in ran.err
