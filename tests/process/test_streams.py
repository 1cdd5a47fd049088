"""Streams that are closed or full, and Ctrl-C in the first moments."""

import os
import signal
import subprocess
import sys
import time

import pytest

BOTH = ("photos/a.jpg", "photos/trip/d.png", "-s", "2", "-o", "out/")

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@pytest.mark.parametrize(
    ("redirection", "said"),
    [(">&-", ""), ("2>&-", ""), (">/dev/full", "cannot write to standard output: no space left")],
)
def test_closed_and_full_streams_stop_no_picture(coser, environment, redirection, said):
    line = f"coser upscale {' '.join(BOTH)} {redirection}"
    ran = subprocess.run(
        ["sh", "-c", line],
        cwd=coser.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert said in ran.stderr
    assert sorted(os.listdir(coser.folder / "out")) == ["a_2x.png", "d_2x.png"]


def test_a_full_log_is_said_once(coser):
    ran = coser("upscale", *BOTH, "--log", "/dev/full", "-q")
    assert ran.code == 0
    assert ran.err == "coser: cannot write '/dev/full': no space left on device\n"


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.1, 0.3, 0.6])
def test_ctrl_c_in_the_first_moments(coser, environment, seconds):
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; sys.argv = ['coser', 'photo.jpg']; print('ready', flush=True)\n"
        "from coser_cli.__main__ import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=coser.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    assert process.returncode in (0, 130)
