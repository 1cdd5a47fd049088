"""The folder of the socket: the user's own, closed, and with a path that the system takes."""

import os
import socket
import stat

import pytest

from coser_cli.errors import DeviceError
from coser_cli.server.endpoint import (
    MAX_SOCKET_PATH,
    Endpoint,
    find_endpoint,
    listen,
    lock_endpoint,
    make_private,
    require_private,
    user_of,
)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


def test_it_lies_in_the_runtime_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("COSER_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    assert find_endpoint().folder == tmp_path / "coser"


def test_a_variable_names_another(monkeypatch, folder):
    monkeypatch.setenv("COSER_RUNTIME_DIR", str(folder))
    assert find_endpoint().folder == folder


def test_modes(folder):
    make_private(folder)
    with listen(Endpoint(folder)):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(Endpoint(folder).socket.stat().st_mode) == 0o600


def test_a_long_path_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("COSER_RUNTIME_DIR", str(tmp_path / ("x" * MAX_SOCKET_PATH)))
    with pytest.raises(DeviceError, match="bytes"):
        find_endpoint()


def test_the_longest_path_can_be_bound(monkeypatch, tmp_path):
    missing = MAX_SOCKET_PATH - len(os.fsencode(tmp_path)) - len("//coser.sock")
    if missing < 1:
        pytest.skip("the folder of this test is too deep")
    folder = tmp_path / ("x" * missing)
    monkeypatch.setenv("COSER_RUNTIME_DIR", str(folder))
    endpoint = find_endpoint()
    assert len(os.fsencode(endpoint.socket)) == MAX_SOCKET_PATH
    make_private(folder)
    with listen(endpoint):
        assert endpoint.socket.is_socket()


def test_no_unix_sockets(monkeypatch):
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(DeviceError, match="Unix domain sockets"):
        find_endpoint()


def test_a_link_is_refused(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="is a link"):
        make_private(folder)


def test_a_link_to_nothing_is_refused(folder, tmp_path):
    folder.symlink_to(tmp_path / "nothing")
    with pytest.raises(DeviceError, match="is a link"):
        make_private(folder)


def test_a_file_is_refused(folder):
    folder.write_text("")
    with pytest.raises(DeviceError, match="is no folder"):
        make_private(folder)


def test_an_open_folder_is_refused(folder):
    folder.mkdir()
    folder.chmod(0o755)
    with pytest.raises(DeviceError, match="open to other users"):
        make_private(folder)


def test_a_folder_that_others_may_rename_is_refused(folder, tmp_path):
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    (open_to_all / "run").mkdir(mode=0o700)
    open_to_all.chmod(0o777)
    with pytest.raises(DeviceError, match="may rename"):
        require_private(open_to_all / "run")
    open_to_all.chmod(0o1777)
    require_private(open_to_all / "run")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_somebody_elses_folder_is_refused(folder):
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    with pytest.raises(DeviceError, match="belongs to the user number 65534"):
        make_private(folder)


def test_a_folder_that_cannot_be_made(folder):
    folder.write_text("")
    with pytest.raises(DeviceError, match="not a directory"):
        make_private(folder / "deeper")


def test_one_lock(folder):
    make_private(folder)
    endpoint = Endpoint(folder)
    first = lock_endpoint(endpoint)
    assert first is not None
    assert lock_endpoint(endpoint) is None
    os.close(first)
    again = lock_endpoint(endpoint)
    assert again is not None
    os.close(again)


def test_a_stale_socket_gives_way(folder):
    make_private(folder)
    endpoint = Endpoint(folder)
    listen(endpoint).close()
    with listen(endpoint), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(endpoint.socket))


def test_the_kernel_tells_the_user():
    here, there = socket.socketpair()
    with here, there:
        assert user_of(here) == os.geteuid()
