"""A file host on this computer that can be told to misbehave, request by request."""

import hashlib
import json
import os
import re
import struct
import threading
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


def safetensors(seed=0, size=200_000):
    """The bytes of a safetensors file with one tensor, different for each seed."""
    data = bytes((seed * 31 + i * 7) % 251 for i in range(size))
    header = {"weight": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def sha256(data):
    return hashlib.sha256(data).hexdigest()


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict


@dataclass
class Host:
    """What the host has, what it does next to each path, and what it was asked."""

    url: str = ""
    files: dict = field(default_factory=dict)  # path → bytes
    etags: dict = field(default_factory=dict)
    script: dict = field(default_factory=lambda: defaultdict(list))  # path → what to do, in turn
    asked: list = field(default_factory=list)

    def put(self, path, data, etag='"one"'):
        self.files[path] = data
        self.etags[path] = etag
        return f"{self.url}{path}"

    def then(self, path, *actions):
        self.script[path].extend(actions)

    def ranges(self, path):
        """The Range of each GET for `path`, None for a whole one."""
        gets = [each for each in self.asked if each.method == "GET" and each.path == path]
        return [each.headers.get("range") for each in gets]


def serve(handler, data, *, etag=None, start=0, cut=None, length=True, status=None, total=None):
    """Answer with `data` from byte `start`, cutting the connection after `cut` bytes of it."""
    body = data[start:]
    handler.send_response(status or (206 if start else 200))
    handler.send_header("Content-Type", "application/octet-stream")
    if etag:
        handler.send_header("ETag", etag)
    if start:
        told = len(data) if total is None else total
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{told}")
    if length:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command == "HEAD":
        return
    handler.wfile.write(body if cut is None else body[:cut])
    handler.wfile.flush()
    handler.close_connection = True


# -- what a host can be told to do: each is called with the handler, the host and the path ---------


def ordinary(handler, host, path):
    """As RFC 9110 wants it: Range, If-Range, 416."""
    data, etag = host.files.get(path), host.etags.get(path)
    if data is None:
        return answer(404)(handler, host, path)
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    start = int(match[1]) if match else 0
    condition = handler.headers.get("If-Range")
    if condition is not None and condition != etag:
        start = 0
    if start >= len(data):
        return answer(416, {"Content-Range": f"bytes */{len(data)}"})(handler, host, path)
    return serve(handler, data, etag=etag, start=start)


def answer(status, headers=None, body=b"", kind="text/plain"):
    def act(handler, host, path):
        handler.send_response(status)
        for name, value in (headers or {}).items():
            handler.send_header(name, value)
        if body:
            handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return act


def page(text, status=200):
    return answer(status, body=text.encode(), kind="text/html; charset=utf-8")


def cut(after):
    """The ordinary answer, broken off after so many bytes of its body."""

    def act(handler, host, path):
        match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(match[1]) if match else 0
        serve(handler, host.files[path], etag=host.etags[path], start=start, cut=after)

    return act


def whole(handler, host, path):
    """Ignore Range."""
    serve(handler, host.files[path], etag=host.etags[path])


def endless(handler, host, path):
    """Tell no length; the end of the connection is the end of the file."""
    serve(handler, host.files[path], length=False)


def redirect(to, status=302, headers=None):
    return answer(status, {"Location": to} | (headers or {}))


@pytest.fixture
def host(monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in [name for name in os.environ if name.startswith(("COSER_", "HF_HUB_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COSER_DOWNLOAD_BACKOFF", "0.01")
    monkeypatch.setenv("COSER_WEIGHTS_DIR", str(tmp_path / "weights"))  # never the user's own
    state = Host()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            headers = {name.lower(): value for name, value in self.headers.items()}
            path = self.path
            state.asked.append(Asked(self.command, path, headers))
            known = path if path in state.files or path in state.script else path.split("?")[0]
            actions = state.script[known]
            act = actions.pop(0) if actions else ordinary
            try:
                act(self, state, known)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
