"""What the bars show, drawn for a terminal of their own."""

import io
import re

from rich.console import Console

from coser_cli.cli.output.bars import Bars, seconds_left


class Terminal:
    """A terminal that remembers, and a clock that is set."""

    def __init__(self, total):
        self.now, self._text = 0.0, io.StringIO()
        console = Console(file=self._text, force_terminal=True, width=100, color_system=None)
        costs = {"prepare": 1.0, "decode": 1.0}
        self.bars = Bars(total, costs, lambda: self.now, console)

    def frame(self):
        """The rows that are on the screen now."""
        self._text.truncate(self._text.seek(0))
        self.bars._drawn.refresh()
        text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._text.getvalue())
        return [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]


def test_one_picture_has_one_bar_over_all_stages():
    terminal = Terminal(1)
    terminal.bars.picture("photo.jpg")
    terminal.now = 2.0
    terminal.bars.stage("prepare", 1, 1)
    (row,) = terminal.frame()
    assert row.split()[:2] == ["photo.jpg", "preparing"]
    assert row.endswith("50 %"), "what loading took is no rate"
    terminal.now = 3.0
    terminal.bars.stage("decode", 1, 2)
    (row,) = terminal.frame()
    assert row.endswith("75 % 0:01 left")
    terminal.now = 4.0
    terminal.bars.stage("decode", 1, 1)
    (row,) = terminal.frame()
    assert "99 %" in row, "writing is still to come"
    terminal.bars.close()


def test_a_batch_has_a_bar_of_its_own_with_elapsed_and_remaining_time():
    terminal = Terminal(4)
    terminal.bars.picture("a.jpg")
    terminal.now = 5.0
    terminal.bars.stage("prepare", 1, 1)
    terminal.now = 10.0
    terminal.bars.stage("decode", 1, 1)
    terminal.bars.ended("a.jpg", worked=True)
    terminal.bars.picture("b.jpg")
    batch, *rest = terminal.frame()
    assert not rest, "no picture is in hand yet"
    assert re.fullmatch(r"1 of 4 pictures +0:10 +\S+ +25 % +0:30 left", batch)
    terminal.bars.stage("prepare", 1, 2)
    batch, picture = terminal.frame()
    assert picture.startswith("b.jpg")
    assert [each.index("%") for each in (batch, picture)] == [batch.index("%")] * 2, "aligned"
    terminal.bars.close()


def test_what_was_skipped_says_nothing_about_the_rate():
    terminal = Terminal(10)
    for _ in range(8):
        terminal.bars.ended("x", worked=False)
    assert "left" not in terminal.frame()[0]
    terminal.bars.close()


def test_pictures_that_other_processes_do_are_counted():
    terminal = Terminal(10)
    terminal.bars.picture("a.jpg")
    terminal.bars.picture("b.jpg")
    terminal.now = 6.0
    terminal.bars.count(1)
    terminal.bars.ended("a.jpg", worked=True)
    terminal.now = 10.0
    terminal.bars.count(3)
    (row,) = terminal.frame()
    assert row.startswith("3 of 10 pictures")
    assert row.endswith("0:14 left")
    terminal.bars.close()


def test_a_long_name_keeps_its_end():
    terminal = Terminal(1)
    terminal.bars.picture("a name that is far too long for it (17).jpg")
    assert "(17).jpg" in terminal.frame()[0]
    terminal.bars.close()


def test_too_little_says_nothing_about_the_rest():
    assert seconds_left(1.0, 0.01, 0.99) is None
    assert seconds_left(1.0, 0.25, 0.75) == 3.0
