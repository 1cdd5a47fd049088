"""What is there already: kept, made again, or left alone, by its record."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coser_cli.errors import Exit
from coser_cli.imageio.record import read_record

KILLS = 20


def made(path):
    """Bytes of a file, and when it was written."""
    return Path(path).read_bytes(), os.stat(path).st_mtime_ns


@pytest.mark.parametrize("name", ["b.png", "b.jpg", "b.webp", "b.tif", "b.avif", "b.bmp"])
def test_the_same_command_keeps_and_another_makes_again(plain, photo, name):
    photo("a.png")
    words = ("upscale", "a.png", "-s", 2, "-o", name)
    plain(*words)
    before = made(name)
    again = plain(*words)
    assert made(name) == before
    assert "skipped" in again.err
    assert "made again" not in again.err
    other = plain(*words, "--seed", 7)
    assert other.code == Exit.OK
    assert f"'{name}' is made again: seed was 2887, is 7" in other.err
    assert made(name)[1] > before[1]
    plain(*words)
    assert made(name)[0] == before[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--steps", 3), "steps was 2, is 3"),
        (("--prompt", "a cat"), "prompt was , is a cat"),
        (("-s", 3), "scale was 2.0, is 3.0"),
        (("--quality", 80), "quality was 95, is 80"),
        (("--chroma", "420"), "chroma was 444, is 420"),
        (("--strip-metadata",), "strip_metadata was False, is True"),
        (("--dtype", "bfloat16"), "dtype was float32, is bfloat16"),
        (("--reference", "r.png"), "the reference files are others"),
    ],
)
def test_what_differs_is_said(plain, photo, change, words):
    photo("a.png")
    photo("r.png")
    plain("upscale", "a.png", "-s", 2, "-o", "b.jpg")
    ran = plain("upscale", "a.png", "-s", 2, "-o", "b.jpg", *change)
    assert words in ran.err
    assert "skipped" not in ran.err


@pytest.mark.parametrize(
    "change",
    [
        ("--width", 24),
        ("--dtype", "float32"),
        ("--quality", 80),
        ("--steps", 2),
        ("--max-memory", "3GiB"),
        ("--tile-size", 1024),
    ],
)
def test_what_gives_the_same_pixels_is_no_difference(plain, photo, change):
    """12 × 8 pixels twice as large are 24 wide; PNG has no quality; the toy takes 2 steps."""
    photo("a.png")
    plain("upscale", "a.png", "-s", 2, "-o", "b.png")
    size = () if change[0] == "--width" else ("-s", 2)
    assert "skipped" in plain("upscale", "a.png", *size, "-o", "b.png", *change).err


def test_a_changed_input_is_made_again(plain, photo):
    photo("a.png")
    plain("upscale", "a.png", "-s", 2)
    Image.new("RGB", (12, 8), "red").save("a.png")
    ran = plain("upscale", "a.png", "-s", 2, "--json")
    assert ran.records[0]["status"] == "done"
    assert "the input has changed" in ran.records[0]["notes"][0]
    assert Image.open("a_2x.png").getpixel((0, 0)) == (255, 0, 0)


def test_other_weights_make_again(plain, photo, weights, tmp_path):
    photo("a.png")
    shutil.copytree(weights / "toy", tmp_path / "other" / "toy")
    part = tmp_path / "other" / "toy" / "vae" / "diffusion_pytorch_model.safetensors"
    data = bytearray(part.read_bytes())
    data[-1] ^= 1
    part.write_bytes(data)
    plain("upscale", "a.png", "-s", 2)
    ran = plain("upscale", "a.png", "-s", 2, "--model", tmp_path / "other" / "toy")
    assert "the weights have changed" in ran.err


def test_somebody_elses_file_is_left_alone(plain, photo):
    photo("a.png")
    Image.new("RGB", (24, 16), "red").save("a_2x.png")
    before = made("a_2x.png")
    ran = plain("upscale", "a.png", "-s", 2, "--json")
    assert ran.code == Exit.OK
    assert ran.records[0]["status"] == "skipped"
    assert "has no record of how it was made" in ran.records[0]["notes"][0]
    assert made("a_2x.png") == before
    assert plain("upscale", "a.png", "-s", 2, "--overwrite").code == Exit.OK
    assert read_record(Path("a_2x.png"))["role"] == "result"


def test_each_output_of_a_job_counts_by_itself(coser, photo):
    photo("a.png")
    words = ("upscale", "a.png", "-s", 2, "--save-reference", "--compare")
    coser(*words)
    names = ("a_2x.png", "a_2x_reference.png", "a_2x_compare.png")
    roles = [read_record(Path(name))["role"] for name in names]
    assert roles == ["result", "reference", "comparison"]
    before = [made(name) for name in names]
    os.unlink(names[1])
    coser(*words)
    assert made(names[1])[0] == before[1][0]
    assert [made(names[0]), made(names[2])] == [before[0], before[2]]
    coser(*words, "--seed", 3)
    assert all(made(name)[1] > old[1] for name, old in zip(names, before, strict=True))
    coser(*words)
    assert [made(name)[0] for name in names] == [old[0] for old in before]


def test_the_record_says_no_time_and_no_folder(coser, photo, tmp_path):
    photo("a.png")
    coser("upscale", tmp_path / "a.png", "-s", 2, "-o", tmp_path / "b.jpg")
    text = json.dumps(read_record(Path("b.jpg")))
    assert str(tmp_path) not in text
    before = made("b.jpg")
    coser("upscale", "a.png", "-s", 2, "-o", "b.jpg", "--overwrite")
    assert made("b.jpg")[0] == before[0]
    assert made("b.jpg")[1] > before[1]


def test_tiles_are_told_from_the_whole(coser, photo):
    photo("a.png")
    tile = ("tile", "a.png", "-s", 2, "--tile-size", 16, "--overlap", 8)
    coser("upscale", "a.png", "-s", 2)
    assert read_record(Path("a_2x.png"))["tiling"] is None
    assert "it was not made in tiles" in coser(*tile).err
    tiling = read_record(Path("a_2x.png"))["tiling"]
    assert (tiling["tile_size"], tiling["overlap"], tiling["jitter"]) == (16, 8, False)
    assert "skipped" in coser(*tile).err
    assert "overlap was 8, is 4" in coser(*tile[:-1], 4).err


def test_nothing_is_loaded_where_all_is_there(coser, photo):
    photo("a.png")
    coser("upscale", "a.png", "-s", 2)
    code = (
        "import sys; from coser_cli.cli.app import main; "
        "code = main(['upscale', 'a.png', '-s', '2']); sys.exit(code or 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "skipped" in ran.stderr


def test_parts_of_killed_runs_are_removed(plain, photo):
    photo("a.png")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    left = Path("out", f".coser-{process.pid}-0.part")
    left.parent.mkdir()
    left.touch()
    plain("upscale", "a.png", "-s", 2, "-o", "out/")
    assert sorted(os.listdir("out")) == ["a_2x.png"]


def hashes(folder):
    """SHA-256 of every picture by name, and what else lies there."""
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def batch(coser, weights, tmp_path):
    """The words of a real command for four pictures, in three formats, into a folder."""
    random_ = np.random.default_rng(0)
    for name in "abcd":
        values = random_.integers(0, 256, (10, 10, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / f"{name}.png")
    words = [sys.executable, "-m", "coser_cli", "tile", *(f"{name}.png" for name in "abcd")]
    words += ["-s", "2", "--save-reference", "--tile-size", "16", "--overlap", "8", "-q"]

    def command(folder, *more):
        return [*words, "-o", f"{folder}/", *more]

    return command


SERVER = """
import json, os, signal, sys, time
import torch
import coser_cli.batch.large, coser_cli.engine.upscaler, coser_cli.engine.tiled.upscaler
import coser_cli.models.build, coser_cli.models.cognitive_encoder, coser_cli.models.unet
from coser_cli.cli.app import main
torch.set_num_threads(1)
for line in sys.stdin:
    words, delay = json.loads(line)
    began = time.monotonic()
    process = os.fork()
    if process == 0:
        os._exit(main(words))
    if delay is not None:
        time.sleep(delay)
        os.kill(process, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    print(json.dumps([status, time.monotonic() - began]), flush=True)
"""
"""Runs commands in processes of their own that need not import torch first, so that random moments
are moments of work; `delay` seconds after its beginning a process is killed."""


@pytest.fixture
def run():
    """`run(words, delay)`: exit code (negative where killed) and seconds."""
    words = [sys.executable, "-c", SERVER]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, **pipes) as server:

        def ask(words, delay=None):
            server.stdin.write(json.dumps([words, delay]) + "\n")
            server.stdin.flush()
            return json.loads(server.stdout.readline())

        yield ask
        server.stdin.close()


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["png", "jpg"])
def test_killed_at_any_moment_the_same_command_completes(batch, run, format_):
    """After each of 20 kills at random moments the files are those of an undisturbed run."""

    def words(folder):
        return [*batch(folder)[3:], "--format", format_]

    assert run(words("whole"))[0] == Exit.OK
    code, lasts = run(words("timed"))
    expected = hashes("whole")
    assert (code, len(expected), hashes("timed")) == (Exit.OK, 8, expected)
    random_, killed, halfway = random.Random(5), 0, 0
    for number in range(KILLS // 2):
        folder = f"killed-{number}"
        killed += run(words(folder), random_.uniform(0, lasts))[0] == -signal.SIGKILL
        there = hashes(folder) if os.path.isdir(folder) else {}
        halfway += 0 < len(there) < 8
        assert run(words(folder))[0] == Exit.OK
        assert hashes(folder) == expected
    assert killed >= KILLS // 4
    assert halfway > 0


@pytest.mark.slow
def test_the_program_itself_killed_after_its_first_result(batch):
    """The same with the real program from its start: killed as soon as a file is there."""
    subprocess.run(batch("whole"), check=True)
    process = subprocess.Popen(batch("killed"))
    while process.poll() is None and not list(Path().glob("killed/*.png")):
        time.sleep(0.001)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    subprocess.run(batch("killed"), check=True)
    assert hashes("killed") == hashes("whole")
