"""`coser serve` as a command: its words, its exit codes, and what `--warm` does without it."""

import json
import os
import signal
import sys

import pytest

from coser_cli.cli.serve import parse_seconds
from coser_cli.errors import UsageError
from tests.server import conftest
from tests.server.conftest import end


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("10m", 600), ("1.5h", 5400), ("never", None)]
)
def test_times(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "0s", "-1m", "1d", "m"])
def test_what_is_no_time(text):
    with pytest.raises(UsageError, match="no time"):
        parse_seconds(text)


def test_without_a_server(place):
    assert place.run("serve", "status", code=1).stderr == "no server runs\n"
    assert not json.loads(place.run("serve", "status", "--json", code=1).stdout)["running"]
    assert place.run("serve", "stop").stderr == "no server runs\n"


def test_start_status_stop(place):
    options = "--idle-timeout", "60s", "--max-models", "3", "--max-memory", "1GiB"
    started = place.run("serve", "start", *options)
    assert "serves at" in started.stderr
    state = place.state()
    assert state["running"]
    assert (state["idle_timeout"], state["max_models"], state["max_memory"]) == (60, 3, 2**30)
    assert f"process {state['process']} " in place.run("serve", "status").stdout
    assert "already" in place.run("serve", "start").stderr
    assert place.state()["process"] == state["process"]
    assert "has ended" in place.run("serve", "stop").stderr
    assert not place.socket.exists()
    log = (place.runtime / "coser.log").read_text()
    assert "listens at" in log
    assert "it was told to stop" in log


def test_it_ends_when_nothing_has_happened_for_long(place):
    server = place.serve("--idle-timeout", "1s")
    assert server.wait(60) == 0
    assert not place.socket.exists()
    assert "no jobs for 1 s" in place.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it(place, number):
    server = place.serve()
    server.send_signal(number)
    assert server.wait(60) == 0
    assert not place.socket.exists()


@pytest.mark.parametrize(
    "words",
    [("--idle-timeout", "soon"), ("--max-models", "0"), ("--max-memory", "much")],
    ids=" ".join,
)
def test_bad_options(place, words):
    place.run("serve", "start", *words, code=2)
    place.run("serve", "run", *words, code=2)


def too_long(place):
    place.environment["COSER_RUNTIME_DIR"] = str(place.runtime / ("x" * 100))
    return "bytes"


def a_link(place):
    (place.runtime.parent / "link").symlink_to(place.runtime)
    place.environment["COSER_RUNTIME_DIR"] = str(place.runtime.parent / "link")
    return "is a link"


def somebody_elses(place):
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(place.runtime, 65534, 65534)
    return "belongs to the user number 65534"


@pytest.mark.parametrize("spoil", [too_long, a_link, somebody_elses])
def test_a_folder_that_cannot_be_used(place, spoil):
    reason = spoil(place)
    for command in ("start", "run"):
        err = place.run("serve", command, code=4).stderr
        assert reason in err
        assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("spoil", [too_long, a_link])
def test_without_a_folder_a_warm_command_works_by_itself(place, spoil):
    reason = spoil(place)
    (name,) = place.photos(1, (24, 20))
    warm = place.run("upscale", name, "-o", "warm/", "--warm")
    (line,) = warm.stderr.splitlines()
    assert line.startswith("goes on without a server: ")
    assert reason in line
    assert not place.run("upscale", name, "-o", "default/").stderr
    assert place.files("warm") == place.files("default")


@pytest.mark.slow
def test_on_a_system_without_unix_sockets(place, monkeypatch):
    program = (
        "import socket; del socket.AF_UNIX; from coser_cli.cli.app import main;"
        "raise SystemExit(main())"
    )
    monkeypatch.setattr(conftest, "COSER", (sys.executable, "-c", program))
    (name,) = place.photos(1, (24, 20))
    warm = place.run("upscale", name, "-o", "warm/", "--warm")
    (line,) = warm.stderr.splitlines()
    assert line.startswith("goes on without a server: coser serve needs Unix domain sockets")
    assert not place.run("upscale", name, "-o", "default/").stderr
    assert place.files("warm") == place.files("default")
    for command in ("start", "run", "stop", "status"):
        (line,) = place.run("serve", command, code=4).stderr.splitlines()
        assert "Unix domain sockets" in line


@pytest.mark.slow
def test_the_first_command_starts_one(place):
    (name,) = place.photos(1, (24, 20))
    environment = place.environment | {"COSER_WARM": "1", "COSER_SERVE_IDLE_TIMEOUT": "120s"}
    assert not place.run("upscale", name, "-o", "out/", env=environment).stderr
    state = place.state()
    assert (state["jobs"], state["idle_timeout"]) == (1, 120)
    place.run("upscale", name, "-o", "again/", env=environment)
    assert place.state()["jobs"] == 2
    assert place.state()["process"] == state["process"]
    place.run("serve", "stop")


@pytest.mark.slow
def test_a_stale_socket_does_not_keep_a_warm_command_from_starting_one(place):
    end(place.serve())
    (name,) = place.photos(1, (24, 20))
    assert not place.run("upscale", name, "-o", "out/", "--warm").stderr
    assert place.state()["jobs"] == 1
    place.run("serve", "stop")
