"""`--pre-restorer`: its picture, records and resume, and what is refused before anything runs."""

import numpy as np
import pytest
import torch
from PIL import Image

from coser_cli import upscale_file
from coser_cli.errors import Exit
from coser_cli.imageio.record import read_record
from coser_cli.weights.pre_restorer import load_pre_restorer
from tests.pre_restorers import compact, save

COMMON = ("-s", 2, "--strength", 0)


def values(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("command", ["upscale", "tile"])
def test_its_picture_is_the_result(coser, photo, tmp_path, command):
    photo("a.png")
    file = save(tmp_path / "net.safetensors")
    ran = coser(command, "a.png", *COMMON, "--pre-restorer", "net.safetensors", "-o", "b.png")
    assert ran.code == Exit.OK
    pixels = torch.from_numpy(values("a.png")).permute(2, 0, 1)[None] / 255
    own = load_pre_restorer(file).network(pixels)[0].permute(1, 2, 0)
    assert np.abs(values("b.png") - (own.numpy() * 255).round()).max() == 0


def test_it_is_part_of_the_record(coser, photo, tmp_path):
    photo("a.png")
    save(tmp_path / "net.pth")
    words = ("upscale", "a.png", *COMMON, "-o", "b.png", "--pre-restorer", "net.pth")
    assert coser(*words, "--json").records[0]["status"] == "done"
    record = read_record(tmp_path / "b.png")
    assert record["pre_restorer"]["name"] == "net.pth"
    assert "fidelity" not in record["settings"]  # nothing is decoded
    assert coser(*words, "--json").records[0]["status"] == "skipped"
    (tmp_path / "other").mkdir()
    (tmp_path / "net.pth").rename(tmp_path / "other" / "moved.pth")
    moved = (*words[:-1], "other/moved.pth")
    assert coser(*moved, "--json").records[0]["status"] == "skipped"
    save(tmp_path / "net.pth", compact(3))
    again = coser(*words)
    assert "made again: the pre-restorer is another" in again.err
    info = coser("info", "b.png").out
    assert "enlarged by 'net.pth', sha256" in info and "--pre-restorer net.pth" in info
    save(tmp_path / "net.pth", compact(4))
    assert "the pre-restorer net.pth has changed" in coser("info", "b.png").out.replace("'", "")
    without = coser(*words[:-2])
    assert "it was made with a pre-restorer" in without.err
    assert "pre_restorer" not in read_record(tmp_path / "b.png")


def test_one_that_changes_is_loaded_again(photo, tmp_path, weights, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo("a.png")
    pictures = []
    for number, scale in enumerate((2, 4)):
        file = save(tmp_path / "net.pth", compact(scale))
        options = {"strength": 0, "pre_restorer": file, "model": str(weights / "toy")}
        target = upscale_file("a.png", f"{number}.png", scale=4, **options)
        pictures.append(values(target))
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize(
    ("name", "content", "code", "reason"),
    [
        ("net.pth", {"a": torch.zeros(2)}, Exit.WEIGHTS, "spandrel knows no such network"),
        ("net.pt", {}, Exit.WEIGHTS, "not one of"),
        ("none.pth", None, Exit.USAGE, "no such file"),
    ],
)
def test_what_cannot_be_used(coser, photo, tmp_path, name, content, code, reason):
    photo("a.png")
    if content is not None:
        save(tmp_path / name, content)
    ran = coser("upscale", "a.png", *COMMON, "--pre-restorer", name)
    assert ran.code == code
    (line,) = [line for line in ran.err.splitlines() if name in line]
    assert reason in line
    assert not (tmp_path / "a_2x.png").exists()
