"""What the user names, as pictures: folders, patterns, lists, frames; and what they are called."""

import os
from pathlib import Path

import numpy as np
import pytest
from corpus import frames, picture
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.batch.fit import Fit
from coser_cli.batch.inputs import Source, find, read_list
from coser_cli.batch.jobs import plan
from coser_cli.batch.naming import FIELDS, Naming
from coser_cli.errors import UsageError
from coser_cli.imageio.write import write_photo


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Pictures and other things in folders: the current one."""
    monkeypatch.chdir(tmp_path)
    for folder in ("d/sub/deep", "d/.hidden", "d/none", "e/f"):
        os.makedirs(folder)
    for name in ("d/b.jpg", "d/a", "d/sub/c.tif", "d/sub/deep/a.png", "d/.hidden/x.png"):
        picture().save(name, format="PNG")
    picture().save("d/.coser-1-2.part", format="PNG")
    Path("d/.coser-records.json").write_text("{}")
    Path("d/notes.txt").write_text("no picture")
    Path("d/broken.jpg").write_bytes(b"")
    return tmp_path


def names(found):
    return [str(source.path) for source in found.sources]


def test_a_folder_is_its_pictures_by_content_or_name(tree):
    found = find([Path("d")])
    assert names(found) == ["d/a", "d/b.jpg", "d/broken.jpg"]
    assert all(source.from_search and source.below == Path() for source in found.sources)


def test_recursively_the_tree_is_remembered(tree):
    found = find([Path("d")], recursive=True)
    assert names(found) == ["d/a", "d/b.jpg", "d/broken.jpg", "d/sub/c.tif", "d/sub/deep/a.png"]
    assert [str(source.below) for source in found.sources] == [".", ".", ".", "sub", "sub/deep"]
    jobs = plan(found.sources, "out", scale=2)
    assert [str(job.target) for job in jobs[-2:]] == ["out/sub/c_2x.png", "out/sub/deep/a_2x.png"]
    assert Path("out/sub/deep").is_dir()


def test_circles_of_links_are_said_and_not_followed(tree):
    os.symlink("..", "d/sub/up")
    os.symlink("sub", "d/again")  # sorts before the real folder, which keeps its place all the same
    os.symlink("nowhere", "d/dangling")
    os.symlink("nowhere.png", "d/dangling.png")
    os.symlink("self", "d/self")
    found = find([Path("d")], recursive=True)
    assert "d/sub/c.tif" in names(found)
    assert "d/dangling.png" in names(found)  # a photo that is gone is reported, later
    assert "d/self" not in names(found)
    assert len(found.notes) == 2
    assert all("not followed" in note for note in found.notes)
    assert not found.problems


def test_a_link_to_a_folder_elsewhere_is_followed(tree):
    os.makedirs("else/where")
    picture().save("else/where/z.png")
    os.symlink("../else", "d/link")
    assert "d/link/where/z.png" in names(find([Path("d")], recursive=True))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_folder_that_cannot_be_read_is_one_line(tree):
    os.chmod("d/sub", 0)
    try:
        found = find([Path("d")], recursive=True)
    finally:
        os.chmod("d/sub", 0o755)
    assert len(found.problems) == 1
    assert "cannot read the folder 'd/sub'" in str(found.problems[0])
    assert "d/a" in names(found)


def test_a_folder_that_fails_to_be_read_is_one_line(tree, monkeypatch):
    """The same for root, whom permissions do not stop."""
    scan = os.scandir

    def refuse(folder):
        if Path(folder).name == "sub":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find([Path("d")], recursive=True)
    assert [str(problem) for problem in found.problems] == [
        "cannot read the folder 'd/sub': permission denied; check it"
    ]
    assert len(found.sources) == 3


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("d/none", "no pictures in 'd/none'"),
        ("d/*.gif", "no file matches 'd/*.gif'"),
        ("none*", "no file matches"),
    ],
)
def test_nothing_found(tree, word, words):
    with pytest.raises(UsageError, match=words.replace("*", r"\*")):
        find([Path(word)])


def test_a_folder_of_folders_says_what_helps(tree):
    with pytest.raises(UsageError, match="-r looks into its sub-folders"):
        find([Path("e")])


def test_patterns(tree):
    assert names(find([Path("d/*.jpg")])) == ["d/b.jpg", "d/broken.jpg"]
    assert names(find([Path("d/**/*.png")])) == ["d/sub/deep/a.png"]
    assert names(find([Path("d/[ab]")])) == ["d/a"]
    picture().save("d/[ab]", format="PNG")  # what exists is itself
    assert names(find([Path("d/[ab]")])) == ["d/[ab]"]


def test_patterns_show_each_file_of_a_circle_once(tree):
    os.symlink("..", "d/sub/up")
    assert names(find([Path("d/**/*.tif")])) == ["d/sub/c.tif"]


def test_raw_files_in_a_folder_are_named_and_passed_by(tree):
    Path("d/x.cr2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0")
    Path("d/y.raf").write_bytes(b"FUJIFILMCCD-RAW")
    Path("d/z.pdf").write_bytes(b"%PDF-1.7")
    found = find([Path("d")])
    assert len(found.sources) == 3
    (note,) = found.notes
    assert "2 camera RAW files in 'd' not read" in note
    os.makedirs("raw")
    Path("raw/x.cr2").write_bytes(b"II*\0\x10\0\0\0CR\x02\0")
    with pytest.raises(UsageError, match="of the 1 camera RAW file: develop it"):
        find([Path("raw")])


def is_plain(name):
    """No NUL, which ends a name, and no beginning like that of UTF-16."""
    return b"\0" not in name and name[:2] not in (b"\xff\xfe", b"\xfe\xff")


@given(st.lists(st.binary(min_size=1).filter(is_plain), min_size=1))
def test_lists_ended_by_nul_hold_any_name(lines):
    assert read_list(b"\0".join(lines) + b"\0") == [Path(os.fsdecode(line)) for line in lines]


@pytest.mark.parametrize(
    "data", [b"a\nb c\n", b"a\r\nb c\r\n", b"\n\na\n\nb c", b"\xef\xbb\xbfa\nb c", b"a\0b c"]
)
def test_lists_of_lines(data):
    assert read_list(data) == [Path("a"), Path("b c")]


@pytest.mark.parametrize("name", [b"\xfe\xff", b"\xff\xfeab"])
def test_a_name_that_begins_like_utf16(name):
    assert read_list(name + b"\0") == [Path(os.fsdecode(name))]


@pytest.mark.parametrize("data", [b"", b"\n\n", b"\0"])
def test_empty_lists(data):
    with pytest.raises(UsageError, match="empty"):
        read_list(data)


def test_results_in_the_same_folder_are_no_inputs(tree):
    picture().save("d/a_2x.png")
    picture().save("d/a_2x_reference.png")
    picture().save("d/a_3x.png")
    picture().save("d/other_2x.png")
    jobs = plan(find([Path("d")]).sources, None, scale=2, save_reference="")
    sources = [str(job.source) for job in jobs]
    assert sources == ["d/a", "d/a_3x.png", "d/b.jpg", "d/broken.jpg", "d/other_2x.png"]
    # Named itself, it is an input, and the clash is found.
    with pytest.raises(UsageError, match="never overwritten"):
        plan(find([Path("d/a"), Path("d/a_2x.png")]).sources, None, scale=2)


def test_results_below_the_searched_folder_are_no_inputs(tree):
    first = plan(find([Path("d")], recursive=True).sources, "d/out", scale=2)
    for job in first:
        picture().save(job.target)
    again = plan(find([Path("d")], recursive=True).sources, "d/out", scale=2)
    assert again == first


def test_an_original_that_a_plain_name_would_hit_is_no_result(tree):
    """`{stem}{ext}` would write a.png from a.jpg; an a.png that is there is somebody's."""
    os.makedirs("g")
    picture().save("g/a.jpg")
    picture().save("g/a.png")
    with pytest.raises(UsageError):
        plan(find([Path("g")]).sources, None, naming=Naming(template="{stem}{ext}"))


