"""A server of its own in a process, and clients in others: the installed program, at toy size."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import weights  # noqa: F401 (a fixture)

COSER = (sys.executable, "-m", "coser_cli")
SLOW = ("--strength", "1", "--steps", "8", "--reference-mode", "none")
"""Options that make a picture of 32 × 32 take a moment with the toy."""


def wait_until(condition, seconds=180):
    """The first true value of `condition()`."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.05)
    pytest.fail("waited in vain")


@dataclass
class Place:
    """A folder to work in, the environment of clients, and a runtime folder for servers."""

    folder: Path
    runtime: Path
    environment: dict[str, str]

    @property
    def socket(self):
        return self.runtime / "coser.sock"

    @property
    def log(self):
        return self.runtime / "log"

    def popen(self, *words, **options):
        """`coser` in a process of its own."""
        options = {"cwd": self.folder, "env": self.environment} | options
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
        return subprocess.Popen([*COSER, *map(str, words)], **options)

    def run(self, *words, code=0, **options):
        """The same, to its end."""
        with self.popen(*words, **options) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == code, err
        return subprocess.CompletedProcess(words, code, out, err)

    def cold(self, *words, **options):
        """`coser` without a server."""
        return self.run(*words, "--no-warm", **options)

    def serve(self, *options, program=COSER, **more):
        """A server in the foreground that listens, of the same code as the clients."""
        with self.log.open("a") as log:
            more = {"stderr": log, "start_new_session": True} | more
            more = {"cwd": self.folder, "env": self.environment} | more
            process = subprocess.Popen([*program, "serve", "run", *options], **more)
        wait_until(lambda: self.socket.exists() or process.poll() is not None)
        return process

    def state(self):
        """What `coser serve status` says."""
        return json.loads(self.run("serve", "status", "--json").stdout)

    def photos(self, count, size=(32, 32), folder="in"):
        """So many pictures in a folder."""
        (self.folder / folder).mkdir(exist_ok=True)
        random = np.random.default_rng(0)
        for number in range(count):
            values = random.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(values).save(self.folder / folder / f"{number:03}.png")
        return [f"{folder}/{number:03}.png" for number in range(count)]

    def files(self, folder):
        """Names and bytes of all that lies in a folder, hidden files too."""
        return {path.name: path.read_bytes() for path in (self.folder / folder).iterdir()}


def end(process):
    """End a server's process, and those of its models."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def shared(tmp_path_factory, weights):  # noqa: F811
    """A place with a server that lives as long as the module's tests."""
    place = make_place(tmp_path_factory.mktemp("shared"), weights)
    process = place.serve()
    yield place
    assert process.poll() is None, place.log.read_text()
    end(process)


@pytest.fixture
def place(tmp_path, weights):  # noqa: F811
    """A place without a server; those that are started in it end with the test."""
    return make_place(tmp_path, weights)


def make_place(root, weights_dir):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("COSER_")}
    runtime = root / "run"
    runtime.mkdir(mode=0o700)
    (root / "work").mkdir()
    environment |= {
        "COSER_WEIGHTS_DIR": str(weights_dir),
        "COSER_MODEL": "toy",
        "COSER_DEVICE": "cpu",
        "COSER_RUNTIME_DIR": str(runtime),
        "COSER_CACHE_DIR": str(root / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    return Place(root / "work", runtime, environment)


@pytest.fixture
def server(place):
    """A server in `place`."""
    process = place.serve()
    yield process
    end(process)
