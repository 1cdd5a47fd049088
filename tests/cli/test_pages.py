"""`coser compare` and `coser report` as a user meets them: names, codes, streams, records."""

import os

import pytest

from coser_cli.errors import Exit


def test_page_lies_beside_b_and_its_path_is_printed(coser, photo, tmp_path):
    (tmp_path / "out").mkdir()
    photo("a.png")
    photo("out/b.png", (24, 16))
    ran = coser("compare", "a.png", "out/b.png")
    assert (ran.code, ran.out, ran.err) == (Exit.OK, "out/b_compare.html\n", "")
    text = (tmp_path / "out" / "b_compare.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>")
    assert sorted(os.listdir("out")) == ["b.png", "b_compare.html"]


@pytest.mark.parametrize("output", ["page.html", "page.HTM", "new/", "new"])
def test_output(coser, photo, output):
    photo("a.png")
    photo("b.png")
    path = os.path.join(output, "b_compare.html") if "new" in output else output
    assert coser("compare", "a.png", "b.png", "-o", output).out == f"{path}\n"
    assert os.path.isfile(path)


@pytest.mark.parametrize("make", [("compare", "a.png", "b.png"), ("report", ".")])
def test_a_page_that_exists_is_kept_unless_overwrite(coser, photo, make):
    photo("a.png")
    photo("b.png")
    words = (*make, "-o", "page.html")
    assert coser(*words).code == Exit.OK
    before = os.stat("page.html").st_mtime_ns
    ran = coser(*words)
    assert (ran.code, ran.out) == (Exit.OK, "page.html\n")
    assert "skipped" in ran.err
    assert os.stat("page.html").st_mtime_ns == before
    assert coser(*words, "--json").records[0]["status"] == "skipped"
    coser(*words, "--overwrite")
    assert os.stat("page.html").st_mtime_ns > before


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("page.png", "a page is HTML"),
        ("b.html", "inputs are never overwritten"),
        ("a.png/x.html", "cannot make the folder"),
    ],
)
def test_wrong_outputs(coser, photo, output, words):
    photo("a.png")
    photo("b.html")  # recognised by its content
    ran = coser("compare", "a.png", "b.html", "-o", output, "--overwrite")
    assert ran.code == Exit.USAGE
    assert words in ran.err
    assert ran.err.count("\n") == 1
    assert sorted(os.listdir()) == ["a.png", "b.html"]


def test_page_is_not_written_over_an_input_through_a_link(coser, photo):
    photo("a.png")
    os.symlink("a.png", "page.html")
    ran = coser("compare", "a.png", "a.png", "-o", "page.html", "--overwrite")
    assert ran.code == Exit.USAGE


def test_unreadable_pictures(coser, photo, tmp_path):
    photo("a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    for words in (("a.png", "b.png"), ("none.png", "a.png")):
        ran = coser("compare", *words, "-o", "page.html")
        assert ran.code == Exit.FAILED
        assert "cannot read" in ran.err
        assert ran.err.count("\n") == 1
    assert sorted(os.listdir()) == ["a.png", "b.png"]


def test_record(coser, photo):
    photo("a.png", (12, 8))
    photo("b.png", (200, 100))
    (record,) = coser("compare", "a.png", "b.png", "--json", "--max-side", 100).records
    assert record.pop("seconds") > 0
    assert len(record.pop("notes")) == 2
    assert record == {
        "type": "compare",
        "version": 1,
        "target": "b_compare.html",
        "status": "done",
        "before": "a.png",
        "after": "b.png",
        "before_size": [12, 8],
        "after_size": [200, 100],
        "more": [],
        "more_sizes": [],
        "shown_size": [100, 50],
        "error": None,
    }
    (failed,) = coser("compare", "a.png", "none.png", "--json").records
    assert failed["status"] == "failed"
    assert failed["error"]["exit_code"] == Exit.FAILED
    assert failed["before_size"] is None


def test_notes_go_to_stderr_and_quiet_silences_them(coser, photo):
    photo("a.png", (10, 10))
    photo("b.png", (40, 20))
    ran = coser("compare", "a.png", "b.png")
    assert "differ in shape" in ran.err
    ran = coser("compare", "a.png", "b.png", "-q", "--overwrite")
    assert ran.out == ran.err == ""


NAMES = ["[b]<script>'\".png", "a b.png", "ä€.png", "new\nline.png", "-dash.png", "50%.png"]


@pytest.mark.parametrize("name", NAMES)
def test_awkward_names(coser, photo, name):
    photo(name)
    ran = coser("compare", "--", name, name)
    assert ran.code == Exit.OK
    assert ran.out == f"{name[:-4]}_compare.html\n"
    assert coser("report", ".").code == Exit.OK


def test_name_that_is_not_text(coser, photo, tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    try:
        photo(name)
    except OSError:
        pytest.skip("the file system has text names only")
    assert coser("compare", name, name, "--json").code == Exit.OK
    assert coser("report", ".").code == Exit.OK
    assert "caf\\xe9.png" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_report_of_a_real_batch(coser, photo, tmp_path):
    photo("a.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    os.mkdir("out")
    log = coser("upscale", "a.png", "bad.png", "-s", 2, "-o", "out", "--json").out
    (tmp_path / "out" / "log.jsonl").write_text(log)
    ran = coser("report", "out", "--json")
    assert ran.code == Exit.OK
    record = ran.records[0]
    assert record["target"] == "out/report.html"
    assert record["pictures"] == 2
    assert record["counts"] == {"done": 1, "skipped": 0, "failed": 1, "found": 0}
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "12 × 8 → 24 × 16" in text
    assert "cannot read &#39;bad.png&#39;" in text


def test_report_takes_a_log_from_elsewhere(coser, photo, tmp_path):
    photo("a.png")
    os.mkdir("logs")
    log = coser("upscale", "a.png", "-s", 1, "--json").out
    (tmp_path / "logs" / "today.txt").write_text(log)
    ran = coser("report", ".", "--log", "logs/today.txt", "--json")
    assert ran.records[0]["counts"]["done"] == 1


def test_report_of_pictures_below(coser, photo):
    os.mkdir("deep")
    photo("deep/a.png")
    assert coser("report", ".").code == Exit.FAILED
    assert coser("report", ".", "-r").code == Exit.OK


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("none",), Exit.USAGE, "is no folder"),
        (("file.txt",), Exit.USAGE, "is no folder"),
        ((".", "--log", "none.jsonl"), Exit.USAGE, "no such file"),
        ((".", "--log", "."), Exit.USAGE, "is a directory"),
        (("empty",), Exit.FAILED, "nothing to report"),
        ((".", "--log", "file.txt", "-o", "file.txt"), Exit.USAGE, "a page is HTML"),
    ],
)
def test_what_cannot_be_reported(coser, tmp_path, words, code, said):
    os.mkdir("empty")
    (tmp_path / "file.txt").write_text("text\n")
    ran = coser("report", *words)
    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert sorted(os.listdir()) == ["empty", "file.txt"]
    assert coser("report", *words, "--json").records[0]["error"]["exit_code"] == code


def test_several_results_are_compared_on_one_page(coser, photo):
    for name in ("a.png", "b.png", "c.png"):
        photo(name, (24, 16))
    (record,) = coser("compare", "a.png", "b.png", "c.png", "--json").records
    assert record["target"] == "b_compare.html"
    assert (record["more"], record["more_sizes"]) == (["c.png"], [[24, 16]])
    ran = coser("compare", "a.png", *["b.png"] * 26, "-o", "many.html")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "27 pictures are too many for a page" in ran.err
