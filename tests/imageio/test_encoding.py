"""Quality, chroma, lossless and stripped: seen in the files."""

import numpy as np
import pytest
from corpus import srgb
from PIL import ExifTags, Image

from coser_cli.errors import UsageError
from coser_cli.imageio.encoding import Encoding
from coser_cli.imageio.exif import usable_exif
from coser_cli.imageio.formats import FORMATS, format_named, format_of
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.write import write_photo

PIXELS = np.random.default_rng(0).random((3, 40, 48), dtype=np.float32)
BYTES = np.rint(PIXELS * 255).astype(np.uint8).transpose(1, 2, 0)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_quality_changes_size_and_error(tmp_path, suffix):
    sizes, errors = [], []
    for quality in (20, 60, 95):
        path = tmp_path / f"{quality}{suffix}"
        write_photo(path, PIXELS, encoding=Encoding(quality=quality))
        sizes.append(path.stat().st_size)
        with Image.open(path) as image:
            errors.append(np.abs(np.asarray(image.convert("RGB")).astype(int) - BYTES).mean())
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize(("chroma", "factor"), [(None, 1), ("444", 1), ("420", 2)])
def test_chroma_of_jpeg(tmp_path, chroma, factor):
    write_photo(tmp_path / "a.jpg", PIXELS, encoding=Encoding(chroma=chroma))
    with Image.open(tmp_path / "a.jpg") as image:
        assert [layer[1] for layer in image.layer] == [factor, 1, 1]


def test_chroma_of_avif(tmp_path):
    sizes = []
    for chroma in ("444", "420"):
        write_photo(tmp_path / "a.avif", PIXELS, encoding=Encoding(chroma=chroma))
        sizes.append((tmp_path / "a.avif").stat().st_size)
    assert sizes[1] < sizes[0]


def test_lossless_webp_keeps_every_number_also_behind_transparency(tmp_path):
    alpha = np.zeros((40, 48), dtype=np.float32)
    source = Photo(PIXELS, alpha=alpha)
    write_photo(tmp_path / "a.webp", PIXELS, source, Encoding(lossless=True))
    with Image.open(tmp_path / "a.webp") as image:
        assert np.array_equal(np.asarray(image)[..., :3], BYTES)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("a.jpg", Encoding(lossless=True)),
        ("a.avif", Encoding(lossless=True)),
        ("a.webp", Encoding(chroma="444")),
    ],
)
def test_what_a_format_cannot_do_is_refused(tmp_path, name, encoding):
    with pytest.raises(UsageError):
        write_photo(tmp_path / name, PIXELS, encoding=encoding)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("row", FORMATS, ids=lambda row: row.name)
def test_lossless_formats_take_any_wish(tmp_path, row):
    if "quality" not in row.options:
        path = tmp_path / f"a{row.suffixes[0]}"
        write_photo(path, PIXELS, encoding=Encoding(5, "420", lossless=True))
        assert np.array_equal(np.asarray(Image.open(path)), BYTES)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("bits", [8, 16])
def test_stripped_files_keep_the_profile_alone(tmp_path, suffix, bits):
    exif = Image.Exif()
    exif[ExifTags.Base.Copyright] = "somebody"
    source = Photo(
        PIXELS,
        bit_depth=bits,
        icc=srgb(),
        metadata=Metadata(usable_exif(exif.tobytes()), b"<rdf:RDF/>", dpi=(301, 301)),
    )
    path = tmp_path / f"a{suffix}"
    write_photo(path, PIXELS, source, Encoding(strip_metadata=True))
    assert b"somebody" not in path.read_bytes()
    with Image.open(path) as image:
        assert image.info["icc_profile"] == srgb()
        assert image.info.get("dpi", (1, 1))[0] != pytest.approx(301, abs=0.1)


def test_formats_by_name():
    assert format_named("jpg") is format_named("JPEG") is format_of(tmp("a.JPEG"))
    with pytest.raises(UsageError, match="unknown format 'gif'"):
        format_named("gif")


def tmp(name):
    from pathlib import Path

    return Path(name)
