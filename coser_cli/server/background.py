"""A server in the background: started here, in a session of its own, and waited for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from coser_cli.errors import DeviceError, shown
from coser_cli.server.client import Connection, UnservedError
from coser_cli.server.endpoint import Endpoint, make_private

START_TIMEOUT = 20.0
"""Seconds that a new server has to listen in."""
_POLL_INTERVAL = 0.02


def start(endpoint: Endpoint, options: Sequence[str] = ()) -> None:
    """Start a server with these options of `coser serve run`, and return when one answers.

    That may be another, which was faster. Raises `DeviceError` where none does.
    """
    make_private(endpoint.folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    log = os.open(endpoint.log, flags, 0o600)
    command = [sys.executable, "-m", "coser_cli", "serve", "run", *options]
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,  # a Ctrl-C for the command is none for the server
        )
    except OSError as error:
        raise DeviceError(f"cannot start a server: {error}") from None
    finally:
        os.close(log)
    _await(endpoint, process)


def _await(endpoint: Endpoint, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_TIMEOUT
    while time.monotonic() < until:
        ended = process.poll() is not None
        try:
            with Connection(endpoint):
                process.returncode = process.returncode or 0  # it goes on without us
                return
        except UnservedError:
            if ended:
                break
        time.sleep(_POLL_INTERVAL)
    message = f"the server has not begun to listen: {_last_line(endpoint)}"
    raise DeviceError(message, f"see {shown(endpoint.log)}")


def _last_line(endpoint: Endpoint) -> str:
    try:
        text = endpoint.log.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "nothing is known"
    return next((line for line in reversed(text.splitlines()) if line), "it says nothing")
