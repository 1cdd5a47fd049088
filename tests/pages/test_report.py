"""The gallery page: what it says. What it does in a browser: `test_browser.py`."""

import re

import pytest

from coser_cli.pages.batch_log import Batch, Entry
from coser_cli.pages.report import counts_of, duration, report_page
from coser_cli.size import Size


@pytest.fixture
def html(tmp_path):
    """`html(*entries, **batch)`: the page as text, without embedded data."""

    def make(*entries, **more):
        page = report_page(Batch(entries, **more), tmp_path, tmp_path / "report.html", 64)
        return re.sub(r"base64,[^\"]+", "base64,", page.decode())

    return make


def cell(html, word):
    """A number of the summary."""
    return re.search(rf"<dt>{word}</dt><dd>([^<]+)</dd>", html)[1]


def test_summary(html, picture):
    entries = [
        Entry(picture("a.jpg"), picture("a_4x.png", (48, 32)), "done", 2.0),
        Entry(picture("b.jpg"), None, "done", 4.0),
        Entry(picture("c.jpg"), None, "failed", 90.0, error="disk full"),
        Entry(picture("d.jpg"), None),
    ]
    page = html(*entries, runs=2, run_seconds=3700.0, unknown_lines=2, interrupted=True)
    assert cell(page, "pictures") == "4"
    assert cell(page, "done") == "2"
    assert cell(page, "failed") == "1"
    assert cell(page, "without a record") == "1"
    assert cell(page, "median per picture") == "3.0 s"
    assert cell(page, "sum of pictures") == "6.0 s"
    assert cell(page, "time of the 2 runs that made them") == "1 h 2 min"
    assert "<dt>skipped" not in page
    assert "2 lines of the log could not be understood" in page
    assert "The last run was interrupted" in page


def test_an_entry_shows_sizes_seconds_and_links(html, picture):
    source, target = picture("a b.jpg", (12, 8)), picture("a b_4x.png", (48, 32))
    page = html(Entry(source, target, "done", 12.3, notes=("16-bit colour is read as 8-bit",)))
    assert "12 × 8 → 48 × 32 · 12 s" in page
    assert 'href="./a%20b.jpg"' in page
    assert 'href="./a%20b_4x.png"' in page
    assert page.count("data:image/jpeg") == 2
    assert "16-bit colour" in page


def test_failures_stand_on_top_with_their_reason(html, picture):
    page = html(Entry(picture("a.jpg"), None, "failed", error="cannot read <it>; copy it again"))
    assert page.index("cannot read &lt;it&gt;; copy it again") < page.index("<article")
    assert html(Entry(picture("a.jpg"), None, "done")).count("Failed") == 0


def test_a_picture_that_is_gone_or_damaged_does_not_stop_the_page(html, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    page = html(Entry(bad, tmp_path / "gone.png", "done", 1.0, Size(3, 4), Size(12, 16)))
    assert "it is not a picture" in page
    assert "the file is not there" in page
    assert "4 × 3 → 16 × 12" in page


def test_a_status_of_another_version_is_shown_as_it_is(html, picture):
    page = html(Entry(picture("a.jpg"), None, "resumed<"))
    assert cell(page, "resumed&lt;") == "1"
    assert counts_of(Batch((Entry(None, None, "x"),)))["x"] == 1


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 0 s"),
        (185, "3 min 5 s"),
        (3599.9, "1 h 0 min"),
        (7620, "2 h 7 min"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_results_of_one_shape_get_a_slider(html, picture):
    same = Entry(picture("a.jpg", (12, 8)), picture("a_4x.png", (48, 32)), "done")
    other = Entry(picture("b.jpg", (12, 8)), picture("b_4x.png", (48, 48)), "done")
    alone = Entry(picture("c.jpg", (12, 8)), None, "failed")
    page = html(same, other, alone)
    assert re.findall(r'data-slides="(\w+)"', page) == ["yes", "no", "no"]
    assert page.count(">open before</a>") == 2
    assert page.count(">open after</a>") == 2


def test_settings_are_told_once_and_differences_in_their_place(html, picture):
    made = [{"model": "mini", "seed": "1", "scale": "4"}, {"model": "mini", "seed": "2"}]
    entries = [Entry(picture(f"{n}.jpg"), None, "done", facts=each) for n, each in enumerate(made)]
    page = html(*entries)
    assert "<dt>model</dt><dd>mini</dd>" in page
    assert "<dt>seed" not in page
    assert '<p class="soft">seed 1, scale 4</p>' in page
    assert '<p class="soft">seed 2</p>' in page
    assert '<details id="settings"' not in html(Entry(picture("d.jpg"), None, "done"))
