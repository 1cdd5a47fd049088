"""Options about files, as a user meets them: sizes, names, formats, lists, folders and pipes."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from corpus import frames, picture, png16, srgb
from PIL import ExifTags, Image

from coser_cli.errors import Exit


def lines(ran):
    return ran.out.splitlines()


@pytest.mark.parametrize(
    ("words", "name", "size"),
    [
        (["--width", 30], "photo_30w.png", (30, 20)),
        (["--height", 31], "photo_31h.png", (46, 31)),
        (["--max-side", 41], "photo_max41.png", (41, 27)),
        (["--width", 40, "--height", 17], "photo_40x17.png", (26, 17)),
        (["--width", 12], "photo_12w.png", (12, 8)),
        (["--width", 192], "photo_192w.png", (192, 128)),
    ],
)
def test_sizes_instead_of_a_scale(plain, photo, words, name, size):
    photo("photo.png")
    ran = plain("upscale", "photo.png", "--json", *words)
    assert ran.records[0]["target"] == name
    assert (ran.records[0]["width"], ran.records[0]["height"]) == size
    assert Image.open(name).size == size


def test_each_picture_has_its_own_scale_and_its_own_failure(plain, photo):
    for index, size in enumerate([(20, 10), (10, 20), (500, 2), (1, 1)]):
        photo(f"{index}.png", size=size)
    ran = plain("upscale", "0.png", "1.png", "2.png", "3.png", "--max-side", 100, "--json")
    states = [record["status"] for record in ran.records[:-1]]
    assert states == ["done", "done", "skipped", "failed"]
    assert [record["width"] for record in ran.records[:2]] == [100, 50]
    assert ran.records[2]["notes"] == ["500×2 pixels are more than --max-side 100 already"]
    assert "scale of 100" in ran.records[3]["error"]["message"]


def test_a_picture_that_is_large_enough_is_no_result(plain, photo):
    photo("a.png", size=(500, 2))
    ran = plain("upscale", "a.png", "--max-side", 100)
    assert not ran.out
    assert "left 'a.png' as it is" in ran.err
    assert "500×2 pixels are more than --max-side 100 already" in ran.err


def test_orientation_counts_for_sizes(plain, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (12, 8)).save("a.jpg", exif=exif)
    plain("upscale", "a.jpg", "--width", 16)
    assert Image.open("a_16w.png").size == (16, 24)


def test_sizes_work_with_the_networks(coser, photo):
    photo("a.png", size=(9, 7))
    assert coser("upscale", "a.png", "--width", 20, "--save-reference").code == Exit.OK
    assert Image.open("a_20w.png").size == Image.open("a_20w_reference.png").size == (20, 16)


@pytest.mark.parametrize(
    "words",
    [
        ["--width", 30, "-s", 2],
        ["--width", 30, "--max-side", 30],
        ["--width", 0],
        ["--name", "{size}{ext}"],
        ["--name", "{stem}{ext}"],  # would be the input
        ["--name", "a/{stem}{ext}"],
        ["--format", "gif"],
        ["--format", "jpeg", "-o", "b.png"],
        ["--format", "jpeg", "--lossless"],
        ["--format", "webp", "--chroma", "444"],
        ["--format", "jpeg", "--quality", "101"],
        ["--chroma", "422"],
        ["--from-file", "none.txt"],
        ["--from-file", "empty.txt"],
        ["*.gif"],
        ["-o", "-", "--json"],
        ["b.png", "-o", "-"],
    ],
)
def test_wrong_usage_leaves_no_trace(plain, photo, words):
    photo("a.png")
    photo("b.png")
    os.mkdir("empty")
    open("empty.txt", "w").close()
    before = sorted(os.listdir())
    ran = plain("upscale", "a.png", *words)
    assert ran.code == Exit.USAGE
    assert ran.err
    assert sorted(os.listdir()) == before


def test_scale_from_a_file_or_variable_gives_way_to_a_size(plain, photo, monkeypatch):
    photo("a.png")
    monkeypatch.setenv("COSER_SCALE", "3")
    assert lines(plain("upscale", "a.png", "--width", 24)) == ["a_24w.png"]


def test_names_and_formats(plain, photo):
    photo("a.png")
    photo("b.png")
    name = "{index:02d}-{stem}-{model}-{seed}-{scale}x-{width}{ext}"
    ran = plain("upscale", "a.png", "b.png", "-s", 2, "--name", name, "--format", "JPEG", "-o", "o")
    assert lines(ran) == ["o/01-a-toy-2887-2x-24.jpg", "o/02-b-toy-2887-2x-24.jpg"]
    assert Image.open("o/01-a-toy-2887-2x-24.jpg").format == "JPEG"


def test_every_format_with_every_option(plain, photo):
    photo("a.png")
    for format in ("png", "jpeg", "webp", "tiff", "avif", "bmp"):
        ran = plain("upscale", "a.png", "-s", 1, "--format", format, "--quality", 70)
        assert ran.code == Exit.OK
        assert Image.open(lines(ran)[0]).format == format.upper()


def test_reference_takes_them_too(plain, photo):
    photo("a.png")
    ran = plain("reference", "a.png", "--width", 24, "--format", "webp")
    assert lines(ran) == ["a_reference.webp"]
    assert Image.open("a_reference.webp").size == (24, 16)


def test_metadata_round_trip_and_stripped(plain, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright] = "me"
    exif[ExifTags.Base.Orientation] = 8
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N"
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:tiff="http://ns.adobe.com/tiff/1.0/"'
        b' tiff:Orientation="8" tiff:ImageWidth="13"/></x:xmpmeta>'
    )
    picture().save("a.jpg", exif=exif, xmp=xmp, dpi=(300, 300), icc_profile=srgb())
    for format in ("jpeg", "png", "webp", "tiff", "avif"):
        (path,) = lines(plain("upscale", "a.jpg", "-s", 2, "--format", format))
        with Image.open(path) as image:
            assert image.size == (18, 26)
            assert image.getexif()[ExifTags.Base.Copyright] == "me"
            assert image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            place = image.getexif().get_ifd(ExifTags.IFD.GPSInfo)
            assert place[ExifTags.GPS.GPSLatitudeRef] == "N"
            assert b'tiff:Orientation="1" tiff:ImageWidth="18"' in image.info["xmp"]
            assert image.info["icc_profile"] == srgb()
        plain("upscale", "a.jpg", "-s", 2, "--format", format, "--strip-metadata", "--overwrite")
        with Image.open(path) as image:
            assert not image.getexif().get(ExifTags.Base.Copyright)
            assert "xmp" not in image.info
            assert image.info["icc_profile"] == srgb()


def test_folder_with_tree_twice(plain, photo):
    os.makedirs("in/sub")
    for name in ("in/a.png", "in/sub/a.png", "in/sub/b.jpg"):
        photo(name)
    first = plain("upscale", "in", "-r", "-s", 1, "-o", "in/out")
    assert lines(first) == ["in/out/a_1x.png", "in/out/sub/a_1x.png", "in/out/sub/b_1x.png"]
    again = plain("upscale", "in", "-r", "-s", 1, "-o", "in/out")
    assert again.out == first.out
    assert "0 done, 3 skipped, 0 failed" in again.err
    beside = plain("upscale", "in", "-s", 1)
    assert lines(beside) == ["in/a_1x.png"]
    assert lines(plain("upscale", "in", "-s", 1)) == ["in/a_1x.png"]


def test_a_folder_that_fails_is_counted(plain, photo, monkeypatch):
    os.makedirs("in/sub")
    photo("in/a.png")
    scan = os.scandir

    def refuse(folder):
        if str(folder).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    ran = plain("upscale", "in", "-r", "-s", 1, "--json")
    problem, image, summary = ran.records
    assert problem["type"] == "problem"
    assert "in/sub" in problem["error"]["message"]
    assert image["status"] == "done"
    assert (summary["total"], summary["done"], summary["failed"]) == (2, 1, 1)
    assert ran.code == Exit.FAILED


def test_patterns_that_the_shell_left(plain, photo):
    for name in ("b.jpg", "a.jpg", "c.png"):
        photo(name)
    assert lines(plain("upscale", "*.jpg", "-s", 1)) == ["a_1x.png", "b_1x.png"]
    # Found by a pattern, results of this very run are no inputs.
    assert lines(plain("upscale", "*.*g", "-s", 1))[-1] == "c_1x.png"


def test_all_frames(plain, tmp_path):
    frames("GIF")(tmp_path / "x.gif")
    ran = plain("upscale", "x.gif", "-s", 2, "--all-frames", "--json")
    records = ran.records[:-1]
    assert [record["target"] for record in records] == [f"x-{n}_2x.png" for n in (1, 2, 3)]
    assert [record["frame"] for record in records] == [1, 2, 3]
    colours = [Image.open(record["target"]).convert("RGB").getpixel((9, 9)) for record in records]
    assert colours == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]


def test_pages_of_16_bits(plain, tmp_path):
    import pyvips

    pages = np.random.default_rng(0).integers(0, 65536, (3 * 4, 5, 3), dtype=np.uint16)
    image = pyvips.Image.new_from_array(pages, interpretation="rgb16").copy()
    image.set_type(pyvips.GValue.gint_type, "page-height", 4)
    (tmp_path / "x.tif").write_bytes(image.write_to_buffer(".tif"))
    assert plain("upscale", "x.tif", "-s", 1, "--all-frames").code == Exit.OK
    for page in range(3):
        made = pyvips.Image.new_from_file(str(tmp_path / f"x-{page + 1}_1x.png")).numpy()
        assert np.array_equal(made, pages[4 * page : 4 * page + 4])


@pytest.mark.parametrize("separator", ["\n", "\0", "\r\n"])
def test_list_in_a_file(plain, photo, separator):
    photo("a b.png")
    photo("c.png")
    with open("list", "w", newline="") as file:
        file.write(separator.join(["a b.png", "missing.png", "c.png", ""]))
    ran = plain("upscale", "--from-file", "list", "-s", 1)
    assert lines(ran) == ["a b_1x.png", "c_1x.png"]
    assert ran.code == Exit.FAILED
    assert "'missing.png'" in ran.err


@pytest.mark.parametrize("name", ["photo.jpg", "photo.tif", "photo.webp", "grey.png", "deep.png"])
def test_mini_takes_them(coser, tmp_path, name):
    """A handful through the bundled model."""
    if name == "deep.png":
        values = np.random.default_rng(0).integers(0, 65536, (12, 16, 3), dtype=np.uint16)
        (tmp_path / name).write_bytes(png16(values))
    else:
        picture("L" if name == "grey.png" else "RGB", size=(16, 12)).save(name)
    ran = coser("upscale", name, "--model", "mini", "--width", 33, "--json")
    assert ran.code == Exit.OK
    assert (ran.records[0]["width"], ran.records[0]["height"]) == (33, 25)
    with open(ran.records[0]["target"], "rb") as file:
        assert file.read()[24] == (16 if name == "deep.png" else 8)


@pytest.fixture
def shell(coser, tmp_path):
    """`shell(words, stdin)`: the command as a process of its own, with real pipes."""

    def run(*words, stdin=b""):
        command = [sys.executable, "-m", "coser_cli", *map(str, words)]
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = os.environ | {"PYTHONPATH": root, "COSER_STRENGTH": "0"}  # starts sooner
        return subprocess.run(command, input=stdin, capture_output=True, env=environment)

    return run


def test_one_picture_through_pipes(shell, photo):
    data = photo("photo.png").read_bytes()
    before = sorted(os.listdir())
    ran = shell("upscale", "-", "-o", "-", "-s", 2, stdin=data)
    assert ran.returncode == 0
    image = Image.open(io.BytesIO(ran.stdout))
    assert (image.format, image.size) == ("PNG", (24, 16))
    assert sorted(os.listdir()) == before
    chained = shell("upscale", "-", "-s", 1, "--format", "jpeg", "-q", stdin=ran.stdout)
    assert Image.open(io.BytesIO(chained.stdout)).format == "JPEG"
    assert chained.stderr == b""


def test_file_to_stdout_and_stdin_to_file(shell, photo):
    data = photo("photo.png").read_bytes()
    out = shell("upscale", "photo.png", "-o", "-", "-s", 2)
    shell("upscale", "-", "-o", "named.png", "-s", 2, stdin=data)
    ran = shell("upscale", "-", "-o", "folder/", "-s", 2, "--save-reference", stdin=data)
    assert ran.stdout == b"folder/stdin_2x.png\n"
    pixels = [
        np.asarray(Image.open(each))
        for each in (io.BytesIO(out.stdout), "named.png", "folder/stdin_2x.png")
    ]
    assert np.array_equal(pixels[0], pixels[1])
    assert np.array_equal(pixels[0], pixels[2])
    assert os.path.exists("folder/stdin_2x_reference.png")


@pytest.mark.parametrize("data", [b"", b"no picture"])
def test_bad_stdin_leaves_stdout_empty(shell, data):
    ran = shell("upscale", "-", "-o", "-", stdin=data)
    assert ran.returncode == Exit.FAILED
    assert ran.stdout == b""
    assert b"cannot read standard input" in ran.stderr
    assert b"/tmp" not in ran.stderr


def test_list_through_a_pipe(shell, photo):
    photo("a b.png")
    photo("new\nline.png")
    ran = shell("upscale", "--from-file", "-", "-s", 1, stdin=b"a b.png\0new\nline.png\0")
    assert ran.stdout == b"a b_1x.png\nnew\nline_1x.png\n"


@pytest.mark.parametrize(
    "words",
    [
        ["-", "--from-file", "-"],
        ["-", "photo.png"],
        ["-", "-o", "-", "--save-reference"],
        ["-", "--json"],
    ],
)
def test_streams_that_would_be_two_things(shell, photo, words):
    data = photo("photo.png").read_bytes()
    ran = shell("upscale", "-s", 1, *words, stdin=data)
    assert ran.returncode == Exit.USAGE
    if "--json" in words:
        assert json.loads(ran.stdout)["exit_code"] == Exit.USAGE
    else:
        assert ran.stdout == b""
    assert sorted(os.listdir()) == ["photo.png"]


def test_reader_that_has_gone(shell, photo, tmp_path):
    photo("photo.png", size=(200, 200))
    command = f"{sys.executable} -m coser_cli upscale photo.png -o - -s 1 --strength 0"
    script = f"{{ {command} 2>err; echo $? >code; }} | true"
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    subprocess.run(script, shell=True, env=os.environ | {"PYTHONPATH": root}, check=True)
    assert (tmp_path / "code").read_text() == "1\n"
    assert "cannot write to standard output" in (tmp_path / "err").read_text()
    assert "Traceback" not in (tmp_path / "err").read_text()


def test_a_name_that_is_too_long_stops_no_other(plain, photo):
    long = "é" * 125 + ".png"
    for name in ("a.png", long, "z.png"):
        photo(name)
    ran = plain("upscale", "a.png", long, "z.png", "-s", 2, "-o", "out/")
    assert ran.code == Exit.FAILED
    assert lines(ran) == ["out/a_2x.png", "out/z_2x.png"]
    (error,) = [line for line in ran.err.splitlines() if line.startswith("coser: ")]
    assert "its name is too long: 257 bytes, and at most 255 are possible; " in error
    dry = plain("upscale", long, "-s", 2, "-o", "out/", "--dry-run")
    assert dry.code == Exit.FAILED
    assert error.removeprefix("coser: ") in dry.out
    assert plain("upscale", long, "-s", 2, "--name", "{index}{ext}").code == Exit.OK
    assert plain("upscale", "a.png", "-o", f"{'n' * 300}.png").code == Exit.FAILED
