"""What may go wrong with a server: the client loses nothing, and the server lives."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from coser_cli.batch.request import Request, Work
from coser_cli.server import client as client_module
from coser_cli.server.client import Connection, NoAnswerError, ServerGoneError
from coser_cli.server.endpoint import Endpoint, listen
from coser_cli.server.installation import installation
from coser_cli.server.lines import Lines
from coser_cli.server.protocol import (
    PROTOCOL,
    Alive,
    Hello,
    JobEnded,
    JobStarted,
    Welcome,
    decode,
    encode,
)
from coser_cli.settings import Compute, Settings
from coser_cli.size import Size
from coser_cli.version import __version__
from tests.server.conftest import SLOW, end, wait_until

GOES_ON = "the server has ended; this command goes on without it"


def begin(place, count=6, folder="out"):
    """A client with slow pictures, one of which is done."""
    photos = place.photos(count)
    client = place.popen("upscale", *photos, "-s", "2", "-o", folder, *SLOW, "--warm")
    wait_until(lambda: list((place.folder / folder).glob("*.png")) or client.poll() is not None)
    return client


def finished(client, code=0):
    """What a client has written to stderr, once it has ended."""
    _, err = client.communicate(timeout=300)
    assert client.returncode == code, err
    return err


def worker_of(place):
    """The number of the one process with a model."""
    models = place.state()["models"]
    assert len(models) == 1, "the client is not served"
    return models[0]["process"]


def is_gone(process):
    """Whether no process has this number, or it is a zombie."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return text.rpartition(")")[2].split()[0] == "Z"


