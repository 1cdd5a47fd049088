"""`coser info FILE`: the record, and the command that makes the same bytes again."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from coser_cli.cli.reproduce import reproduction_of
from coser_cli.errors import Exit


def shell_words(line):
    """What a shell makes of a line; without the program's name."""
    script = "import sys; print(ascii(sys.argv[1:]))"
    words = f"{shlex.quote(sys.executable)} -c {shlex.quote(script)} {line}"
    ran = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=True)
    return eval(ran.stdout)[1:]


@pytest.mark.parametrize(
    "words",
    [
        ("upscale", "a.png", "-s", 2.5, "-o", "b.png", "--seed", 7, "--prompt", ""),
        ("upscale", "a.png", "--width", 31, "-o", "b.jpg", "--quality", 83, "--chroma", "420"),
        ("upscale", "a.png", "--max-side", 30, "-o", "b.webp", "--lossless", "--strength", 0.3),
        ("upscale", "a.png", "-s", 2, "-o", "b.tif", "--strip-metadata"),
        ("upscale", "a.png", "-s", 2, "-o", "b.bmp", "--sampler", "ddim", "--steps", 3),
        ("upscale", "a.png", "-s", 2, "-o", "b.png", "--reference", "r.png"),
        ("upscale", "a.png", "-s", 2, "-o", "b.png", "--references", 2),
        ("tile", "a.png", "-s", 3, "-o", "b.png", "--tile-size", 16, "--overlap", 8),
        ("tile", "a.png", "-s", 2, "-o", "b.png", "--tile-jitter", "--reference-mode", "tile"),
        ("reference", "a.png", "-s", 2, "-o", "b.png", "--reference-strength", 0.7),
        ("upscale", "a.png", "-s", 2, "-o", "b.avif", "--negative-prompt", "", "--fidelity", 0),
    ],
)
def test_the_command_makes_the_same_bytes(coser, photo, words):
    photo("a.png", size=(12, 8))
    photo("r.png", size=(20, 20))
    assert coser(*words).code == Exit.OK
    name = words[words.index("-o") + 1]
    ran = coser("info", name, "--json")
    assert ran.code == Exit.OK
    (record,) = ran.records
    assert record["input_state"] == "unchanged"
    assert record["notes"] == []
    assert ["coser", *shell_words(record["shell"])] == record["command"]
    assert coser(*record["command"][1:]).code == Exit.OK
    again = name.replace("b.", "b-again.")
    assert Path(again).read_bytes() == Path(name).read_bytes()
    assert coser("info", name).out.splitlines()[-1] == record["shell"]


@pytest.mark.parametrize(
    "name",
    ["-a b.png", "it's.png", "new\nline.png", "$(touch x).png", "back\\slash'\x1b.png", "ü.png"],
)
def test_odd_names_are_quoted(coser, photo, name):
    photo(name)
    assert coser("upscale", "-s", 1, "-o", "out/", "--", name).code == Exit.OK
    (result,) = Path("out").iterdir()
    ran = coser("info", "--", result)
    assert "\x1b" not in ran.out
    line = ran.out.splitlines()[-1]
    words = shell_words(line)
    assert words == list(reproduction_of(result).command[1:])
    assert coser(*words).code == Exit.OK
    assert not os.path.exists("x")
    again = result.with_name(f"{result.stem}-again.png")
    assert again.read_bytes() == result.read_bytes()


def test_a_saved_reference_is_repeated_with_its_result(coser, photo):
    photo("a.png")
    coser("upscale", "a.png", "-s", 2, "--save-reference", "-o", "b.png")
    (record,) = coser("info", "b_reference.png", "--json").records
    assert "this reference beside it" in record["notes"][0]
    assert coser(*record["command"][1:]).code == Exit.OK
    again = Path("b_reference-again_reference.png")
    assert again.read_bytes() == Path("b_reference.png").read_bytes()


def test_a_frame_is_repeated_with_all_frames(coser, tmp_path):
    pages = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    pages[0].save("a.tif", save_all=True, append_images=pages[1:])
    coser("upscale", "a.tif", "-s", 2, "--all-frames")
    (record,) = coser("info", "a-2_2x.png", "--json").records
    assert record["notes"] == ["the command makes all frames; this is 2"]
    assert coser(*record["command"][1:]).code == Exit.OK
    assert Path("again/a-2_2x.png").read_bytes() == Path("a-2_2x.png").read_bytes()


def test_a_changed_and_a_missing_input_are_told(coser, photo):
    photo("a.png")
    coser("upscale", "a.png", "-s", 2, "-o", "b.png")
    Image.new("RGB", (3, 3)).save("a.png")
    assert "'a.png' has changed since" in coser("info", "b.png").out
    os.unlink("a.png")
    assert "'a.png' is not here" in coser("info", "b.png").out


def test_files_without_a_record(coser, photo):
    photo("a.png")
    coser("upscale", "a.png", "-s", 1, "-o", "b.png")
    ran = coser("info", "a.png", "none.png", "b.png", "--json")
    assert ran.code == Exit.FAILED
    assert [record["error"] is None for record in ran.records] == [False, False, True]
    assert "'a.png' has no record" in ran.err
    assert "there is no such file" in ran.err
