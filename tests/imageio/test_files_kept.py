"""What a photographer writes survives byte by byte, through every format that can hold it."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from coser_cli.imageio import ifd, jpeg, photoshop, png
from coser_cli.imageio.exif import (
    EXIF_IFD,
    GPS_IFD,
    INTEROP_IFD,
    exif_for_size,
    names_adobe_rgb,
    orientation_of,
    usable_exif,
)
from coser_cli.imageio.header import read_header
from coser_cli.imageio.keep import Kept, jpeg_head
from coser_cli.imageio.read import read_photo
from coser_cli.imageio.write import lost_in, write_photo
from coser_cli.imageio.xmp import others_in, xmp_for_size
from coser_cli.size import Size

WIDTH, HEIGHT = 24, 16
PIXELS = np.random.default_rng(0).random((3, HEIGHT * 2, WIDTH * 2), dtype=np.float32)
HOLD_EXIF = [".png", ".jpg", ".tif", ".webp", ".avif"]
ORDERS = {"<": b"II*\0", ">": b"MM\0*"}
NO_END = "the end mark is missing; all pixels are there"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'


def text(value):
    data = value.encode() + b"\0"
    return ifd.ASCII, len(data), data


def block(order="<", orientation=6, **more):
    """EXIF with all that cameras and people write, by hand."""
    layout = ifd.Layout(order)
    maker = bytes(range(256)) * 2
    photo = {
        0x9003: text("2020:01:02 03:04:05"),
        0x9286: (ifd.UNDEFINED, 20, b"UNICODE\0" + "Übung!".encode("utf-16-le")),
        0x927C: (ifd.UNDEFINED, len(maker), maker),
        0xA002: ifd.shorts(layout, WIDTH),
        0xA003: ifd.longs(layout, HEIGHT),
        0x9214: ifd.shorts(layout, 10, 5, 4, 6),
        INTEROP_IFD: {1: (ifd.ASCII, 4, b"R98\0"), 2: (ifd.UNDEFINED, 4, b"0100")},
    }
    directory = {
        0x10E: text("Hafen – über Nacht"),
        0x112: ifd.shorts(layout, orientation),
        0x13B: text("Zoë Müller"),
        0x8298: text("© 2020"),
        0x9C9B: (ifd.BYTE, 6, "Büo".encode("utf-16-le")),
        0xFDE8: text("a tag that nobody knows"),
        EXIF_IFD: photo,
        GPS_IFD: {1: text("N"), 2: (ifd.RATIONAL, 3, bytes(range(24)))},
        **more,
    }
    return ORDERS[order] + layout.offset(8) + ifd.pack(directory, 8, layout)


def values_of(exif):
    """Tags of all directories, without those that are set for the result."""
    read = ifd.from_bytes(exif)
    layout, first = ifd.header(read)
    found, places = {}, [("main", first)]
    while places:
        name, place = places.pop()
        for entry in ifd.directory_at(read, place, layout)[0]:
            if entry.tag in (EXIF_IFD, GPS_IFD, INTEROP_IFD):
                places.append((str(entry.tag), entry.numbers(layout)[0]))
            else:
                found[name, entry.tag] = entry.value
    return found


def jpeg_with(*segments, after=b""):
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), "teal").save(file, "JPEG")
    data = file.getvalue()
    return data[:2] + b"".join(segments) + data[2:] + after


def png_with(*chunks, end=True, mode="RGB"):
    file = io.BytesIO()
    Image.new(mode, (WIDTH, HEIGHT), "teal" if mode == "RGB" else 90).save(file, "PNG")
    data = file.getvalue()
    return data[:33] + b"".join(chunks) + (data[33:] if end else data[33:-12])


def through(tmp_path, data, suffix):
    """Read, write at twice the size, and read what was written."""
    (tmp_path / "in").write_bytes(data)
    photo = read_photo(tmp_path / "in")
    pixels = PIXELS if photo.size == Size(HEIGHT, WIDTH) else PIXELS.transpose(0, 2, 1)
    write_photo(tmp_path / f"out{suffix}", pixels, photo)
    return photo, read_header(tmp_path / f"out{suffix}").info


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("suffix", HOLD_EXIF)
def test_exif_survives_byte_by_byte(tmp_path, suffix, order):
    before = block(order)
    photo, said = through(tmp_path, jpeg_with(jpeg.segment(0xE1, b"Exif\0\0" + before)), suffix)
    assert photo.size == Size(WIDTH, HEIGHT)  # turned
    old, new = values_of(before), values_of(said.metadata.exif)
    changed = {("main", 0x112), (str(EXIF_IFD), 0xA002), (str(EXIF_IFD), 0xA003)}
    changed |= {(str(EXIF_IFD), 0x9214)}
    dropped = {("main", 0xFDE8)} if suffix == ".tif" else set()
    for key in old.keys() - changed - dropped:
        assert new[key] == old[key], key
    assert orientation_of(said.metadata.exif) in (1, None)
    layout = ifd.header(ifd.from_bytes(said.metadata.exif))[0]
    assert layout.integers("H", new[str(EXIF_IFD), 0xA002])[0] == 2 * HEIGHT
    # stored (10, 5) of 24 × 16, turned by 90°: 16 - 1 - 5 across and 10 down, twice as large
    assert layout.integers("4H", new[str(EXIF_IFD), 0x9214]) == (20, 20, 12, 8)


@pytest.mark.parametrize("order", ORDERS)
def test_the_maker_note_of_a_tiff_stays_where_it_was(tmp_path, order):
    before = block(order)
    through(tmp_path, jpeg_with(jpeg.segment(0xE1, b"Exif\0\0" + before)), ".tif")
    maker = bytes(range(256)) * 2
    assert (tmp_path / "out.tif").read_bytes().index(maker) == before.index(maker)


def test_no_position_is_invented(tmp_path):
    layout = ifd.Layout()
    exif = b"II*\0" + layout.offset(8) + ifd.pack({0x10F: text("Maker")}, 8, layout)
    _, said = through(tmp_path, jpeg_with(jpeg.segment(0xE1, b"Exif\0\0" + exif)), ".jpg")
    assert said.metadata.exif == exif


def test_a_thumbnail_and_pointers_to_nothing_go():
    layout = ifd.Layout()
    photo = {INTEROP_IFD: ifd.longs(layout, 60000), 0x9003: text("2020:01:02 03:04:05")}
    exif = bytearray(ORDERS["<"] + layout.offset(8) + ifd.pack({EXIF_IFD: photo}, 8, layout))
    second = len(exif)
    picture = b"\xff\xd8 the old pixels"
    tags = {0x201: ifd.longs(layout, second + 30), 0x202: ifd.longs(layout, len(picture))}
    exif += ifd.pack(tags, second, layout).ljust(30, b"\0") + picture
    struct.pack_into("<I", exif, 8 + 2 + 12, second)
    kept = usable_exif(b"Exif\0\0" + bytes(exif))
    assert b"old pixels" not in kept
    assert set(values_of(kept)) == {(str(EXIF_IFD), 0x9003)}
    assert ifd.directory_at(ifd.from_bytes(kept), 8, layout)[1] == 0


@pytest.mark.parametrize("cut", range(0, 700, 13))
def test_cut_exif_is_kept_as_far_as_it_goes_and_raises_nothing(cut):
    kept = usable_exif(block()[:cut])
    assert kept is None or exif_for_size(kept, Size(10, 10), Size(5, 5)) is not None


def test_adobe_rgb_by_its_mark_alone(tmp_path):
    photo = {0xA001: (ifd.SHORT, 1, b"\xff\xff"), INTEROP_IFD: {1: (ifd.ASCII, 4, b"R03\0")}}
    layout = ifd.Layout()
    exif = b"II*\0" + layout.offset(8) + ifd.pack({EXIF_IFD: photo}, 8, layout)
    assert names_adobe_rgb(exif)
    photo, said = through(tmp_path, jpeg_with(jpeg.segment(0xE1, b"Exif\0\0" + exif)), ".jpg")
    assert "Adobe RGB" in photo.notes[0]
    assert photo.convert
    assert said.icc == photo.icc


IPTC = photoshop.resource(photoshop.IPTC, b"\x1c\x02\x78\x00\x05Hafen")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_iptc_survives(tmp_path, suffix):
    thumbnail = photoshop.resource(0x040C, b"old pixels")
    data = jpeg_with(jpeg.segment(0xED, b"Photoshop 3.0\0" + thumbnail + IPTC))
    photo, said = through(tmp_path, data, suffix)
    assert said.metadata.iptc == IPTC
    assert b"old pixels" not in (tmp_path / f"out{suffix}").read_bytes()
    assert not lost_in(tmp_path / "a.jpg", photo)


def test_what_a_format_cannot_hold_is_one_note(tmp_path):
    data = jpeg_with(
        jpeg.segment(0xED, b"Photoshop 3.0\0" + IPTC), jpeg.segment(0xFE, b"box 12"),
        jpeg.segment(0xE1, b"Exif\0\0" + block()),
    )  # fmt: skip
    (tmp_path / "a.jpg").write_bytes(data)
    photo = read_photo(tmp_path / "a.jpg")
    assert lost_in(tmp_path / "a.webp", photo) == ("not kept in WEBP: IPTC, comment",)
    assert lost_in(tmp_path / "a.bmp", photo) == ("not kept in BMP: EXIF, IPTC, comment",)
    assert lost_in(tmp_path / "a.png", photo) == lost_in(tmp_path / "a.jpg", photo) == ()


def test_comments(tmp_path):
    data = jpeg_with(jpeg.segment(0xFE, b"scanned, box 12"), jpeg.segment(0xFE, "Zoë".encode()))
    _, said = through(tmp_path, data, ".jpg")
    assert said.metadata.comments == (b"scanned, box 12", "Zoë".encode())
    _, said = through(tmp_path, data, ".png")
    assert said.metadata.chunks == (
        (b"tEXt", b"Comment\0scanned, box 12"),
        (b"iTXt", b"Comment\0\0\0\0\0" + "Zoë".encode()),
    )


TEXTS = (
    (b"tEXt", b"parameters\0a harbour at dusk\nSteps: 20, Seed: 5"),
    (b"zTXt", b"workflow\0\0" + zlib.compress(b"{}" * 99)),
    (b"iTXt", "Author\0\0\0de\0Autor\0Jörg".encode()),
)


def test_texts_of_png(tmp_path):
    data = png_with(*(png.chunk(*each) for each in TEXTS))
    photo, said = through(tmp_path, data, ".png")
    assert said.metadata.chunks == TEXTS
    _, said = through(tmp_path, data, ".jpg")
    assert "a harbour at dusk".encode("utf-16-be") in said.metadata.exif
    note = "not kept in JPEG: PNG text (workflow, Author)"
    assert lost_in(tmp_path / "a.jpg", photo) == (note,)


@pytest.mark.parametrize("suffix", HOLD_EXIF)
def test_unequal_resolutions(tmp_path, suffix):
    jfif = b"JFIF\0\1\1\1" + struct.pack(">HH", 300, 150) + b"\0\0"
    data = jpeg_with()
    data = data[:2] + jpeg.segment(0xE0, jfif) + data[20:]
    photo, said = through(tmp_path, data, suffix)
    assert photo.metadata.dpi == (300, 150)
    assert np.allclose(said.metadata.dpi, (300, 150), atol=0.02)


def packet(inner, attributes=""):
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description rdf:about="" '
        f"{attributes}>{inner}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def test_panorama_sizes_are_scaled():
    space = 'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/"'
    names = "FullPanoWidthPixels", "CroppedAreaTopPixels"
    before = packet(f"<GPano:{names[1]}>10</GPano:{names[1]}>", f'{space} GPano:{names[0]}="96"')
    after = xmp_for_size(before, Size(144, 192), Size(48, 96)).decode()
    assert f'GPano:{names[0]}="192"' in after
    assert f"<GPano:{names[1]}>30</GPano:{names[1]}>" in after


def test_what_describes_other_pictures_in_the_file_goes_and_nothing_else():
    camera = 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
    container = "http://ns.google.com/photos/1.0/container/"
    directory = f'<C:Directory xmlns:C="{container}"><rdf:Seq><rdf:li/></rdf:Seq></C:Directory>'
    gain = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
    kept = '<dc:rights xmlns:dc="http://purl.org/dc/elements/1.1/">a &lt; b</dc:rights>'
    attributes = f'{camera} GCamera:MotionPhoto="1" GCamera:BurstID="7" {gain}'
    before = packet(directory + kept, attributes)
    assert others_in(before) == ["HDR gain map", "video of the motion photo"]
    after = xmp_for_size(before, Size(2, 2), Size(1, 1)).decode()
    assert "MotionPhoto" not in after
    assert "Directory" not in after
    assert "hdrgm:Version" not in after
    assert 'GCamera:BurstID="7"' in after
    assert kept in after


def test_extended_xmp_is_joined_and_split_again(tmp_path):
    long = packet(f'<dc:x xmlns:dc="urn:x">{"y" * 90000}</dc:x>')
    guid = jpeg.guid_of(long)
    note = 'xmlns:xmpNote="http://ns.adobe.com/xmp/note/"'
    short = packet("", f'{note} xmpNote:HasExtendedXMP="{guid.decode()}"')
    head = jpeg_head(Kept(xmp=short, more_xmp=long))
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, "JPEG")
    for suffix in (".png", ".jpg"):
        _, said = through(tmp_path, head + jpeg.pixels_of(file.getvalue()), suffix)
        assert b"y" * 90000 in said.metadata.xmp


# damage


def test_a_bad_checksum_beside_the_pixels_is_a_note(tmp_path):
    bad = png.chunk(b"tEXt", b"Author\0me")[:-4] + b"\0\0\0\0"
    (tmp_path / "a.png").write_bytes(png_with(bad))
    photo = read_photo(tmp_path / "a.png")
    assert photo.notes == ("a damaged tEXt chunk was left out",)
    assert np.allclose(photo.pixels[:, 0, 0], np.array([0, 128, 128]) / 255)


def test_png_without_its_end_mark(tmp_path):
    (tmp_path / "a.png").write_bytes(png_with(end=False))
    assert read_photo(tmp_path / "a.png").notes == (NO_END,)


def test_large_texts_and_profiles(tmp_path):
    big = png.chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"x" * 3_000_000))
    (tmp_path / "a.png").write_bytes(png_with(big))
    photo = read_photo(tmp_path / "a.png")
    assert not photo.notes
    assert len(png.text_of(*photo.metadata.chunks[0])[1]) == 3_000_000


def test_apples_png_is_named(tmp_path):
    from coser_cli.errors import InputError

    data = png_with()
    data = data[:8] + png.chunk(b"CgBI", b"\x50\0\x20\6") + data[8:]
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="Apple's own kind of PNG is not read"):
        read_photo(tmp_path / "a.png")


def test_jpeg_without_its_end_mark(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg_with()[:-2])
    assert read_photo(tmp_path / "a.jpg").notes == (NO_END,)
