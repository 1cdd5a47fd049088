"""XMP packets: what stays, what is corrected, and that every format carries them."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coser_cli.imageio.encoding import Encoding
from coser_cli.imageio.metadata import Metadata
from coser_cli.imageio.photo import Photo
from coser_cli.imageio.read import read_photo
from coser_cli.imageio.write import write_photo
from coser_cli.imageio.xmp import xmp_for_size
from coser_cli.size import Size

PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:{tiff}="http://ns.adobe.com/tiff/1.0/"
    xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmpNote="http://ns.adobe.com/xmp/note/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    {tiff}:Orientation="6" exif:PixelXDimension='6' xmpNote:HasExtendedXMP="0123">
   <{tiff}:ImageWidth>6</{tiff}:ImageWidth>
   <{tiff}:ImageLength> 4 </{tiff}:ImageLength>
   <exif:PixelYDimension>4</exif:PixelYDimension>
   <dc:rights>{text}</dc:rights>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""


def packet(text="me", tiff="tiff"):
    return PACKET.format(text=text, tiff=tiff).encode()


@given(
    st.text(st.characters(blacklist_characters='<>&"\0', blacklist_categories=["Cs", "Cc"])),
    st.sampled_from(["tiff", "t", "ns1", "my-tiff"]),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
)
def test_size_and_orientation_are_corrected_and_nothing_else(text, prefix, width, height):
    before = packet(text, prefix).decode()
    after = xmp_for_size(before.encode(), Size(height, width)).decode()
    assert f'{prefix}:Orientation="1"' in after
    assert f"<{prefix}:ImageWidth>{width}</{prefix}:ImageWidth>" in after
    length = rf"<{prefix}:ImageLength>\s*{height}\s*</{prefix}:ImageLength>"
    assert re.search(length, after)  # a number that is right stays as it is written
    assert f'exif:PixelXDimension="{width}"' in after
    assert f"<exif:PixelYDimension>{height}</exif:PixelYDimension>" in after
    assert f"<dc:rights>{text}</dc:rights>" in after
    assert "HasExtendedXMP" not in after

    def skeleton(packet):
        packet = re.sub(r" xmpNote:HasExtendedXMP=\"0123\"", "", packet)
        changed = "Orientation|ImageWidth|ImageLength|PixelXDimension|PixelYDimension"
        return re.sub(rf"(({changed})=?>?)\s*[\"']?\s*\d+\s*[\"']?", r"\1", packet)

    assert skeleton(before) == skeleton(after)


def test_what_is_not_there_is_not_added():
    plain = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>tiff:Orientation="6"</rdf:RDF></x:xmpmeta>'
    )
    assert xmp_for_size(plain, Size(20, 10)) == plain
    assert xmp_for_size(None, Size(20, 10)) is None


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif", ".avif"])
@pytest.mark.parametrize("source", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_every_format_keeps_it(tmp_path, source, suffix):
    image = Image.new("RGB", (6, 4))
    options = {"xmp": packet()}
    if source == "PNG":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("XML:com.adobe.xmp", packet().decode())
        options = {"pnginfo": text}
    elif source == "TIFF":
        options = {"tiffinfo": {700: packet()}}
    image.save(tmp_path / "in", format=source, **options)
    photo = read_photo(tmp_path / "in")
    assert photo.metadata.xmp == packet()
    assert photo.size == Size(6, 4)  # turned, as the packet says
    pixels = np.zeros((3, 12, 8), dtype=np.float32)
    write_photo(tmp_path / f"out{suffix}", pixels, photo)
    again = read_photo(tmp_path / f"out{suffix}")
    assert again.size == Size(12, 8)  # and not turned again
    assert again.metadata.xmp == xmp_for_size(packet(), Size(12, 8))
    write_photo(tmp_path / f"bare{suffix}", pixels, photo, Encoding(strip_metadata=True))
    assert b"adobe" not in (tmp_path / f"bare{suffix}").read_bytes()


def test_utf16_becomes_utf8(tmp_path):
    image = Image.new("RGB", (6, 4))
    image.save(tmp_path / "a.jpg", xmp=packet().decode().encode("utf-16"))
    assert read_photo(tmp_path / "a.jpg").metadata.xmp == packet()


def test_packet_too_long_for_a_segment_goes_on_in_others(tmp_path):
    pixels = np.zeros((3, 4, 6), dtype=np.float32)
    photo = Photo(pixels, metadata=Metadata(xmp=packet("x" * 70000)))
    write_photo(tmp_path / "a.jpg", pixels, photo)
    write_photo(tmp_path / "a.png", pixels, photo)
    assert b"x" * 70000 in read_photo(tmp_path / "a.jpg").metadata.xmp
    assert b"x" * 70000 in read_photo(tmp_path / "a.png").metadata.xmp