def test_frames(tree):
    frames("GIF")(Path("d/x.gif"))
    picture().save("d/y.gif")
    found = find([Path("d/x.gif"), Path("d/y.gif"), Path("d/broken.jpg")], all_frames=True)
    assert [source.frame for source in found.sources] == [0, 1, 2, None, None]
    jobs = plan(found.sources, None, scale=2)
    assert [job.target.name for job in jobs] == [
        *("x-1_2x.png", "x-2_2x.png", "x-3_2x.png", "y_2x.png", "broken_2x.png")
    ]
    with pytest.raises(UsageError, match="would both be written"):
        plan(found.sources[:3], None, naming=Naming(template="{stem}{ext}"))


def targets(jobs):
    return [str(job.target) for job in jobs]


def test_equal_names_of_several_folders_are_numbered_where_they_meet(tree):
    picture().save("d/sub/b.jpg")
    both = find([Path("d")], recursive=True).sources
    assert "out/sub/b_2x.png" in targets(plan(both, "out", scale=2))
    sources = find([Path("d/b.jpg"), Path("d/sub/b.jpg"), Path("d/a")]).sources
    jobs = plan(sources, "out", scale=2)
    assert targets(jobs) == ["out/b-1_2x.png", "out/b-2_2x.png", "out/a_2x.png"]
    with pytest.raises(UsageError, match="would both be written"):
        plan(sources, "out", naming=Naming(2, template="{stem}{ext}"))


def test_one_stem_with_two_extensions_keeps_them_apart(tree):
    picture().save("d/b.png")
    jobs = plan([Path("d/b.jpg"), Path("d/b.png"), Path("d/a")], None, scale=2)
    assert targets(jobs) == ["d/b_jpg_2x.png", "d/b_png_2x.png", "d/a_2x.png"]