def serves(place):
    """Let the server do one small picture."""
    done = place.state()["jobs"]
    (name,) = place.photos(1, (24, 20), "small")
    place.run("upscale", name, "--strength", "0", "-o", "small-out/", "--overwrite", "--warm")
    assert place.state()["jobs"] == done + 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_is_killed(place, server, number):
    """The client does the rest, and nothing is half written."""
    client = begin(place, 4)
    worker = worker_of(place)
    os.kill(server.pid, number)
    assert GOES_ON in finished(client)
    wait_until(lambda: is_gone(worker))
    names = [f"{each:03}_2x.png" for each in range(4)]
    assert sorted(place.files("out")) == names  # and no part of a file
    place.cold("upscale", "in/003.png", "-s", "2", "-o", "alone/", *SLOW)
    assert place.files("out")["003_2x.png"] == place.files("alone")["003_2x.png"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_client_that_ends(place, server, number):
    """Its jobs are dropped, those of others go on."""
    client = begin(place, 40)
    worker = worker_of(place)
    client.send_signal(number)
    err = finished(client, -9 if number == signal.SIGKILL else 130)
    serves(place)
    assert worker_of(place) == worker, "it need not have ended"
    wait_until(lambda: not place.state()["models"][0]["runs"])
    assert len(place.files("out")) < 40
    assert not list((place.folder / "out").glob(".coser-*"))
    if number == signal.SIGINT:
        assert "run the same command again to continue" in err


def test_a_stale_socket(place):
    end(place.serve())
    assert place.socket.exists()
    (name,) = place.photos(1, (24, 20))
    alone = place.run("upscale", name, "-o", "out/")  # as if there were none
    assert not alone.stderr
    assert "no server runs" in place.run("serve", "status", code=1).stderr
    place.run("serve", "start", "--idle-timeout", "60s")
    serves(place)
    place.run("serve", "stop")


def test_two_servers_at_once(place):
    servers = [place.popen("serve", "run") for _ in range(2)]
    wait_until(lambda: any(each.poll() is not None for each in servers))
    (loser,) = (each for each in servers if each.poll() is not None)
    (winner,) = (each for each in servers if each.poll() is None)
    assert "already" in finished(loser, 1)
    assert place.state()["process"] == winner.pid
    winner.terminate()
    finished(winner)
    assert not place.socket.exists()


@pytest.mark.slow
def test_the_first_commands_of_two_loops_at_once(place):
    """Both want to start a server: there is one, and both are served."""
    photos = place.photos(2, (24, 20))
    clients = [place.popen("upscale", name, "-o", "out/", "--warm") for name in photos]
    assert [finished(client) for client in clients] == ["", ""]
    assert place.state()["jobs"] == 2
    place.run("serve", "stop")


@pytest.mark.slow
def test_a_server_of_another_version(place):
    program = (
        "from coser_cli.cli.app import main; from coser_cli.server import daemon;"
        "daemon.installation = lambda: 'another'; raise SystemExit(main())"
    )
    server = place.serve(program=(sys.executable, "-c", program))
    (name,) = place.photos(1, (24, 20))
    assert not place.run("upscale", name, "-o", "one/").stderr
    assert "another installation" in place.run("upscale", name, "-o", "two/", "--warm").stderr
    assert place.files("one") == place.files("two")
    assert place.state()["jobs"] == 0
    assert "another installation" in place.run("serve", "start", code=1).stderr
    place.run("serve", "stop")
    server.wait(20)


@pytest.mark.slow
def test_a_worker_that_the_system_kills(place, server):
    """As it does where memory is exhausted. The picture is begun again; the server lives."""
    client = begin(place, 3)
    os.kill(worker_of(place), signal.SIGKILL)
    err = finished(client)
    assert "a worker died" in err
    assert GOES_ON not in err
    serves(place)


@pytest.mark.slow
def test_memory_that_does_not_suffice(place, server):
    """A limit on the worker stands for it: that picture fails with the words of a cold command,
    the rest is done, and the process lives.
    """
    (small,), (large,) = place.photos(1, (24, 20), "s"), place.photos(1, (1200, 1200), "large")
    words = "-s", "2", "--strength", "0", "--warm", "-o"
    place.run("upscale", small, *words, "one/")
    worker = worker_of(place)
    limit = 1024 * int(status_of(worker, "VmSize")) + 2**25
    resource.prlimit(worker, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    ran = place.run("upscale", large, small, *words, "two/", "--json", code=1)
    failed, done, _ = map(json.loads, ran.stdout.splitlines())
    assert failed["error"]["code"] == "device"
    assert "the memory of cpu does not suffice" in failed["error"]["message"]
    assert done["status"] == "done"
    (name,) = place.files("two")
    assert place.files("two")[name] == place.files("one")["000_2x.png"]
    assert worker_of(place) == worker
    serves(place)


def status_of(process, name):
    """A number of proc_pid_status(5)."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(name + ":"))


@pytest.mark.slow
def test_weights_that_are_replaced(place, server):
    """The next command gets the new ones, in the same process."""
    model = place.folder.parent / "model"
    shutil.copytree(os.path.join(place.environment["COSER_WEIGHTS_DIR"], "toy"), model)
    (name,) = place.photos(1, (24, 20))
    words = "upscale", name, "--model", model, "-s", "2"
    place.run(*words, "-o", "before/")
    worker = worker_of(place)
    perturb(model / "srresnet" / "diffusion_pytorch_model.safetensors")
    place.run(*words, "-o", "after/")
    assert worker_of(place) == worker
    place.cold(*words, "-o", "alone/")
    assert place.files("after") == place.files("alone")
    assert place.files("after") != place.files("before")


def perturb(path):
    """Write a file of weights anew, with other numbers."""
    from safetensors.torch import load_file, save_file

    other = {name: value * 0.5 for name, value in load_file(path).items()}
    path.unlink()
    save_file(other, path)


@pytest.mark.parametrize(
    "rubbish",
    [b"GET / HTTP/1.1\r\n\r\n", b"\0\xff\n", b"{}\n", b'{"type": "Run"}\n', b"[" * 10**5 + b"\n"],
    ids=["http", "bytes", "empty", "early", "deep"],
)
def test_rubbish(shared, rubbish):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(shared.socket))
        connection.settimeout(20)
        connection.sendall(rubbish)
        connection.shutdown(socket.SHUT_WR)
        assert b'"Refused"' in connection.recv(10**6)
    serves(shared)


@pytest.mark.slow
def test_a_line_without_end(shared):
    """1 GB without a line's end: the server closes before it holds it."""
    block = b"x" * 2**20
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(shared.socket))
        with pytest.raises(OSError, match=r"[Bb]roken pipe|[Rr]eset"):
            for _ in range(1024):
                connection.sendall(block)
    assert shared.state()["memory"] < 2 * 2**30
    serves(shared)


def test_a_run_that_is_none(shared):
    """A well-formed message with jobs that cannot be."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(shared.socket))
        lines = Lines(connection)
        lines.write(encode(Hello(PROTOCOL, "1", "other")))
        decode(lines.read(20), Welcome)
        lines.write(b'{"type": "Run", "jobs": [{"source": 1}]}')
        assert b'"Refused"' in lines.read(20)
    serves(shared)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user(place, server):
    """Refused by the kernel's word, even if folder and socket were open."""
    for path in (place.runtime, *list(place.runtime.parents)[:3]):
        path.chmod(0o755)
    place.socket.chmod(0o666)
    program = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534);"
        "c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1]); print(c.recv(100))"
    )
    told = subprocess.check_output([sys.executable, "-c", program, str(place.socket)])
    assert told == b"b''\n"
    assert "a connection of user 65534" in place.log.read_text()
    place.runtime.chmod(0o700)
    serves(place)


