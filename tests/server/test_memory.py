"""The memory of processes, as the system tells it."""

import os
import subprocess
import sys

from coser_cli.server.memory import resident_memory

HOLDER = "data = bytearray(100 * 2**20); print('ready', flush=True); input()"


def test_of_a_process():
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"ready\n"
        found = resident_memory([process.pid])
        assert 100 * 2**20 < found < 200 * 2**20
        assert resident_memory([process.pid, os.getpid()]) > found
        process.communicate(b"\n")


def test_of_one_that_is_gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert resident_memory([process.pid]) == 0
