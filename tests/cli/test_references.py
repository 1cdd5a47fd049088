"""Several references on the command line: files of the user, candidates, contact sheet."""

import os

import numpy as np
import pytest
from PIL import Image

from coser_cli.errors import Exit
from coser_cli.size import Size

QUICK = ("-s", 2, "--steps", 1)


def array(name):
    with Image.open(name) as image:
        return np.asarray(image)


@pytest.fixture
def reference(photo):
    """A reference of another size and aspect ratio than the photo."""
    return photo("ref.png", size=(30, 30)).name


def test_a_file_is_the_reference(coser, photo, reference):
    photo("a.png")
    ran = coser("upscale", "a.png", *QUICK, "--reference", reference)
    assert ran.code == Exit.OK
    assert ran.out == "a_2x.png\n"
    assert sorted(os.listdir()) == ["a.png", "a_2x.png", "ref.png"]


def test_the_placed_files_can_be_saved(coser, photo, reference):
    photo("a.png")
    photo("b.png", size=(9, 9))
    other = Image.new("RGB", (5, 40), (255, 0, 0))
    other.save("red.png")
    files = ("--reference", reference, "--reference", "red.png")
    ran = coser("upscale", "a.png", "b.png", *QUICK, *files, "--save-reference", "--json")
    assert ran.code == Exit.OK
    names = [f"a_2x_reference-{number}.png" for number in (1, 2)]
    assert ran.records[0]["references"] == names
    assert ran.records[0]["reference"] == names[0]
    assert Image.open(names[0]).size == Image.open(names[1]).size == (24, 16)
    assert Image.open("b_2x_reference-2.png").size == (18, 18)
    assert not np.array_equal(array(names[0]), array(names[1]))


def test_a_file_named_twice_is_one_reference(coser, photo, reference):
    photo("a.png")
    files = ("--reference", reference, "--reference", f"./{reference}")
    coser("upscale", "a.png", *QUICK, *files, "--save-reference")
    assert sorted(os.listdir()) == ["a.png", "a_2x.png", "a_2x_reference.png", "ref.png"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"", "empty"), (b"no picture", "not a picture")]
)
def test_a_reference_that_cannot_be_read_ends_the_run_before_it_begins(
    coser, photo, content, words
):
    photo("a.png")
    if content is not None:
        with open("bad.png", "wb") as file:
            file.write(content)
    before = sorted(os.listdir())
    ran = coser("upscale", "a.png", "--reference", "bad.png", "-o", "new/")
    assert ran.code == Exit.USAGE
    assert words in ran.err
    assert "'bad.png'" in ran.err
    assert "--reference" in ran.err
    assert ran.err.count("\n") == 1
    assert ran.out == ""
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--reference", "ref.png", "--reference-mode", "none"], "--reference-mode none"),
        (["-n", 2, "--reference-mode", "none"], "--reference-mode none"),
        (["--reference", "ref.png", "-n", 2], "imagines nothing"),
        (["--reference", "ref.png", "-o", "ref.png", "--overwrite"], "is the reference 'ref.png'"),
        (["-n", 0], "--references"),
        (["-n", 17], "--references"),
        (["--reference-select", "best"], "--reference-select"),
    ],
)
def test_wrong_usage(coser, photo, reference, words, complaint):
    path = photo("a.png").parent / reference
    before, content = sorted(os.listdir()), path.read_bytes()
    ran = coser("upscale", "a.png", *words)
    assert ran.code == Exit.USAGE
    assert complaint in ran.err
    assert sorted(os.listdir()) == before
    assert path.read_bytes() == content


def test_a_reference_is_not_overwritten_through_a_link(coser, photo, reference):
    path = photo("a.png").parent / reference
    content = path.read_bytes()
    os.link(reference, "a_2x.png")
    ran = coser("upscale", "a.png", "-s", 2, "--reference", reference, "--overwrite")
    assert ran.code == Exit.USAGE
    assert path.read_bytes() == content


def test_more_files_than_may_be(coser, photo):
    photo("a.png")
    words = [word for n in range(17) for word in ("--reference", photo(f"r{n}.png").name)]
    ran = coser("upscale", "a.png", *words)
    assert ran.code == Exit.USAGE
    assert "at most 16" in ran.err


def test_references_without_diffusion_are_said_to_be_idle(coser, photo, reference):
    photo("a.png")
    ran = coser("upscale", "a.png", "-s", 1, "--strength", 0, "--reference", reference)
    assert ran.code == Exit.OK
    assert "--reference has no effect without diffusion" in ran.err
    ran = coser("upscale", "a.png", "-s", 1, "--strength", 0, "-n", 2, "--overwrite")
    assert "--references has no effect without diffusion" in ran.err
    assert ran.err.count("\n") == 1
    ran = coser("upscale", "a.png", "-s", 1, "--strength", 1, "-n", 2, "--overwrite")
    assert "no effect" not in ran.err


def test_notes_on_a_reference_are_told_once(coser, photo):
    photo("a.png")
    photo("b.png")
    frames = [Image.new("L", (4, 4), level) for level in (0, 255)]
    frames[0].save("ref.gif", save_all=True, append_images=frames[1:])
    ran = coser("upscale", "a.png", "b.png", *QUICK, "--reference", "ref.gif")
    assert ran.code == Exit.OK
    assert ran.err.count("note on 'ref.gif': only the first frame") == 1


