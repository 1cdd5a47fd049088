"""One file from hosts that misbehave."""

import errno
import json
import shutil
import socket
import threading

import pytest

from coser_cli.errors import WeightsError
from coser_cli.weights.fetch.download import Download, Listener
from coser_cli.weights.fetch.hosts import Hosts, Patience
from coser_cli.weights.manifest import Source, WeightFile
from tests.file_host import (
    answer,
    cut,
    endless,
    ordinary,
    page,
    redirect,
    safetensors,
    serve,
    sha256,
    whole,
)

DATA = safetensors()
PATH = "/one.safetensors"
QUOTA = (
    "<html><title>Google Drive - Quota exceeded</title><p>Sorry. "
    "Too many users have viewed or downloaded this file recently.</p></html>"
)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "weights" / "one.safetensors"


@pytest.fixture
def fetch(host, target):
    """`fetch(*urls)`: download from these, in order; keeps what was said in `fetch.said`."""

    def run(*urls, data=DATA, sha=True, size=True, hosts=None, retries=3, **more):
        sources = tuple(
            url if isinstance(url, Source) else Source("https", url=url) for url in urls
        )
        file = WeightFile(
            "one",
            target.name,
            "safetensors",
            ("free",),
            pin=None if sha else "first-use",
            size=len(data) if size is True else size or None,
            sha256=sha256(data) if sha is True else sha or None,
            sources=sources,
        )
        listener = Listener(lambda done, total: run.seen.append((done, total)), run.said.append)
        return Download(
            file,
            target,
            hosts or Hosts(),
            Patience(retries, backoff=0.001, timeout=more.pop("timeout", 5), longest_wait=2),
            sha256=file.sha256,
            listener=listener,
            **more,
        ).run()

    run.said, run.seen = [], []
    return run


def left_over(target):
    return sorted(path.name for path in target.parent.iterdir())


def test_straight(host, fetch, target):
    url = host.put(PATH, DATA)
    fetched = fetch(url)
    assert target.read_bytes() == DATA
    assert (fetched.size, fetched.sha256, fetched.url) == (len(DATA), sha256(DATA), url)
    assert left_over(target) == [target.name]
    assert fetch.seen[-1] == (len(DATA), len(DATA))
    assert host.asked[0].headers["accept-encoding"] == "identity"


def test_cut_connection_goes_on_where_it_broke(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, cut(50_000), cut(70_000))
    fetch(url)
    assert target.read_bytes() == DATA
    assert host.ranges(PATH) == [None, "bytes=50000-", "bytes=120000-"]
    assert [each.headers.get("if-range") for each in host.asked] == [None, '"one"', '"one"']
    assert left_over(target) == [target.name]


def test_progress_does_not_use_up_the_retries(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, *[cut(20_000)] * 8)
    fetch(url, retries=1)
    assert target.read_bytes() == DATA


def test_no_progress_uses_up_the_retries_and_keeps_the_part(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, cut(50_000), *[cut(0)] * 9)
    with pytest.raises(WeightsError, match=r"3 times in a row|4 times in a row"):
        fetch(url)
    part = target.with_name(target.name + ".part")
    assert part.read_bytes() == DATA[:50_000]
    note = json.loads(target.with_name(target.name + ".part.json").read_text())
    assert note["url"] == url
    assert note["sha256"] == sha256(DATA)
    host.script.clear()
    fetch(url)  # a later run
    assert host.ranges(PATH)[-1] == "bytes=50000-"
    assert target.read_bytes() == DATA


def test_host_that_ignores_range(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, cut(50_000), whole)
    fetch(url)
    assert target.read_bytes() == DATA


def test_changed_etag_starts_again(host, fetch, target):
    """The host honours If-Range: it sends the new file whole."""
    old = safetensors(seed=1)
    url = host.put(PATH, old)

    def change(handler, host, path):
        host.put(PATH, DATA, '"two"')
        ordinary(handler, host, path)

    host.then(PATH, cut(50_000), change)
    fetch(url)
    assert target.read_bytes() == DATA


def test_changed_etag_of_a_host_that_ignores_if_range(host, fetch, target):
    old = safetensors(seed=1)
    url = host.put(PATH, old)

    def change(handler, host, path):
        host.put(PATH, DATA, '"two"')
        serve(handler, DATA, etag='"two"', start=50_000)

    host.then(PATH, cut(50_000), change)
    fetch(url, sha=False)  # no hash would tell the mixture
    assert target.read_bytes() == DATA
    assert host.ranges(PATH) == [None, "bytes=50000-", None]