def test_names_that_differ_in_case_are_numbered_where_case_does_not_count(tree, monkeypatch):
    from coser_cli.batch import jobs

    picture().save("d/B.jpg")
    sources = [Path("d/b.jpg"), Path("d/B.jpg")]
    assert targets(plan(sources, None, scale=2)) == ["d/b_2x.png", "d/B_2x.png"]
    monkeypatch.setattr(jobs, "_ignores_case", lambda folder: True)
    assert targets(plan(sources, None, scale=2)) == ["d/b-1_2x.png", "d/B-2_2x.png"]


@pytest.mark.parametrize(
    ("kind", "suffix", "expected"),
    [
        ("JPEG", ".jpg", ".jpg"), ("JPEG", ".JPEG", ".jpeg"), ("JPEG", ".png", ".jpg"),
        ("WEBP", ".webp", ".webp"), ("TIFF", ".tiff", ".tiff"), ("GIF", ".gif", ".png"),
    ],
)  # fmt: skip
def test_the_format_of_each_input(tree, kind, suffix, expected):
    picture().save(f"e/x{suffix}", format=kind)
    [job] = plan([Path(f"e/x{suffix}")], None, naming=Naming(2, format="same"))
    assert job.target == Path(f"e/x_2x{expected}")


def result(path):
    """A result of this program."""
    pixels = np.zeros((3, 4, 6), np.float32)
    write_photo(Path(path), pixels, record={"coser_record": 1})


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".avif", ".bmp"])
def test_results_of_earlier_runs_are_left_out_unless_they_are_named(tree, suffix):
    result(f"d/b_4x{suffix}")
    found = find([Path("d")])
    assert f"d/b_4x{suffix}" not in names(found)
    assert found.notes == ["1 result of earlier runs left out (name a result itself to enlarge it)"]
    assert f"d/b_4x{suffix}" not in names(find([Path("d/*")]))
    assert names(find([Path(f"d/b_4x{suffix}")])) == [f"d/b_4x{suffix}"]


def test_a_folder_of_nothing_but_results(tree):
    result("e/f/b_4x.png")
    with pytest.raises(UsageError, match="no pictures but results"):
        find([Path("e/f")])


def test_an_empty_folder_among_others_is_said_and_the_rest_is_done(tree):
    found = find([Path("d/none"), Path("d/b.jpg")])
    assert names(found) == ["d/b.jpg"]
    assert found.notes == ["no pictures in 'd/none'; name a folder with pictures in it"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lists_of_any_editor(encoding, end):
    data = end.join(["a.jpg", "ä €.jpg", ""]).encode(encoding)
    assert read_list(data) == [Path("a.jpg"), Path("ä €.jpg")]


def named(template, *, path="d/a", index=7, **options):
    return Naming(template=template, **options).name(Source(Path(path)), index)


def test_every_field(tree):
    options = {"scale": 2.5, "model": "mini", "seed": 3, "format": "jpeg"}
    template = "-".join(f"{{{field}}}" for field in FIELDS if field != "ext") + "{ext}"
    assert named(template, **options) == "a-2.5-32-22-mini-3-7-1.jpg"
    assert named("{index:04d}{ext}") == "0007.png"
    assert named("{{{stem}}}{ext}") == "{a}.png"
    assert named("{stem}.webp") == "a.webp"


def test_fields_of_a_size(tree):
    fit = Fit(width=26)
    assert named(None, fit=fit) == "a_26w.png"
    assert named("{scale}_{width}x{height}{ext}", fit=fit) == "2_26x18.png"
    assert named("{width}{ext}", path="d/broken.jpg", fit=fit) == "0.png"  # its job will fail


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{name}{ext}", "unknown field {name}; known are stem, scale"),
        ("{stem.__class__}{ext}", "unknown field"),
        ("{}{ext}", "unknown field"),
        ("{stem!r}{ext}", "unknown field"),
        ("{index:{seed}}{ext}", "unknown field"),
        ("{stem", "--name"),
        ("{stem:d}{ext}", "--name"),
        ("sub/{stem}{ext}", "has a folder in it"),
        (".{stem}{ext}", "hidden"),
    ],
)
def test_templates_that_are_wrong(template, words):
    with pytest.raises(UsageError) as caught:
        Naming(template=template)
    assert words in str(caught.value)


def test_template_against_format():
    with pytest.raises(UsageError, match="is no name for jpeg"):
        Naming(template="{stem}.png", format="jpeg")
    with pytest.raises(UsageError, match="unknown extension"):
        plan([Path("a.png")], None, naming=Naming(template="{stem}"))
    with pytest.raises(UsageError, match="is no name for webp"):
        plan([Path("a.png")], "b.png", naming=Naming(format="webp"))
