"""`--condition`: its effect whole and in tiles, records and resume, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from coser_cli.errors import Exit
from coser_cli.imageio.record import read_record
from coser_cli.weights.load import save_component
from coser_cli.weights.store import save_model_config
from tests.json_page import check
from tests.toy import TOY
from tests.toy_upscaler import toy_part

COMMON = ("-s", 2, "--steps", 1, "--reference-mode", "none", "--strength", 1)


@pytest.fixture
def edgy(coser, weights, tmp_path, monkeypatch):
    """The toy with a trained attention to edges, as a folder for --model."""
    folder = tmp_path / "edgy"
    config = replace(TOY, unet=replace(TOY.unet, conditions=("edges",)))
    save_model_config(config, folder)
    for part in ("srresnet", "vae", "cfw", "cognitive_encoder", "text"):
        (folder / part).symlink_to(weights / "toy" / part)
    for part in ("unet", "controlnet"):
        save_component(toy_part(config, part), folder / part)
    monkeypatch.setenv("COSER_MODEL", str(folder))
    return folder


def sketch(path, seed=0):
    path.parent.mkdir(exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return path


def values(path):
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("command", ["upscale", "tile"])
def test_it_changes_the_result(coser, edgy, photo, tmp_path, command):
    photo("a.png")
    sketch(tmp_path / "s.png")
    for name, words in {"plain": (), "edges": ("--condition", "edges=s.png")}.items():
        ran = coser(command, "a.png", *COMMON, *words, "-o", f"{name}.png")
        assert ran.code == Exit.OK, ran.err
    assert (values("edges.png") != values("plain.png")).any()


def test_another_one_makes_the_result_again(coser, edgy, photo, tmp_path):
    photo("a.png")
    sketch(tmp_path / "s.png")
    words = ("upscale", "a.png", *COMMON, "-o", "b.png", "--condition", "edges=s.png")
    ran = coser(*words, "--json")
    check(ran.records[:1], "image")
    assert ran.records[0]["conditions"] == {"edges": "s.png"}
    assert read_record(tmp_path / "b.png")["conditions"]["edges"]["name"] == "s.png"
    assert coser(*words, "--json").records[0]["status"] == "skipped"
    sketch(tmp_path / "s.png", 1)
    assert "made again: the condition edges is another" in coser(*words).err
    told = coser("info", "b.png").out
    assert "--condition edges=s.png" in told and "condition  edges: 's.png', sha256 " in told
    without = coser(*words[:-2])
    assert "made again: it was made with the condition edges" in without.err
    assert "conditions" not in read_record(tmp_path / "b.png")


def test_diffusion_is_switched_on_for_it(coser, edgy, photo, tmp_path):
    photo("a.png")
    sketch(tmp_path / "s.png")
    ran = coser("upscale", "a.png", "-s", 2, "--strength", 0, "--condition", "edges=s.png")
    assert ran.code == Exit.OK
    assert "--condition has no effect without diffusion" in ran.err
    assert "conditions" not in read_record(tmp_path / "a_2x.png")


def test_a_folder_has_one_for_each(coser, edgy, photo, tmp_path):
    photo("a.png")
    photo("b.png")
    sketch(tmp_path / "sketches" / "a.png")
    words = ("--condition", "edges=sketches", "-o", "out/", "--json")
    ran = coser("upscale", "a.png", "b.png", *COMMON, *words)
    assert ran.code == Exit.FAILED
    done, failed, _ = ran.records
    assert (done["status"], failed["status"]) == ("done", "failed")
    assert "sketches/b.png" in failed["error"]["message"]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("depth=s.png", "the model toy has no condition 'depth'; its conditions are edges"),
        ("edges", "--condition 'edges' names no file; write it NAME=FILE"),
        ("edges=missing.png", "--condition edges: cannot read 'missing.png': no such file"),
        ("edges=a.png", "the output 'a.png' is the"),
    ],
)
def test_what_is_refused(coser, edgy, photo, tmp_path, word, said):
    photo("a.png")
    photo("c.png")
    sketch(tmp_path / "s.png")
    ran = coser("upscale", "c.png", "--condition", word, "-o", "a.png", "--overwrite")
    assert ran.code == Exit.USAGE
    assert said in ran.err
    assert len(ran.err.strip().splitlines()) == 1


def test_a_model_without_conditions_and_two_of_one_name(coser, photo, tmp_path):
    photo("a.png")
    sketch(tmp_path / "s.png")
    ran = coser("upscale", "a.png", "--condition", "edges=s.png")
    assert ran.code == Exit.USAGE
    assert "the model toy has no condition 'edges'; it has none" in ran.err
    twice = ("--condition", "edges=s.png", "--condition", "edges=s.png")
    assert "--condition edges is there twice" in coser("upscale", "a.png", *twice).err


def test_a_dry_run_counts_it(coser, edgy, photo, tmp_path):
    """One more picture to encode and to keep; without diffusion none of it."""
    photo("a.png")
    sketch(tmp_path / "s.png")

    small = "--tile-size", 64, "--overlap", 32

    def cost(*words):
        ran = coser("tile", "a.png", *COMMON, *small, *words, "--dry-run", "--json")
        assert ran.code == Exit.OK, ran.err
        return {key: ran.records[0][key] for key in ("vae_tiles", "disk_bytes")}

    plain, edges = cost(), cost("--condition", "edges=s.png")
    assert edges["vae_tiles"] > plain["vae_tiles"] and edges["disk_bytes"] > plain["disk_bytes"]
    off = "--strength", 0
    assert cost(*off, "--condition", "edges=s.png") == cost(*off)