def test_partial_answer_from_another_place(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, cut(50_000), lambda handler, *_: serve(handler, DATA, start=60_000))
    with pytest.raises(WeightsError, match="asked for byte 50000 onward, it sent from 60000"):
        fetch(url)
    assert not target.exists()


def test_partial_answer_without_its_place(host, fetch):
    url = host.put(PATH, DATA)
    host.then(PATH, cut(50_000), lambda handler, *_: serve(handler, DATA, status=206))
    with pytest.raises(WeightsError, match="partial answer without its place"):
        fetch(url)


def test_complete_part_is_only_verified(host, fetch, target):
    url = host.put(PATH, DATA)
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(DATA)
    fetch(url)
    assert target.read_bytes() == DATA
    assert host.asked == []


def test_416_of_a_complete_part_whose_size_was_not_known(host, fetch, target):
    url = host.put(PATH, DATA)
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(DATA)
    fetch(url, size=False)
    assert target.read_bytes() == DATA
    assert host.ranges(PATH) == [f"bytes={len(DATA)}-"]


def test_416_drops_a_part_that_is_too_long(host, fetch, target):
    url = host.put(PATH, DATA)
    target.parent.mkdir()
    target.with_name(target.name + ".part").write_bytes(DATA + b"more")
    fetch(url, size=False)
    assert target.read_bytes() == DATA
    assert host.ranges(PATH) == [f"bytes={len(DATA) + 4}-", None]


def test_416_again_and_again(host, fetch):
    url = host.put(PATH, DATA)
    host.then(PATH, cut(50_000), *[answer(416)] * 5)
    with pytest.raises(WeightsError):
        fetch(url)
    assert len(host.asked) < 6


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_trouble_that_passes(host, fetch, target, status):
    url = host.put(PATH, DATA)
    host.then(PATH, answer(status), answer(status))
    fetch(url)
    assert target.read_bytes() == DATA
    assert len(host.asked) == 3
    assert any(str(status) in line for line in fetch.said)


def test_retry_after(host, fetch, monkeypatch):
    slept = []
    monkeypatch.setattr("coser_cli.weights.fetch.download.time.sleep", slept.append)
    url = host.put(PATH, DATA)
    host.then(PATH, answer(429, {"Retry-After": "2"}))
    fetch(url)
    assert slept == [2.0]


def test_retry_after_too_long_is_no_reason_to_wait(host, fetch):
    url = host.put(PATH, DATA)
    host.then(PATH, answer(429, {"Retry-After": "86400"}))
    with pytest.raises(WeightsError, match=r"429.*asks to wait 86400 seconds"):
        fetch(url)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_next_source(host, fetch, target, status):
    first, second = host.put("/first", b""), host.put(PATH, DATA)
    host.then("/first", *[answer(status)] * 3)
    assert fetch(first, second).url == second
    assert target.read_bytes() == DATA
    assert len([each for each in host.asked if each.path == "/first"]) == 1
    assert any(str(status) in line for line in fetch.said)


def test_part_goes_on_from_another_source(host, fetch, target):
    first, second = host.put("/first", DATA), host.put(PATH, DATA, '"two"')
    host.then("/first", cut(50_000), *[answer(500)] * 9)
    fetch(first, second)
    assert target.read_bytes() == DATA
    assert host.ranges(PATH) == ["bytes=50000-"]
    assert "if-range" not in host.asked[-1].headers  # the other host's mark says nothing here


def test_part_without_a_known_hash_does_not(host, fetch, target):
    first, second = host.put("/first", safetensors(seed=1)), host.put(PATH, DATA, '"two"')
    host.then("/first", cut(50_000), *[answer(500)] * 9)
    fetch(first, second, sha=False)
    assert target.read_bytes() == DATA
    assert host.ranges(PATH) == [None]


def test_wrong_bytes(host, fetch, target):
    other = safetensors(seed=1)
    url = host.put(PATH, other)
    with pytest.raises(WeightsError) as caught:
        fetch(url)
    assert sha256(other) in caught.value.message
    assert sha256(DATA) in caught.value.message
    assert left_over(target) == [target.name + ".bad"]
    assert target.with_name(target.name + ".bad").read_bytes() == other


def test_wrong_bytes_then_the_next_source(host, fetch, target):
    first, second = host.put("/first", safetensors(seed=1)), host.put(PATH, DATA)
    fetch(first, second)
    assert target.read_bytes() == DATA
    assert left_over(target) == [target.name, target.name + ".bad"]