def test_config_file_may_name_references(coser, photo, reference):
    photo("a.png")
    with open("c.toml", "w", encoding="utf-8") as file:
        file.write(f'[upscale]\nscale = 2\nreference = ["{reference}"]\nsave-reference = ""\n')
    assert coser("upscale", "a.png", "--config", "c.toml").code == Exit.OK
    assert os.path.exists("a_2x_reference.png")


def test_all_candidates_are_saved_and_one_with_clip(coser, photo):
    photo("a.png")
    words = ("upscale", "a.png", *QUICK, "-n", 3, "--save-reference", "--json")
    record = coser(*words, "-o", "all/").records[0]
    names = [f"all/a_2x_reference-{number}.png" for number in (1, 2, 3)]
    assert record["references"] == names
    assert record["scores"] is None
    ran = coser(*words, "-o", "one/", "--reference-select", "clip")
    record = ran.records[0]
    assert record["references"] == ["one/a_2x_reference.png"] == [record["reference"]]
    assert len(record["scores"]) == 3
    assert record["scores"][record["chosen"] - 1] == max(record["scores"])
    assert f"{record['chosen']} is used" in ran.err
    assert np.array_equal(array(record["reference"]), array(names[record["chosen"] - 1]))


def test_candidates_and_their_contact_sheet(coser, photo):
    photo("a.png")
    ran = coser("reference", "a.png", *QUICK, "-n", 3)
    assert ran.code == Exit.OK
    names = [*(f"a_reference-{number}.png" for number in (1, 2, 3)), "a_references.png"]
    assert ran.out.splitlines() == names
    assert sorted(os.listdir()) == ["a.png", *names]
    assert all(Image.open(name).size == (24, 16) for name in names[:3])
    assert ran.err.count("1: ") == ran.err.count("3: ") == 1
    coser("reference", "a.png", *QUICK)
    assert np.array_equal(array("a_reference.png"), array(names[0])), "the first is the single one"
    assert not np.array_equal(array(names[0]), array(names[1]))


def test_candidates_as_json(coser, photo):
    photo("a.png")
    record = coser("reference", "a.png", *QUICK, "-n", 2, "--json").records[0]
    assert record["target"] == "a_references.png"
    assert record["references"] == ["a_reference-1.png", "a_reference-2.png"]
    assert len(record["scores"]) == 2
    assert all(-1 <= score <= 1 for score in record["scores"])
    assert record["reference"] is None
    assert record["chosen"] is None
    single = coser("reference", "a.png", *QUICK, "--json").records[0]
    assert single["target"] == "a_reference.png"
    assert single["references"] == ["a_reference.png"]
    assert single["scores"] is None


def test_the_sheet_shows_the_candidates(coser, photo):
    photo("a.png", size=(40, 30))
    coser("reference", "a.png", "-s", 2, "--steps", 1, "-n", 2)
    from coser_cli.imageio.contact_sheet import layout

    sheet = array("a_references.png")
    plan = layout(Size(60, 80), ["input", "1   0.0000", "2   0.0000"])
    for index, name in ((1, "a_reference-1.png"), (2, "a_reference-2.png")):
        area = plan.picture(index)
        assert sheet.shape[:2] == plan.size.hw
        shown = sheet[area[1] : area[3], area[0] : area[2]]
        assert np.abs(shown.astype(int) - array(name)).max() <= 1


@pytest.mark.parametrize(
    ("output", "names"),
    [
        ("out/", ["out/a_reference-1.png", "out/a_reference-2.png", "out/a_references.png"]),
        ("mine.jpg", ["mine-1.jpg", "mine-2.jpg", "mine.jpg"]),
    ],
)
def test_where_candidates_go(coser, photo, output, names):
    photo("a.png")
    ran = coser("reference", "a.png", *QUICK, "-n", 2, "-o", output)
    assert ran.out.splitlines() == names
    assert all(os.path.exists(name) for name in names)


def test_finished_candidates_are_skipped_and_missing_ones_added(coser, photo):
    photo("a.png")
    words = ("reference", "a.png", *QUICK, "-n", 2)
    coser(*words)
    names = ("a_reference-1.png", "a_reference-2.png", "a_references.png")
    before = [os.stat(name).st_mtime_ns for name in names]
    assert "skipped" in coser(*words).err
    kept = array(names[1])
    os.remove(names[1])
    assert coser(*words).code == Exit.OK
    assert np.array_equal(array(names[1]), kept)
    after = [os.stat(name).st_mtime_ns for name in names]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]
    coser(*words, "--overwrite")
    assert os.stat(names[0]).st_mtime_ns > before[0]


def test_transparency_and_grey_of_candidates_are_those_of_a_single_one(coser):
    Image.new("LA", (6, 4), (100, 30)).save("a.png")
    coser("reference", "a.png", *QUICK)
    coser("reference", "a.png", *QUICK, "-n", 2)
    assert np.array_equal(array("a_reference.png"), array("a_reference-1.png"))
    assert Image.open("a_references.png").mode == "RGB"


def test_collisions_of_candidates_are_found_before_anything_runs(coser, photo):
    photo("a.png")
    photo("a.jpg")
    before = sorted(os.listdir())
    ran = coser("reference", "a.png", "a.jpg", "-n", 2, "--name", "same.png")
    assert ran.code == Exit.USAGE
    assert "would both be written" in ran.err
    photo("b.png")
    photo("b_reference-2.png")
    ran = coser("reference", "b.png", "b_reference-2.png", "-n", 2, "--overwrite")
    assert ran.code == Exit.USAGE
    assert "inputs are never overwritten" in ran.err
    assert sorted(os.listdir()) == sorted([*before, "b.png", "b_reference-2.png"])
