"""Frames of GIFs against a composition of their own, written from the specification."""

import struct
from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coser_cli.errors import InputError
from coser_cli.imageio import gif
from coser_cli.imageio.read import read_photo
from coser_cli.size import Size

GREY_RAMP = bytes(value for value in range(4) for _ in range(3))
RAINBOW = bytes([200, 0, 0, 0, 180, 0, 0, 0, 160, 250, 240, 10])
KEEP, BACKGROUND, PREVIOUS = 1, 2, 3


@dataclass
class Frame:
    """`values` are indices (H, W) below 4; without a `table` the global one counts."""

    values: np.ndarray
    offset: tuple[int, int] = (0, 0)
    disposal: int = 0
    transparent: int | None = None
    table: bytes | None = None


def lzw(values):
    """Blocks of 2-bit values; the table is cleared before codes get longer than 3 bits."""
    codes = []
    for index, value in enumerate(values):
        if index % 2 == 0:
            codes.append(4)
        codes.append(int(value))
    number = sum(code << (3 * at) for at, code in enumerate([*codes, 5]))
    data = number.to_bytes((3 * len(codes) + 3 + 7) // 8, "little")
    blocks = [data[at : at + 255] for at in range(0, len(data), 255)]
    return b"\2" + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def encoded(size, frames, table=RAINBOW, background=0):
    data = b"GIF89a" + struct.pack("<2H3B", *size, 0x81 if table else 0, background, 0)
    data += table or b""
    for frame in frames:
        flags = frame.disposal << 2 | (frame.transparent is not None)
        data += b"!\xf9\4" + struct.pack("<BHB", flags, 10, frame.transparent or 0) + b"\0"
        rows, columns = frame.values.shape
        data += b"," + struct.pack("<4HB", *frame.offset, columns, rows, 0x81 * bool(frame.table))
        data += (frame.table or b"") + lzw(frame.values.ravel())
    return data + b";"


def composed(size, frames, table=RAINBOW):
    """What a viewer shows at each frame: pixel by pixel, None where nothing is drawn."""
    canvas, shown = {}, []
    for frame in frames:
        kept, (left, top), colours = dict(canvas), frame.offset, frame.table or table or GREY_RAMP
        places = {}
        for (y, x), value in np.ndenumerate(frame.values):
            if left + x < size[0] and top + y < size[1]:
                places[left + x, top + y] = int(value)
        for place, value in places.items():
            if value != frame.transparent:
                canvas[place] = tuple(colours[3 * value : 3 * value + 3])
        shown.append(dict(canvas))
        if frame.disposal == BACKGROUND:
            canvas = {place: colour for place, colour in canvas.items() if place not in places}
        elif frame.disposal == PREVIOUS:
            canvas = kept
    return shown


def seen(path, frame, kept=None):
    """Visible pixels of a frame by place, as `composed` has them."""
    photo = read_photo(path, frame=frame, animations=kept)
    values = np.rint(photo.pixels * 255).astype(int)
    alpha = np.ones(values.shape[1:]) if photo.alpha is None else photo.alpha
    assert set(np.unique(alpha)) <= {0, 1}
    return photo.size.wh, {
        (int(x), int(y)): tuple(int(each) for each in values[:, y, x])
        for y, x in np.argwhere(alpha > 0)
    }


@st.composite
def animations(draw):
    size = draw(st.tuples(st.integers(1, 7), st.integers(1, 6)))
    colours = st.binary(min_size=12, max_size=12)
    frames = []
    for _ in range(draw(st.integers(1, 5))):
        whole = draw(st.booleans())
        left = 0 if whole else draw(st.integers(0, size[0] - 1))
        top = 0 if whole else draw(st.integers(0, size[1] - 1))
        columns = size[0] if whole else draw(st.integers(1, size[0] - left))
        rows = size[1] if whole else draw(st.integers(1, size[1] - top))
        values = draw(st.binary(min_size=rows * columns, max_size=rows * columns))
        frames.append(
            Frame(
                np.frombuffer(values, np.uint8).reshape(rows, columns) % 4,
                (left, top),
                draw(st.integers(0, 3)),
                draw(st.sampled_from([None, 0, 1, 3])),
                draw(st.none() | colours | st.just(GREY_RAMP)),
            )
        )
    table = draw(st.sampled_from([RAINBOW, GREY_RAMP, None]) | colours)
    return size, frames, table, draw(st.integers(0, 3))


@settings(max_examples=150, deadline=None, suppress_health_check=[*HealthCheck])
@given(animation=animations())
def test_every_frame_is_what_viewers_show(tmp_path, animation):
    size, frames, table, background = animation
    path = tmp_path / "a.gif"
    path.write_bytes(encoded(size, frames, table, background))
    for number, expected in enumerate(composed(size, frames, table)):
        assert seen(path, number) == (size, expected)


@pytest.mark.parametrize("disposal", [KEEP, BACKGROUND, PREVIOUS])
def test_a_first_frame_that_is_smaller_than_the_canvas(tmp_path, disposal):
    frames = [
        Frame(np.full((2, 2), 1), (1, 1), disposal),
        Frame(np.full((1, 3), 2), (0, 1)),
    ]
    (tmp_path / "a.gif").write_bytes(encoded((6, 5), frames))
    _, first = seen(tmp_path / "a.gif", 0)
    assert sorted(first) == [(1, 1), (1, 2), (2, 1), (2, 2)]
    _, second = seen(tmp_path / "a.gif", 1)
    left = [(1, 2), (2, 2)] if disposal == KEEP else []
    assert sorted(second) == sorted([(0, 1), (1, 1), (2, 1), *left])


def test_a_frame_that_says_no_disposal_stays(tmp_path):
    """Also after one that is cleared."""
    one = np.ones((1, 1), np.uint8)
    frames = [Frame(one, (x, 0), disposal) for x, disposal in enumerate((BACKGROUND, 0, 0))]
    (tmp_path / "a.gif").write_bytes(encoded((3, 1), frames))
    assert [sorted(seen(tmp_path / "a.gif", number)[1]) for number in range(3)] == [
        [(0, 0)], [(1, 0)], [(1, 0), (2, 0)]
    ]  # fmt: skip


def test_colour_after_a_grey_first_frame(tmp_path):
    frames = [Frame(np.ones((2, 2), np.uint8)), Frame(np.ones((1, 1), np.uint8), table=RAINBOW)]
    (tmp_path / "a.gif").write_bytes(encoded((2, 2), frames, GREY_RAMP))
    assert read_photo(tmp_path / "a.gif", frame=0).grey
    assert not read_photo(tmp_path / "a.gif", frame=1).grey
    assert seen(tmp_path / "a.gif", 1)[1][0, 0] == (0, 180, 0)


def test_opaque_frames_have_no_transparency(tmp_path):
    frames = [Frame(np.ones((2, 2), np.uint8)), Frame(np.full((2, 1), 2))]
    (tmp_path / "a.gif").write_bytes(encoded((2, 2), frames))
    assert all(read_photo(tmp_path / "a.gif", frame=number).alpha is None for number in (0, 1))


def test_every_cut_is_read_or_told(tmp_path):
    frames = [Frame(np.ones((3, 4), np.uint8), disposal=2), Frame(np.full((2, 2), 3), (1, 1))]
    whole = encoded((4, 3), frames)
    path = tmp_path / "a.gif"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        for number in (0, 1):
            try:
                photo = read_photo(path, frame=number)
            except InputError as error:
                assert "a.gif" in error.message
            else:
                assert photo.size == Size(3, 4)


def test_what_lies_outside_the_canvas_is_not_shown(tmp_path):
    frames = [Frame(np.zeros((2, 3), np.uint8)), Frame(np.ones((4, 2), np.uint8), (2, 1))]
    (tmp_path / "a.gif").write_bytes(encoded((3, 2), frames))
    for number, expected in enumerate(composed((3, 2), frames)):
        assert seen(tmp_path / "a.gif", number) == ((3, 2), expected)


@pytest.mark.parametrize("missing", [1, 2])
def test_a_file_without_its_end_is_read_with_a_note(tmp_path, missing):
    path = tmp_path / "a.gif"
    whole = encoded((8, 8), [Frame(np.ones((8, 8), np.uint8))])
    path.write_bytes(whole)
    assert not any("end of the file" in note for note in read_photo(path, frame=0).notes)
    path.write_bytes(whole[:-missing])
    (note,) = read_photo(path, frame=0).notes
    assert note == "the end of the file is missing; all pixels of this frame are there"


def test_the_first_frame_of_a_file_that_ends_within_another(tmp_path):
    frames = [Frame(np.full((8, 8), number, np.uint8)) for number in range(3)]
    (tmp_path / "a.gif").write_bytes(encoded((8, 8), frames)[:-12])
    assert any(
        "end of the file is missing" in note for note in read_photo(tmp_path / "a.gif").notes
    )
    with pytest.raises(InputError, match="damaged or cut off"):
        read_photo(tmp_path / "a.gif", frame=2)


def test_frames_in_order_are_decoded_once(tmp_path, monkeypatch):
    frames = [Frame(np.full((3, 4), number % 4, np.uint8)) for number in range(12)]
    path = tmp_path / "a.gif"
    path.write_bytes(encoded((4, 3), frames))
    decoded = []
    pixels = gif._pixels
    monkeypatch.setattr(gif, "_pixels", lambda frame: decoded.append(frame) or pixels(frame))
    expected = composed((4, 3), frames)
    kept = deque(maxlen=1)
    for number in range(12):
        assert seen(path, number, kept) == ((4, 3), expected[number])
    assert len(decoded) == 12
    assert not kept, "nothing stays of a file that is at its end"
    for number in (5, 2, 2, 11):
        assert seen(path, number, kept) == ((4, 3), expected[number])


def test_a_file_that_changes_between_frames(tmp_path):
    path, kept = tmp_path / "a.gif", deque(maxlen=1)
    for value in (1, 2):
        frames = [Frame(np.full((3, 4), value, np.uint8))] * (value + 1)
        path.write_bytes(encoded((4, 3), frames))
        for number in range(value):
            expected = composed((4, 3), frames)[number]
            assert seen(path, number, kept) == ((4, 3), expected)
        assert kept