def test_wrong_part_is_not_held_against_the_source(host, fetch, target):
    first, second = host.put("/first", safetensors(seed=1)), host.put(PATH, DATA)
    host.then("/first", cut(50_000), *[answer(500)] * 9)
    fetch(first, second)
    assert target.read_bytes() == DATA
    assert host.ranges(PATH) == ["bytes=50000-", None]


def test_wrong_length_is_refused_before_a_byte_is_written(host, fetch, target):
    url = host.put(PATH, DATA + b"more")
    with pytest.raises(WeightsError, match=f"has {len(DATA) + 4} bytes, not {len(DATA)}"):
        fetch(url)
    assert left_over(target) == []


def test_no_length_told(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, endless)
    fetch(url)
    assert target.read_bytes() == DATA


def test_no_length_told_and_more_than_expected(host, fetch, target):
    url = host.put(PATH, DATA + b"more")
    host.then(PATH, endless)
    with pytest.raises(WeightsError, match="more than"):
        fetch(url)
    assert not target.exists()


def test_nothing_known_and_cut_off(host, fetch, target):
    """Neither hash, size nor length: the file's own header still tells that it is not whole."""
    url = host.put(PATH, DATA[:-100])
    host.then(PATH, endless)
    with pytest.raises(WeightsError, match="is truncated"):
        fetch(url, sha=False, size=False)
    assert not target.exists()


def test_html_instead_of_weights(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, page("<!doctype html><title>Sign in</title>"))
    with pytest.raises(WeightsError, match=r"an HTML page .'Sign in'. instead of weights"):
        fetch(url)
    assert left_over(target) == []


def test_html_under_another_type(host, fetch, target):
    url = host.put(PATH, b"\n<html><title>Oops</title></html>")
    with pytest.raises(WeightsError, match=r"an HTML page .'Oops'."):
        fetch(url, size=False)
    assert left_over(target) == []


