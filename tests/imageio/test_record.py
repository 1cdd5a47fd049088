"""Records in and beside picture files, and what killed processes leave."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coser_cli.imageio.atomic import atomic_file, remove_stale_parts
from coser_cli.imageio.encoding import Encoding
from coser_cli.imageio.formats import WRITABLE_SUFFIXES
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.read import read_photo
from coser_cli.imageio.record import FOLDER, read_record, record_in, with_record
from coser_cli.imageio.write import write_photo, write_streamed
from coser_cli.size import Size

PIXELS = np.random.default_rng(0).random((3, 12, 20), dtype=np.float32)
RECORD = {"coser_record": 1, "name": "a<&>'\"]]>\n\udcff é.png", "scale": 0.1, "none": None}
PACKET = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>mine</dc:title></rdf:Description>'
    b"</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("xmp", [None, PACKET])
@pytest.mark.parametrize("suffix", WRITABLE_SUFFIXES)
def test_a_record_comes_back_from_every_format(tmp_path, suffix, xmp, bits):
    path = tmp_path / f"a{suffix}"
    write_photo(
        path, PIXELS, Photo(PIXELS, metadata=Metadata(xmp=xmp), bit_depth=bits), record=RECORD
    )
    assert read_record(path) == RECORD
    assert (tmp_path / FOLDER).exists() == (suffix == ".bmp")
    if xmp and suffix != ".bmp":
        assert b"<dc:title>mine</dc:title>" in read_photo(path).metadata.xmp


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_record_comes_back_from_streamed_files(tmp_path, suffix, bits):
    path = tmp_path / f"a{suffix}"
    source = Photo(PIXELS, metadata=Metadata(xmp=PACKET), bit_depth=bits)
    write_streamed(path, Size(12, 20), [PIXELS[:, :7], PIXELS[:, 7:]], source, record=RECORD)
    assert read_record(path) == RECORD
    assert b"<dc:title>mine</dc:title>" in read_photo(path).metadata.xmp


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
def test_without_metadata_the_record_lies_beside(tmp_path, suffix):
    path = tmp_path / f"{'n' * 250}{suffix}"
    write_photo(path, PIXELS, None, Encoding(strip_metadata=True), RECORD)
    assert read_record(path) == RECORD
    assert b"coser_record" not in path.read_bytes()


def test_a_record_beside_counts_for_the_very_file_only(tmp_path):
    path = tmp_path / "a.bmp"
    write_photo(path, PIXELS, record=RECORD)
    Image.new("RGB", (20, 12)).save(path)
    assert read_record(path) is None


def test_a_record_too_large_for_jpeg_lies_beside(tmp_path):
    path = tmp_path / "a.jpg"
    large = PACKET.replace(b"mine", b"m" * 65100)
    write_photo(path, PIXELS, Photo(PIXELS, metadata=Metadata(xmp=large)), record=RECORD)
    assert read_record(path) == RECORD
    assert b"m" * 65100 in read_photo(path).metadata.xmp
    assert (tmp_path / FOLDER).exists()


def test_the_record_of_the_input_does_not_stay(tmp_path):
    first, second = tmp_path / "a.png", tmp_path / "b.png"
    write_photo(first, PIXELS, Photo(PIXELS, metadata=Metadata(xmp=PACKET)), record={"old": 1})
    write_photo(second, PIXELS, read_photo(first), record={"new": 1})
    assert read_record(second) == {"new": 1}
    write_photo(second, PIXELS, read_photo(first))
    assert read_record(second) is None


@given(st.dictionaries(st.text(), st.text() | st.integers() | st.none()))
def test_any_record_survives_in_a_packet(record):
    for packet in (None, PACKET, b"<rdf:RDF/>"):
        assert record_in(with_record(packet, record, None)) == record
        assert with_record(with_record(packet, {"x": 1}, None), record, None) == with_record(
            packet, record, None
        )
    assert with_record(with_record(PACKET, record, None), None, None) == PACKET


def test_a_packet_without_content_keeps_its_attributes():
    packet = b'<rdf:RDF xmlns:tiff="t" tiff:Orientation="1" />'
    extended = with_record(packet, RECORD, None)
    assert extended.startswith(packet.removesuffix(b"/>"))
    assert extended.endswith(b"</rdf:RDF>")
    assert record_in(extended) == RECORD


def test_a_packet_that_is_not_understood_stays_as_it_is():
    packet = b"<rdf:RDF> and no end"
    assert with_record(packet, RECORD, None) == packet


def test_a_record_written_as_an_attribute_is_read():
    text = '<rdf:RDF x:Record="{&quot;a&quot;: 1}" xmlns:x="urn:coser-cli:record/1.0/"/>'
    assert record_in(text.encode()) == {"a": 1}


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"II*\0\xff\xff\xff\xff", b"BM"])
def test_what_is_no_picture_has_no_record(tmp_path, content):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    assert read_record(path) is None
    assert read_record(tmp_path) is None
    assert read_record(tmp_path / "none.png") is None


def dead_process():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_parts_of_dead_processes_go(tmp_path):
    (tmp_path / f".coser-{dead_process()}-0.part").touch()
    (tmp_path / f".coser-{os.getpid()}-99999.part").touch()
    others = [f".coser-{os.getppid()}-0.part", ".coser-x-0.part", "a.part", ".coser-1.part"]
    for name in others:
        (tmp_path / name).touch()
    assert len(remove_stale_parts(tmp_path)) == 2
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_a_part_that_is_being_written_stays(tmp_path):
    with atomic_file(tmp_path / "a.png") as file:
        file.write(b"x")
        assert remove_stale_parts(tmp_path) == []
    assert (tmp_path / "a.png").read_bytes() == b"x"


def test_a_part_of_our_own_number_is_in_nobodys_way(tmp_path):
    with atomic_file(tmp_path / "a.png"):
        (name,) = os.listdir(tmp_path)
    number = int(name.split("-")[2].removesuffix(".part"))
    for taken in range(number + 1, number + 4):
        (tmp_path / f".coser-{os.getpid()}-{taken}.part").touch()
    with atomic_file(tmp_path / "b.png"):
        pass
    assert (tmp_path / "b.png").exists()
