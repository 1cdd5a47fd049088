"""What is told of a run: the final table, the log, the first failure, Ctrl-C."""

import os
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from coser_cli.batch.jobs import Job
from coser_cli.batch.results import Result
from coser_cli.cli.output.log import RunLog
from coser_cli.cli.output.pictures import PictureReporter
from coser_cli.cli.output.table import MAX_ROWS, listed
from coser_cli.errors import CoserWarning, Exit

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d \d+ "


def test_a_log_has_a_line_for_each_of_several_pictures(plain, photo):
    photo("a.png")
    photo("b.png", size=(100, 50))
    ran = plain("upscale", "a.png", "none.png", "b.png", "-s", 2)
    lines = ran.err.splitlines()[-4:]
    assert re.fullmatch(r"1 of 3: 'a\.png' → 'a_2x\.png', 24×16, \d+\.\d s", lines[0])
    assert re.fullmatch(r"coser: cannot read 'none\.png'.*", lines[1])
    assert re.fullmatch(r"3 of 3: 'b\.png' → 'b_2x\.png', 200×100, \d+\.\d s", lines[2])
    assert lines[3] == "2 done, 0 skipped, 1 failed"


def test_no_line_for_one_picture_nor_where_quiet(plain, photo):
    photo("a.png")
    photo("b.png")
    assert plain("upscale", "a.png", "-s", 2).err == ""
    assert plain("upscale", "a.png", "b.png", "-s", 3, "-q").err == ""


def test_a_long_table_shows_what_is_odd():
    job = Job(Path("a.png"), Path("a_4x.png"))
    results = [Result(job, "done")] * 200 + [Result(job, "failed")]
    assert listed(results) == ([results[-1]], 200)
    assert listed(results[:MAX_ROWS]) == (results[:MAX_ROWS], 0)


def test_a_table_on_a_terminal(coser, photo, tmp_path):
    import pty

    photo("a[b].png")
    photo("c.png")
    leader, follower = pty.openpty()
    words = [sys.executable, "-m", "coser_cli", "upscale", "a[b].png", "c.png", "-s", "2"]
    environment = os.environ | {"COLUMNS": "100", "TERM": "xterm"}
    process = subprocess.Popen(words, stderr=follower, stdout=subprocess.DEVNULL, env=environment)
    os.close(follower)
    told = b""
    try:
        while block := os.read(leader, 4096):
            told += block
    except OSError:  # the other end has been closed
        pass
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", told.decode())
    assert re.search(r"picture +status +size +seconds", text)
    assert re.search(r"'a\[b\]\.png'", text)
    assert "2 done, 0 skipped, 0 failed" in text


def test_the_first_failure_ends_the_run_where_asked(plain, photo):
    photo("a.png")
    photo("c.png")
    ran = plain("upscale", "a.png", "none.png", "c.png", "-s", 2, "--fail-fast", "--json")
    assert ran.code == Exit.FAILED
    *images, summary = ran.records
    assert [each["status"] for each in images] == ["done", "failed", "not_started"]
    assert images[2]["source"] == "c.png"
    assert (summary["failed"], summary["not_started"]) == (1, 1)
    assert not os.path.exists("c_2x.png")
    assert "1 done, 0 skipped, 1 failed, 1 not started" in ran.err
    assert plain("upscale", "none.png", "--fail-fast").code == Exit.FAILED
    assert plain("upscale", "a.png", "none.png", "c.png", "-s", 2).code == Exit.FAILED
    assert os.path.exists("c_2x.png")


def test_the_log_tells_everything(plain, photo, monkeypatch):
    photo("a.png")
    monkeypatch.setenv("COSER_LOG", "run.log")
    plain("upscale", "a.png", "none.png", "-s", 2, "-q")
    plain("upscale", "a.png", "-s", 2, "--seed", 3, "-q")
    lines = Path("run.log").read_text().splitlines()
    told = [re.sub(rf"^{STAMP}", "", line) for line in lines]
    assert all(re.match(STAMP, line) for line in lines)
    assert re.fullmatch(r"INFO  coser \S+ begins with 2 pictures", told[0])
    assert told[1] == "INFO  starts 'a.png' (1 of 2)"
    done = r"INFO  done 'a\.png' → 'a_2x\.png': 24×16 pixels, .* s"
    assert any(re.fullmatch(done, line) for line in told)
    assert [line for line in told if line.startswith("ERROR") and "'none.png'" in line]
    assert any(line == "INFO  ends: 1 done, 0 skipped, 1 failed; exit code 1" for line in told)
    assert any("made again: seed was 2887, is 3" in line for line in told)
    assert told[-1].startswith("INFO  ends: 1 done")


