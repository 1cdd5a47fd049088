"""What a file is, by content."""

import io

import pytest
from corpus import CORPUS, packed
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.imageio.sniff import REFUSED, sniff_open, tiff_tags

NAMES = {"JPEG": "JPEG", "PNG": "PNG", "GIF": "GIF", "BMP": "BMP", "WEBP": "WEBP", "TIFF": "TIFF"}


@pytest.mark.parametrize("format", [*NAMES, "AVIF"])
def test_formats(format):
    assert sniff_open(io.BytesIO(packed(format))) == format


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heif_brands(brand):
    data = b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1" + brand
    assert sniff_open(io.BytesIO(data)) == "HEIF"


def test_everything_that_is_refused_has_a_row_in_the_corpus_and_a_remedy():
    words = " ".join(odd.failure or "" for odd in CORPUS)
    for kind, remedy in REFUSED.items():
        assert remedy
        if kind != "Radiance HDR":
            assert kind in words
    assert sniff_open(io.BytesIO(b"#?RADIANCE\n")) == "Radiance HDR"


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"II*\0", b"MM\0*", b"II+\0", b"\0\0\0\x18ftyp"])
)
def test_no_bytes_confuse_it(data, head):
    file = io.BytesIO(head + data)
    sniff_open(file)
    assert isinstance(tiff_tags(file), dict)


@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_no_damage_confuses_the_reading_of_tags(at, damage):
    data = bytearray(packed("TIFF"))
    data[at : at + len(damage)] = damage
    assert isinstance(tiff_tags(io.BytesIO(bytes(data))), dict)