def test_git_lfs_pointer(host, fetch, target):
    url = host.put(PATH, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(WeightsError, match="Git LFS pointer"):
        fetch(url, size=False)
    assert left_over(target) == []


@pytest.mark.parametrize("status", [200, 403])
def test_quota_page(host, fetch, status):
    url = host.put(PATH, DATA)
    host.then(PATH, *[page(QUOTA, status)] * 9)
    with pytest.raises(WeightsError, match="quota") as caught:
        fetch(url)
    assert "--import" in caught.value.hint
    assert "24 hours" in caught.value.hint
    assert len(host.asked) == 1  # waiting a second does not help


def test_html_does_not_spoil_a_part(host, fetch, target):
    url = host.put(PATH, DATA)
    host.then(PATH, cut(50_000), page(QUOTA))
    with pytest.raises(WeightsError, match="quota"):
        fetch(url)
    fetch(url)
    assert host.ranges(PATH)[-1] == "bytes=50000-"
    assert target.read_bytes() == DATA


def drive_form(host):
    return f"""<html><head><title>Google Drive - Virus scan warning</title></head><body>
    <form id="download-form" action="{host.url}/file?x=1" method="get">
    <input type="hidden" name="id" value="abc"><input type="hidden" name="confirm" value="t">
    <input type="hidden" name="uuid" value="12&amp;3"><input type="submit" value="Download">
    </form></body></html>"""


def test_drive_asks_for_confirmation(host, fetch, target):
    host.put("/file", DATA)
    host.then("/download", *[page(drive_form(host))] * 3)
    host.then("/file", cut(50_000))
    fetched = fetch(Source("gdrive", id="abc"), hosts=Hosts(drive=host.url))
    assert target.read_bytes() == DATA
    assert fetched.url == f"{host.url}/download"
    asked = [each for each in host.asked if each.path.startswith("/file")]
    assert asked[0].path == "/file?x=1&id=abc&confirm=t&uuid=12%263"
    # broken off and confirmed again, it goes on where it was
    assert [each.headers.get("range") for each in asked] == [None, "bytes=50000-"]
    assert asked[1].headers["if-range"] == '"one"'


def test_drive_asks_again_and_again(host, fetch):
    host.then("/download", page(drive_form(host)))
    host.then("/file", *[page(drive_form(host))] * 9)
    with pytest.raises(WeightsError, match="Virus scan warning"):
        fetch(Source("gdrive", id="abc"), hosts=Hosts(drive=host.url))


def test_drive_quota(host, fetch):
    host.then("/download", page(QUOTA))
    with pytest.raises(WeightsError, match="Google Drive's download quota"):
        fetch(Source("gdrive", id="abc"), hosts=Hosts(drive=host.url))


def test_only_drive_is_asked_for_confirmation(host, fetch):
    url = host.put(PATH, DATA)
    host.then(PATH, page(drive_form(host)))
    with pytest.raises(WeightsError, match="HTML page"):
        fetch(url)


# -- tokens and redirects -----------------------------------------------------------------------


def hub_source():
    return Source("hf", "owner/name", "0" * 40, "one.safetensors")


HUB_PATH = f"/owner/name/resolve/{'0' * 40}/one.safetensors"


def test_token_goes_to_its_host(host, fetch):
    host.put(HUB_PATH, DATA)
    hosts = Hosts(host.url, token="secret", trusted=(host.url,))
    fetch(hub_source(), hosts=hosts)
    assert host.asked[0].headers["authorization"] == "Bearer secret"


def test_token_does_not_follow_a_redirect_to_another_host(host, fetch, target):
    elsewhere = host.put("/cdn", DATA).replace("127.0.0.1", "localhost")
    host.then(HUB_PATH, redirect(elsewhere))
    hosts = Hosts(host.url, token="secret", trusted=(host.url,))
    fetch(hub_source(), hosts=hosts)
    assert target.read_bytes() == DATA
    assert [each.headers.get("authorization") for each in host.asked] == ["Bearer secret", None]


def test_token_stays_with_a_redirect_on_the_host(host, fetch):
    host.put("/moved", DATA)
    host.then(HUB_PATH, redirect("/moved", 307))
    fetch(hub_source(), hosts=Hosts(host.url, token="secret", trusted=(host.url,)))
    assert [each.headers.get("authorization") for each in host.asked] == ["Bearer secret"] * 2


def test_token_does_not_go_to_a_mirror(host, fetch):
    host.put(HUB_PATH, DATA)
    fetch(hub_source(), hosts=Hosts(host.url, token="secret"))
    assert "authorization" not in host.asked[0].headers


def test_redirect_to_plain_http_elsewhere(host, fetch):
    url = host.put(PATH, DATA)
    host.then(PATH, redirect("http://example.org/one"))
    with pytest.raises(WeightsError, match=r"redirected to http://example.org/one, which is not"):
        fetch(url)


def test_redirects_without_end(host, fetch):
    url = host.put(PATH, DATA)
    host.then(PATH, *[redirect(url)] * 30)
    with pytest.raises(WeightsError, match="more than 10 redirects"):
        fetch(url)


def test_a_signed_address_is_not_shown(host, fetch):
    url = host.put(PATH, DATA)
    with pytest.raises(WeightsError) as caught:
        fetch(f"{url}x?signature=secret")
    assert "secret" not in str(caught.value)


# -- no network, no space -----------------------------------------------------------------------


def test_nobody_there(fetch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/one"
        with pytest.raises(WeightsError, match="no connection"):
            fetch(url)


def test_silence(host, fetch):
    release = threading.Event()
    url = host.put(PATH, DATA)
    host.then(PATH, *[lambda *_: release.wait(20)] * 3)
    with pytest.raises(WeightsError, match="no answer in time"):
        fetch(url, retries=1, timeout=0.2)
    release.set()


def test_no_source(fetch):
    with pytest.raises(WeightsError, match="names no source") as caught:
        fetch()
    assert "--import" in caught.value.hint


def test_no_space(host, fetch, target, monkeypatch):
    url = host.put(PATH, DATA)
    usage = shutil.disk_usage("/")._replace(free=2 * len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    fetch(url)
    target.unlink()
    with pytest.raises(WeightsError, match=f"need {2 * len(DATA)} bytes"):
        fetch(url, room=lambda total: total)
    assert left_over(target) == []
    assert len(host.asked) == 2


def test_disk_that_fills_up_on_the_way(host, fetch, target, monkeypatch):
    from coser_cli.weights.fetch import partial

    url = host.put(PATH, DATA)

    class Full:
        def __init__(self, file):
            self._file = file

        def __getattr__(self, name):
            return getattr(self._file, name)

        def write(self, chunk):
            if self._file.tell() > 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._file.write(chunk[:10_001])

    opened = partial.Part.open

    def open_full(self, on_read):
        opened(self, on_read)
        self._file = Full(self._file)
        return self

    monkeypatch.setattr(partial.Part, "open", open_full)
    with pytest.raises(WeightsError, match="no space left"):
        fetch(url)
    monkeypatch.undo()
    assert target.with_name(target.name + ".part").stat().st_size == 10_001
    fetch(url)
    assert host.ranges(PATH)[-1] == "bytes=10001-"
    assert target.read_bytes() == DATA
