"""Where the server listens: a Unix domain socket in a folder that nobody else can enter."""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from coser_cli.errors import DeviceError, reason_of, shown
from coser_cli.paths import RUNTIME_DIR_VARIABLE, runtime_dir

try:
    import fcntl
except ImportError:  # Windows, which has no such sockets in Python either
    fcntl = None  # type: ignore[assignment]

MAX_SOCKET_PATH = 107 if sys.platform == "linux" else 103
"""Bytes of `sun_path` in the system's <sys/un.h>, less the end mark."""
_OTHER = f"set {RUNTIME_DIR_VARIABLE} to a folder of your own"


@dataclass(frozen=True)
class Endpoint:
    """The files of a server in its folder."""

    folder: Path

    @property
    def socket(self) -> Path:
        return self.folder / "coser.sock"

    @property
    def lock(self) -> Path:
        """Locked as long as a server lives."""
        return self.folder / "coser.lock"

    @property
    def log(self) -> Path:
        """What a server in the background has to say."""
        return self.folder / "coser.log"


def find_endpoint() -> Endpoint:
    """The user's endpoint. Raises `DeviceError` where this system cannot have one."""
    if not hasattr(socket, "AF_UNIX"):
        raise DeviceError(
            "coser serve needs Unix domain sockets, which Python has not on this system",
            "leave --warm and COSER_WARM out",
        )
    try:
        endpoint = Endpoint(runtime_dir())
    except OSError as error:
        raise DeviceError(f"there is no folder for a socket: {error}", _OTHER) from None
    length = len(os.fsencode(endpoint.socket))
    if length > MAX_SOCKET_PATH:
        raise DeviceError(
            f"the path of the socket {shown(endpoint.socket)} has {length} bytes, and this system "
            f"allows {MAX_SOCKET_PATH}",
            f"set {RUNTIME_DIR_VARIABLE} to a shorter one",
        )
    return endpoint


def require_private(folder: Path) -> None:
    """Raise `DeviceError` unless `folder` is the user's own and closed to others.

    So must be what is above it: whoever could rename it could put another in its place.
    """
    problem = _problem(folder, 0o077) or _problem_above(folder.parent)
    if problem:
        raise DeviceError(f"the runtime folder cannot be used: {problem}", _OTHER)


def make_private(folder: Path) -> None:
    """Make the folder where it is missing, for the user alone; `require_private`."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        pass  # a link to nothing, or a file: `require_private` says so
    except OSError as error:
        reason = reason_of(error)
        raise DeviceError(f"cannot make the folder {shown(folder)}: {reason}", _OTHER) from None
    require_private(folder)


def _problem(folder: Path, closed: int) -> str | None:
    """What is wrong with a folder in which others may have none of the rights `closed`."""
    try:
        status = folder.lstat()
    except OSError as error:
        return f"{shown(folder)}: {reason_of(error)}"
    if stat.S_ISLNK(status.st_mode):
        return f"{shown(folder)} is a link"
    if not stat.S_ISDIR(status.st_mode):
        return f"{shown(folder)} is no folder"
    if status.st_uid != os.geteuid():
        return f"{shown(folder)} belongs to the user number {status.st_uid}"
    if status.st_mode & closed:
        return f"{shown(folder)} is open to other users (chmod 700 closes it)"
    return None


def _problem_above(folder: Path) -> str | None:
    """Others may write only into one with the sticky bit, like /tmp."""
    try:
        status = folder.stat()
    except OSError as error:
        return f"{shown(folder)}: {reason_of(error)}"
    if status.st_uid not in (0, os.geteuid()):
        return f"{shown(folder)} belongs to the user number {status.st_uid}"
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        return f"other users may rename what is in {shown(folder)}"
    return None


def lock_endpoint(endpoint: Endpoint) -> int | None:
    """A descriptor that holds the lock until it is closed; None where another process has it."""
    descriptor = _opened_lock(endpoint)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def await_end(endpoint: Endpoint) -> None:
    """Return when no server holds the lock."""
    descriptor = _opened_lock(endpoint)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


def _opened_lock(endpoint: Endpoint) -> int:
    return os.open(endpoint.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def listen(endpoint: Endpoint) -> socket.socket:
    """A listening socket of mode 0600; one that a dead server has left gives way.

    Only for who holds the lock.
    """
    endpoint.socket.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(endpoint.socket))
    finally:
        os.umask(before)
    listener.listen(64)
    return listener


def user_of(connection: socket.socket) -> int:
    """The number of the user at the other side of a Unix domain socket, by the kernel's word.

    Raises OSError where the system does not tell.
    """
    if hasattr(socket, "SO_PEERCRED"):  # unix(7): struct ucred {pid, uid, gid}
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        return int(struct.unpack("3i", data)[1])
    if sys.platform == "darwin":  # <sys/un.h>: SOL_LOCAL 0, LOCAL_PEERCRED 1; struct xucred
        data = connection.getsockopt(0, 1, struct.calcsize("2Ih16I"))
        return int(struct.unpack_from("2I", data)[1])
    raise OSError("this system does not tell who is at the other side of a socket")
