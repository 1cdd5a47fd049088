"""Which files belong together."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coser_cli.errors import UsageError
from coser_cli.evaluation.pairs import (
    find_set,
    match,
    pictures_in,
    read_pixels,
    results_for,
    set_of_folders,
)


@pytest.fixture
def folder(tmp_path):
    """`folder(name, *files)`: a folder with small pictures."""

    def make(name, *files):
        place = tmp_path / name
        place.mkdir(parents=True)
        for file in files:
            Image.new("RGB", (8, 6), (9, 9, 9)).save(place / file)
        return place

    return make


@pytest.mark.parametrize(
    ("anchor", "file"),
    [
        ("a.png", "a.jpg"),
        ("a.png", "a_4x.png"),
        ("a.png", "a_2.5x.webp"),
        ("a.png", "ax4.tif"),
        ("a.png", "a-out.png"),
        ("a.png", "a_4x_out.png"),
        ("a.png", "A_SR.PNG"),
        ("Canon_001_HR.png", "Canon_001_LR4.png"),
        ("img_001.png", "img_001 result.png"),
        ("0001.png", "0001x4.png"),
    ],
)
def test_suffixes_are_understood(anchor, file):
    assert match([Path(anchor)], [Path(file)]) == {Path(anchor): Path(file)}


@pytest.mark.parametrize(
    ("anchor", "file"),
    [("img_001.png", "img_002.png"), ("img_1.png", "img_1_2.png"), ("a.png", "about.png"),
     ("fox.png", "f.png")],
)  # fmt: skip
def test_other_names_are_other_pictures(anchor, file):
    assert match([Path(anchor)], [Path(file)]) == {}


@given(st.lists(st.from_regex(r"[a-z0-9_]{1,6}", fullmatch=True), unique=True, max_size=8))
def test_equal_stems_always_match_themselves(stems):
    """Whatever else their names end in."""
    files = [Path(f"{stem}.png") for stem in stems]
    assert match(files, files) == {file: file for file in files}


def test_an_exact_name_goes_before_a_suffix():
    files = [Path("a_4x.png"), Path("a.png")]
    assert match([Path("a.png")], files) == {Path("a.png"): Path("a.png")}


def test_two_that_fit_are_refused():
    with pytest.raises(UsageError, match=r"'a_2x\.png' and 'a_4x\.png' in '\.' both fit 'a\.png'"):
        match([Path("a.png")], [Path("a_2x.png"), Path("a_4x.png")])


def test_a_set_by_its_folders(folder):
    folder("set/HR", "a.png", "b.jpg", "c.webp")
    folder("set/LRx4", "a.png", "b.tif")
    (folder("set/other").parent / "HR" / "notes.txt").write_text("no picture")
    found = find_set(folder("set/more").parent)
    assert [(each.name, each.reference.name, each.source.name) for each in found.pictures] == [
        ("a", "a.png", "a.png"),
        ("b", "b.jpg", "b.tif"),
    ]
    assert found.notes == ("left out, as they are not in LRx4/: c.webp",)


def test_folders_of_other_tools(folder):
    reference = folder("gt", "a.png", "b.png", "c.png")
    pictures = set_of_folders("gt", reference, None)
    assert [each.source for each in pictures.pictures] == [None] * 3
    files, notes = results_for(pictures, folder("tool", "a_out.jpg", "b.png"))
    assert {name: path.name for name, path in files.items()} == {"a": "a_out.jpg", "b": "b.png"}
    assert notes == ("left out, as they are not in tool/: c",)


def test_folders_without_pairs(folder, tmp_path):
    with pytest.raises(UsageError, match="has no HR/ and LR/"):
        find_set(tmp_path)
    gt, other, empty = folder("gt", "a.png"), folder("other", "b.png"), folder("empty")
    with pytest.raises(UsageError, match=r"no picture in .*other' has the name of one in .*gt'"):
        set_of_folders("gt", gt, other)
    with pytest.raises(UsageError, match="has the name of one of gt"):
        results_for(set_of_folders("gt", gt, None), other)
    with pytest.raises(UsageError, match="there are no pictures in"):
        pictures_in(empty)
    with pytest.raises(UsageError, match=r"cannot read .*nowhere': no such file"):
        pictures_in(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.webp", "a.bmp"])
def test_pixels_are_those_of_the_file(tmp_path, name):
    options = {"lossless": True} if name.endswith("webp") else {}
    Image.new("RGB", (4, 3), (255, 51, 0)).save(tmp_path / name, **options)
    found = read_pixels(tmp_path / name)
    assert found.shape == (1, 3, 3, 4)
    assert found[0, :, 0, 0].tolist() == pytest.approx([1, 0.2, 0])