@pytest.mark.slow
def test_a_disk_that_is_full(place):
    """A limit on files stands for it: the job fails, nothing is left, the server lives."""

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))

    server = place.serve(preexec_fn=limited)
    try:
        (name,) = place.photos(1, (64, 64), "full")
        failed = place.run("upscale", name, "--strength", "0", "-o", "out/", "--warm", code=1)
        assert "File too large".lower() in failed.stderr.lower()
        assert not place.files("out")
        serves(place)
    finally:
        end(server)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_log_on_a_disk_that_is_full(place):
    with open("/dev/full", "w") as full:
        server = place.serve(stderr=full)
    serves(place)
    end(server)


@pytest.mark.slow
def test_a_machine_that_sleeps(place, server):
    """All processes stand still for a while, in the middle of a picture, and then go on."""
    client = begin(place, 3)
    processes = client.pid, server.pid, worker_of(place)
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    time.sleep(3)
    for process in processes:
        os.kill(process, signal.SIGCONT)
    assert GOES_ON not in finished(client)
    serves(place)


@pytest.mark.slow
def test_a_server_that_stands_still(place, server):
    """A command does not wait for it, and says so."""
    (name,) = place.photos(1, (24, 20))
    os.kill(server.pid, signal.SIGSTOP)
    err = place.run("upscale", name, "-o", "out/").stderr
    assert "goes on without a server: the server does not answer within 3 s" in err
    os.kill(server.pid, signal.SIGCONT)
    serves(place)


class _Toy:
    """A server that sends these bytes, all but the first after it has read the jobs; then it closes
    the connection, or `stays` until the client does.
    """

    def __init__(self, folder, *messages, stays=True):
        self.endpoint = Endpoint(folder)
        self._listener, self._messages, self._stays = listen(self.endpoint), messages, stays
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self.endpoint

    def __exit__(self, *_):
        self._thread.join()
        self._listener.close()

    def _serve(self):
        connection = self._listener.accept()[0]
        with connection:
            lines = Lines(connection)
            decode(lines.read(5), Hello)
            for number, message in enumerate(self._messages):
                if number == 1:
                    lines.read(20)
                connection.sendall(message)
            while self._stays and lines.read(5) is not None:
                pass


def line(message):
    return encode(message) + b"\n"


def moments():
    """What a server has sent when it ends, and the pictures that are left to the command."""
    welcome = line(Welcome(PROTOCOL, __version__, installation(), 1))
    started = line(JobStarted(0))
    done = JobEnded(0, "done", 1.0, Size(24, 20), Size(48, 40), 1, (), None, None, None)
    yield pytest.param((), 2, id="before its welcome")
    yield pytest.param((welcome,), 2, id="before it reads the jobs")
    yield pytest.param((welcome, started), 2, id="at a picture")
    yield pytest.param((welcome, started, line(done)[:40]), 2, id="in the middle of a line")
    yield pytest.param((welcome, started, line(done)), 1, id="after a picture")


@pytest.mark.slow
@pytest.mark.parametrize(("messages", "left"), list(moments()))
def test_a_server_that_ends_at_any_moment(place, messages, left):
    """The command does what the server has not reported, and says so in one line."""
    photos = place.photos(2, (24, 20))
    with _Toy(place.runtime, *messages, stays=False):
        ran = place.run("upscale", *photos, "-s", "2", "-o", "out/", "--json")
    (note,) = (text for text in ran.stderr.splitlines() if "server" in text)
    assert ("goes on without a server" if not messages else GOES_ON) in note
    *pictures, summary = map(json.loads, ran.stdout.splitlines())
    assert [each["status"] for each in pictures] == ["done", "done"]
    assert [each["source"] for each in pictures] == photos
    assert summary["done"] == 2
    assert sorted(place.files("out")) == ["000_2x.png", "001_2x.png"][-left:]


def test_a_server_that_says_no_more(tmp_path, monkeypatch):
    monkeypatch.setattr(client_module, "SILENCE_TIMEOUT", 0.2)
    tmp_path.chmod(0o700)
    welcome = line(Welcome(PROTOCOL, "1", "x", 1))
    work = Work(Request(Settings(), Compute("mini")), Settings())  # nothing looks at the settings
    with _Toy(tmp_path, welcome, line(Alive())) as endpoint, Connection(endpoint) as connection:
        results = connection.run([], work, lambda event: None, progress=False)
        with pytest.raises(ServerGoneError):
            list(results)


def test_a_server_that_speaks_nonsense(tmp_path):
    tmp_path.chmod(0o700)
    with (
        _Toy(tmp_path, b"nonsense\n") as endpoint,
        pytest.raises(NoAnswerError, match="understood"),
    ):
        Connection(endpoint)