def test_the_log_has_the_error_that_ends_a_run(coser, photo):
    photo("a.png")
    coser("upscale", "a.png", "--model", "none", "--log", "run.log")
    assert "ERROR there is no model 'none'" in Path("run.log").read_text()


@pytest.mark.parametrize("log", [".", "none/run.log"])
def test_a_log_that_cannot_be_written(coser, photo, log):
    photo("a.png")
    ran = coser("upscale", "a.png", "--log", log)
    assert ran.code == Exit.USAGE
    assert sorted(os.listdir()) == ["a.png"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "format_"), [("restore", "png"), ("write", "png"), ("write", "jpg")]
)
def test_ctrl_c_in_tiles(coser, photo, stage, format_):
    """SIGINT to the process while it works in tiles; the same command then goes on."""
    photo("a.png", size=(24, 24))
    photo("b.png", size=(40, 40))
    options = ["-s", "2", "--tile-size", "16", "--overlap", "8", "--strength", "0.5"]
    words = ["tile", "a.png", "b.png", "-o", "out/", "--format", format_, *options]
    script = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from coser_cli.cli.app import main\n"
        "from coser_cli.cli.output.pictures import PictureReporter\n"
        "report = PictureReporter.report\n"
        "def reporting(self, event):\n"
        "    if getattr(event, 'stage', '') == sys.argv[1] and self._started == 2:\n"
        "        print('here', file=sys.stderr, flush=True)\n"
        "        time.sleep(60)\n"
        "    report(self, event)\n"
        "PictureReporter.report = reporting\n"
        "sys.exit(main(sys.argv[2:]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, stage, *words, "--log", "run.log"],
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stderr:
        if line == "here\n":
            process.send_signal(signal.SIGINT)
            break
    rest = process.stderr.read()
    assert process.wait(30) == Exit.INTERRUPTED
    assert "stopped after 1 of 2; run the same command again to continue" in rest
    assert "Traceback" not in rest
    assert os.listdir("out") == [f"a_2x.{format_}"]
    assert "ERROR stopped after 1 of 2" in Path("run.log").read_text()
    before = os.stat(f"out/a_2x.{format_}").st_mtime_ns
    ran = coser(*words)
    assert "1 done, 1 skipped, 0 failed" in ran.err
    assert os.stat(f"out/a_2x.{format_}").st_mtime_ns == before


@pytest.mark.parametrize(("quiet", "told"), [(False, "coser: made otherwise\n"), (True, "")])
def test_a_warning_of_ours_is_a_message_and_logged(tmp_path, capsys, quiet, told):
    log = RunLog(tmp_path / "run.log")
    with PictureReporter(as_json=False, quiet=quiet, log=log):
        warnings.warn("made otherwise", CoserWarning, stacklevel=1)
    assert capsys.readouterr().err == told
    assert "made otherwise" in (tmp_path / "run.log").read_text()


def test_a_warning_of_others_is_shown_as_ever():
    with pytest.warns(UserWarning, match="theirs"), PictureReporter(as_json=False, quiet=True):
        warnings.warn("theirs", UserWarning, stacklevel=1)


def test_outside_a_run_a_warning_of_ours_is_a_line_too():
    code = "import warnings; from coser_cli.cli.app import main; from coser_cli.errors import *\n"
    code += "main(['--version'])\n"
    code += "for kind in (CoserWarning, UserWarning): warnings.warn('made otherwise', kind)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    ours, theirs = done.stderr.splitlines()
    assert ours == "coser: made otherwise"
    assert theirs.endswith("UserWarning: made otherwise") and theirs != ours
