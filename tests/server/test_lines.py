"""Lines over a socket: split anyhow, of bounded length, and not for ever."""

import os
import socket
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coser_cli.server.lines import LineError, Lines, SilenceError


@pytest.fixture
def pair():
    here, there = socket.socketpair()
    with here, there:
        yield here, Lines(there, max_line=1000)


@given(st.lists(st.binary(max_size=50).map(lambda each: each.replace(b"\n", b""))), st.data())
def test_lines_come_as_they_were_sent(lines, data):
    here, there = socket.socketpair()
    with here, there:
        stream = b"".join(line + b"\n" for line in lines)
        cut = data.draw(st.integers(0, len(stream)))
        sender = threading.Thread(
            target=lambda: (here.sendall(stream[:cut]), here.sendall(stream[cut:]), here.close())
        )
        sender.start()
        reader = Lines(there)
        assert [reader.read(5) for _ in lines] == lines
        assert reader.read(5) is None
        sender.join()


def test_a_long_line_is_refused_before_it_has_come(pair):
    here, lines = pair
    rubbish = threading.Thread(target=_send_until_closed, args=(here,))
    rubbish.start()
    with pytest.raises(LineError, match="more than 1000 bytes"):
        lines.read(5)
    lines.close()
    rubbish.join(10)
    assert not rubbish.is_alive()


def _send_until_closed(connection):
    try:
        for _ in range(2**14):  # 1 GB
            connection.sendall(bytes(range(11, 256)) * 267)
    except OSError:
        return
    pytest.fail("somebody has read 1 GB")


def test_a_long_line_with_its_end_is_refused(pair):
    here, lines = pair
    here.sendall(b"x" * 1001 + b"\n")
    with pytest.raises(LineError):
        lines.read(5)


def test_a_line_without_end_is_refused(pair):
    here, lines = pair
    here.sendall(b"whole\nhalf")
    here.close()
    assert lines.read(5) == b"whole"
    with pytest.raises(LineError, match="no end"):
        lines.read(5)


def test_silence_ends_the_wait(pair):
    _, lines = pair
    with pytest.raises(SilenceError):
        lines.read(0.05)


def test_writing_to_who_does_not_read_ends(pair):
    _, lines = pair
    with pytest.raises(TimeoutError):
        lines.write(os.urandom(2**24), timeout=0.1)
