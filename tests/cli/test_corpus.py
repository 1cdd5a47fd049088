"""Every odd file of the corpus through the real command, and what became of it."""

import os
import re

import numpy as np
import pytest
import pyvips
from corpus import CORPUS
from PIL import Image

from coser_cli.errors import Exit

ODD = [pytest.param(odd, id=ascii(odd.name[:40])) for odd in CORPUS]
LOSSLESS = [odd for odd in CORPUS if odd.mode.endswith("16") and odd.shows is None]
STATED = [odd for odd in CORPUS if odd.shows is not None]


def made(odd, folder):
    """The file in its folder, or a skipped test where the file system cannot hold its name."""
    path = folder / odd.name
    try:
        odd.make(path)
    except (OSError, UnicodeError) as error:
        pytest.skip(f"cannot be made here: {error}")
    return path


def mode_of(path):
    """Pillow's mode; with 16 for colours of that depth, which Pillow does not tell apart."""
    with path.open("rb") as file:
        head = file.read(26)
    if head[24] == 16 and head[25] != 0:
        return {2: "RGB16", 4: "LA16", 6: "RGBA16"}[head[25]]
    with Image.open(path) as image:
        return image.mode


def wrong(odd, record, target):
    """What is not as stated, in words; empty if all is."""
    if odd.fails:
        if record["status"] != "failed":
            return f"{record['status']} instead of failed"
        message = record["error"]["message"] + record["error"]["hint"]
        if not re.search(odd.failure, message):
            return f"failed with {message!r}"
        if "\n" in message or not record["error"]["hint"]:
            return f"is no line with a remedy: {message!r}"
        return "left a file" if os.path.lexists(target) else ""
    if record["status"] != "done":
        return f"failed with {record['error']['message']!r}"
    size = [record["width"], record["height"]]
    if size != [2 * side for side in odd.size] or record["source_size"] != list(odd.size):
        return f"measures {size}"
    with Image.open(target) as image:
        if list(image.size) != size:
            return f"its file measures {image.size}"
    if mode_of(target) != odd.mode:
        return f"has the mode {mode_of(target)}"
    notes = "; ".join(record["notes"])
    if (odd.note is None) != (not notes) or not re.search(odd.note or "", notes):
        return f"has the notes {notes!r}"
    return ""


@pytest.mark.parametrize("odd", ODD)
def test_each_ends_as_stated(plain, tmp_path, odd):
    folder = tmp_path / "in"
    folder.mkdir()
    made(odd, folder)
    os.chdir(folder)
    ran = plain("upscale", "-s", 2, "--json", "-o", "../out/", "--", odd.name)
    assert ran.code == (Exit.FAILED if odd.fails else Exit.OK)
    record, summary = ran.records
    assert wrong(odd, record, folder / record["target"]) == ""
    assert summary["total"] == 1
    lines = ran.err.splitlines()
    assert all(line.startswith(("coser: ", "note on ")) for line in lines), ran.err
    errors = [line for line in lines if line.startswith("coser: ")]
    assert len(errors) == int(odd.fails)


@pytest.fixture
def crowd(tmp_path):
    """The whole corpus in one folder: (names, folder)."""
    folder = tmp_path / "in"
    folder.mkdir()
    for odd in CORPUS:
        try:
            odd.make(folder / odd.name)
        except (OSError, UnicodeError):
            pytest.skip("not every file can be made here")
    return [odd.name for odd in CORPUS], folder


def test_all_together_end_as_each_alone(plain, crowd, tmp_path):
    names, folder = crowd
    os.chdir(folder)
    template = "{index}_{stem:.20}.png"
    ran = plain("upscale", "-s", 2, "--json", "--name", template, "-o", "../out/", "--", *names)
    *records, summary = ran.records
    targets = [tmp_path / "in" / record["target"] for record in records]
    states = {
        odd.name: wrong(odd, record, target)
        for odd, record, target in zip(CORPUS, records, targets, strict=True)
    }
    states.pop(f"{'n' * 251}.png")  # its name is cut by the template here
    assert {name: state for name, state in states.items() if state} == {}
    assert summary["total"] == len(CORPUS) >= 60
    assert summary["done"] == len(CORPUS) - sum(odd.fails for odd in CORPUS) + 1
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]


def test_order_changes_no_byte(plain, crowd, tmp_path):
    names, folder = crowd
    os.chdir(folder)
    by_stem = {os.path.splitext(name)[0]: name for name in names}
    orders = list(by_stem.values()), list(by_stem.values())[::-1]
    contents = []
    for where, order in zip(("one", "two"), orders, strict=True):
        words = ["-q", "-s", 2, "--name", "{stem:.40}{ext}", "-o", f"{where}/", "--"]
        plain("upscale", *words, *order)
        contents.append({path.name: path.read_bytes() for path in (folder / where).iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]) > 30


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("odd", [pytest.param(odd, id=odd.name) for odd in LOSSLESS])
def test_16_bits_survive_to_the_last(plain, tmp_path, odd, suffix):
    """At scale 1 the stand-in changes nothing, so the file must hold the very same numbers."""
    path = made(odd, tmp_path)
    assert plain("upscale", "-s", 1, path, "-o", f"out.{suffix}").code == Exit.OK
    # Whole paths: libvips remembers files by the name they were opened with.
    before, after = (
        pyvips.Image.new_from_file(str(each)) for each in (path, tmp_path / f"out.{suffix}")
    )
    assert after.format == "ushort"
    values, wanted = after.numpy(), before.numpy()
    if odd.name == "rgb_and_other16.tif":
        wanted = wanted[..., :3]
    elif before.hasalpha():
        seen = wanted[..., -1] > 0
        values, wanted = values[seen], wanted[seen]
    assert np.array_equal(values, wanted)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("odd", [pytest.param(odd, id=odd.name) for odd in STATED])
def test_colours_are_as_stated(plain, tmp_path, odd, suffix):
    path = made(odd, tmp_path)
    assert plain("upscale", "-s", 1, path, "-o", f"out.{suffix}").code == Exit.OK
    values = pyvips.Image.new_from_file(str(tmp_path / f"out.{suffix}")).numpy()
    values = values.reshape(odd.shows.shape)
    assert values.dtype == (np.uint16 if odd.mode.endswith("16") else np.uint8)
    off = np.abs(values - odd.shows * np.iinfo(values.dtype).max)
    assert off.max() <= odd.within
    assert off.mean() <= np.iinfo(values.dtype).max / 255
