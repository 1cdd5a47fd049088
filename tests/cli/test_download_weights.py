"""`coser download-weights` from its options to its exit codes."""

import ctypes
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from json_page import faults

from tests.file_host import answer, page, redirect, safetensors, serve, sha256
from tests.ran import run_here

DATA = safetensors()
OTHER = safetensors(seed=1)
ACCEPT = ("--accept-license", "free", "--accept-license", "strict")


def manifest_text(host, **more):
    """One file with a hash, one without, and one with a licence of its own."""
    return f"""
schema = 1
[license.free]
name = "Free"
url = "https://example.org/free"
commercial = "allowed"
[license.strict]
name = "Strict"
url = "https://example.org/strict"
commercial = "not allowed"
[set.default]
files = ["one"]
[set.both]
files = ["one", "two"]
[set.open]
files = ["three"]
[file.one]
dest = "one/one.safetensors"
license = ["free"]
size = {more.get("size", len(DATA))}
sha256 = "{more.get("sha256", sha256(DATA))}"
format = "safetensors"
[[file.one.source]]
type = "https"
url = "{host.url}/one.safetensors"
[[file.one.source]]
type = "https"
url = "{host.url}/mirror.safetensors"
[file.two]
dest = "two/two.safetensors"
license = ["strict"]
size = {len(OTHER)}
sha256 = "{sha256(OTHER)}"
format = "safetensors"
[[file.two.source]]
type = "hf"
repo = "owner/name"
revision = "{"0" * 40}"
path = "two.safetensors"
[file.three]
dest = "three/three.safetensors"
license = ["free"]
pin = "first-use"
format = "safetensors"
[[file.three.source]]
type = "https"
url = "{host.url}/three.safetensors"
[file.four]
dest = "four/four.ckpt"
license = ["free"]
pin = "first-use"
format = "torch-bin"
[[file.four.source]]
type = "https"
url = "{host.url}/four.ckpt"
"""


@pytest.fixture
def dest(tmp_path):
    return tmp_path / "weights"


@pytest.fixture
def manifest(host, tmp_path):
    path = tmp_path / "manifest.toml"
    path.write_text(manifest_text(host))
    host.put("/one.safetensors", DATA)
    host.put(f"/owner/name/resolve/{'0' * 40}/two.safetensors", OTHER)
    host.put("/three.safetensors", DATA)
    return path


@pytest.fixture
def get(manifest, dest, capsys, monkeypatch, tmp_path):
    """`get(*args)`: `coser download-weights` with this manifest and folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        words = ["download-weights", "--manifest", manifest, "--dest", dest, *args]
        return run_here(capsys, *words)

    return run


def process(manifest, dest, *args, **options):
    """The same as a process of its own."""
    environment = dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = ["download-weights", "--manifest", manifest, "--dest", dest, *ACCEPT, *args]
    return subprocess.Popen(
        [sys.executable, "-m", "coser_cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env=environment,
        **options,
    )


def tree(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# -- fetching -----------------------------------------------------------------------------------


def test_default_set(get, dest):
    ran = get(*ACCEPT)
    assert ran.code == 0
    assert ran.out == f"{dest / 'one/one.safetensors'}\n"
    assert (dest / "one/one.safetensors").read_bytes() == DATA
    assert "Free, https://example.org/free; commercial use: allowed" in ran.err
    lock = json.loads((dest / "weights.lock.json").read_text())
    assert lock["files"]["one"]["sha256"] == sha256(DATA)
    assert lock["files"]["one"]["size"] == len(DATA)


def test_three_lines_say_what_will_happen(get, dest):
    lines = get("both").err.splitlines()
    assert lines[0] == f"to do: fetch one, two in '{dest}'"
    assert lines[1].startswith("size: 400 kB to fetch, 400 kB on disk meanwhile; ")
    assert lines[1].endswith(" are free")
    assert lines[2] == "licences: free, strict"


def test_again_asks_nobody(get, host, dest):
    get(*ACCEPT)
    asked = len(host.asked)
    ran = get()  # nothing is fetched, so nothing need be accepted
    assert ran.code == 0
    assert ran.out == f"{dest / 'one/one.safetensors'}\n"
    assert len(host.asked) == asked


def test_json(get, dest):
    ran = get("both", "--json", *ACCEPT, "--mirror", "http://127.0.0.1:9")
    assert ran.code == 3
    one, two, summary = ran.records
    assert one == {
        "type": "file",
        "version": 1,
        "name": "one",
        "status": "downloaded",
        "path": str(dest / "one/one.safetensors"),
        "size": len(DATA),
        "sha256": sha256(DATA),
        "url": one["url"],
        "error": None,
    }
    assert two["status"] == "failed"
    assert two["error"]["exit_code"] == 3
    assert summary["type"] == "summary"
    assert summary["version"] == 1
    assert (summary["status"], summary["exit_code"]) == ("partial", 3)
    assert (summary["total"], summary["done"], summary["failed"]) == (2, 1, 1)


def test_mirror_and_endpoint(get, host, monkeypatch):
    assert get("two", *ACCEPT, "--mirror", host.url).code == 0
    assert get("--verify").code == 0


def test_endpoint_gets_the_token_and_a_mirror_does_not(get, host, dest, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    get("two", *ACCEPT, "--mirror", host.url)
    assert "authorization" not in host.asked[-1].headers
    shutil.rmtree(dest)
    monkeypatch.setenv("HF_ENDPOINT", host.url)
    get("both", *ACCEPT)
    two = next(each for each in host.asked[1:] if "two" in each.path)
    one = next(each for each in host.asked if "one" in each.path)
    assert two.headers["authorization"] == "Bearer secret"
    assert two.path.startswith("/owner/name/resolve/")
    assert "authorization" in one.headers  # the host is the endpoint, whatever the source is called


@pytest.mark.parametrize("option", ["--mirror", "HF_ENDPOINT"])
def test_plain_http_mirror_elsewhere_is_refused(get, monkeypatch, option):
    words = [option, "http://example.org"]
    if option == "HF_ENDPOINT":
        monkeypatch.setenv(*words)
        words = []
    ran = get("two", *ACCEPT, *words)
    assert ran.code == 2
    assert "must be an https address" in ran.err


def test_unknown_set(get):
    ran = get("everything")
    assert ran.code == 2
    assert "default, both, open" in ran.err


def test_damaged_manifest(get, manifest):
    manifest.write_text(manifest.read_text().replace(sha256(DATA), "0"))
    ran = get(*ACCEPT)
    assert ran.code == 3
    assert "[file.one] sha256" in ran.err


# -- licences and trust -------------------------------------------------------------------------


def test_licence_not_accepted(get, host, dest):
    ran = get("both", "--accept-license", "free")
    assert ran.code == 2
    assert "--accept-license strict" in ran.err
    assert "--accept-license free" not in ran.err
    assert host.asked == []
    assert not dest.exists()


def test_unknown_licence(get):
    ran = get("--accept-license", "gpl")
    assert ran.code == 2
    assert "known are free, strict" in ran.err


def test_asked_at_a_terminal(get, monkeypatch, dest):
    monkeypatch.setattr("coser_cli.cli.consent.is_interactive", lambda: True)
    asked = []
    monkeypatch.setattr(
        "coser_cli.cli.consent.typer.confirm", lambda text, **_: asked.append(text) or True
    )
    ran = get("open")
    assert ran.code == 0
    assert asked[0] == "Accept free?"
    assert "No hash is published for three" in asked[1]
    assert "Free, https://example.org/free; commercial use: allowed" in ran.err


def test_refused_at_a_terminal(get, monkeypatch, host):
    monkeypatch.setattr("coser_cli.cli.consent.is_interactive", lambda: True)
    monkeypatch.setattr("coser_cli.cli.consent.typer.confirm", lambda text, **_: False)
    assert get().code == 2
    assert host.asked == []


def test_first_use_needs_trust(get, host):
    ran = get("open", *ACCEPT)
    assert ran.code == 2
    assert "--trust-first-use" in ran.err
    assert host.asked == []


def test_first_use_is_held_to(get, host, dest):
    ran = get("open", *ACCEPT, "--trust-first-use")
    assert ran.code == 0
    assert sha256(DATA) in ran.err
    target = dest / "three/three.safetensors"
    target.unlink()
    host.put("/three.safetensors", OTHER)
    ran = get("open", *ACCEPT)  # its hash is known now
    assert ran.code == 3
    assert sha256(DATA) in ran.err
    assert sha256(OTHER) in ran.err
    assert not target.exists()
    assert target.with_name("three.safetensors.bad").read_bytes() == OTHER


# -- looking ------------------------------------------------------------------------------------


def test_every_record_is_as_the_page_says(get, host, dest):
    listed = get("--list", "--json").records
    planned = get("both", "--dry-run", "--json").records
    pins = get("two", "--print-pins", "--json", "--mirror", host.url).records
    ran = get("both", "--json", *ACCEPT).records
    headings = {"set": "--list", "license": "--list", "pin": "--print-pins", "plan": "--dry-run"}
    for records, files in ((listed, "--list"), (planned, "a run"), (pins, "a run"), (ran, "a run")):
        for each in records:
            of = files if each["type"] == "file" else headings.get(each["type"], "a run")
            assert faults(each, f"{each['type']} of {of}") == [], each
    kinds = {each["type"] for each in (*listed, *planned, *pins, *ran)}
    assert kinds == {"set", "license", "file", "plan", "pin", "summary"}


def test_list(get, host, dest):
    get(*ACCEPT)
    asked = len(host.asked)
    ran = get("--list")
    assert ran.code == 0
    assert re.search(r"^one +200 kB +free +verified$", ran.out, re.MULTILINE)
    assert re.search(r"^three +size unknown +free +absent$", ran.out, re.MULTILINE)
    assert "strict: Strict, https://example.org/strict; commercial use: not allowed" in ran.out
    records = get("--list", "--json").records
    assert [each["name"] for each in records if each["type"] == "set"] == [
        "default",
        "both",
        "open",
    ]
    assert {each["name"]: each["state"] for each in records if each["type"] == "file"} == {
        "one": "verified",
        "two": "absent",
        "three": "absent",
        "four": "absent",
    }
    assert len(host.asked) == asked


def test_dry_run_writes_nothing_and_asks_nobody(get, host, dest):
    ran = get("both", "--dry-run")
    assert ran.code == 0
    assert "would fetch: one, 200 kB" in ran.out
    assert "download: 400 kB" in ran.out
    assert "Strict" in ran.out
    plan = get("both", "--dry-run", "--json").records[0]
    assert plan["fetch"] == ["one", "two"]
    assert plan["download_bytes"] == len(DATA) + len(OTHER)
    assert plan["licenses"] == ["free", "strict"]
    assert not dest.exists()
    assert host.asked == []


def test_verify(get, dest):
    get(*ACCEPT)
    assert get("--verify", "--json").of("one")["status"] == "verified"
    target = dest / "one/one.safetensors"
    target.write_bytes(OTHER)
    ran = get("--verify")
    assert ran.code == 3
    assert sha256(OTHER) in ran.err
    assert sha256(DATA) in ran.err
    assert target.read_bytes() == OTHER  # looked at, not touched


def test_verify_misses_what_was_named(get, dest):
    """Without a name, what is not there cannot be damaged."""
    ran = get("--verify")
    assert (ran.code, ran.out) == (0, "")
    assert f"nothing of it is in '{dest}'" in ran.err
    ran = get("default", "--verify")
    assert ran.code == 3
    assert "one is not there" in ran.err
    assert not dest.exists()


def test_damaged_file_is_fetched_anew(get, dest):
    get(*ACCEPT)
    target = dest / "one/one.safetensors"
    target.write_bytes(OTHER)
    ran = get(*ACCEPT)
    assert ran.code == 0
    assert "damaged or another file" in ran.err
    assert target.read_bytes() == DATA


def test_print_pins(get, host):
    path = f"/owner/name/resolve/{'0' * 40}/two.safetensors"
    linked = {"X-Linked-Etag": f'"{sha256(OTHER)}"', "X-Linked-Size": "7", "X-Repo-Commit": "abc"}
    host.then(path, redirect("https://cdn.example.org/x", headers=linked))
    ran = get("both", "--print-pins", "--mirror", host.url)
    assert {each.method for each in host.asked} == {"HEAD"}
    assert f'X-Linked-Etag: "{sha256(OTHER)}"' in ran.out
    assert "X-Linked-Size: 7" in ran.out
    assert "X-Repo-Commit: abc" in ran.out
    assert f"Content-Length: {len(DATA)}" in ran.out
    assert 'ETag: "one"' in ran.out
    assert "the host answered 404" in ran.out  # the second source of `one`
    assert ran.code == 3
    assert get("two", "--print-pins", "--mirror", host.url).code == 0
    record = get("two", "--print-pins", "--json", "--mirror", host.url).records[0]
    assert record["type"] == "pin"
    assert record["length"] == str(len(OTHER))


def test_modes_do_not_go_together(get):
    assert get("--list", "--verify").code == 2


# -- importing ----------------------------------------------------------------------------------


def test_import(get, host, dest, tmp_path):
    own = tmp_path / "whatever.bin"
    own.write_bytes(DATA)
    ran = get("--import", own, "--as", "one")
    assert ran.code == 0
    assert (dest / "one/one.safetensors").read_bytes() == DATA
    assert own.read_bytes() == DATA
    assert host.asked == []
    assert "Free" in ran.err
    assert not os.path.samefile(own, dest / "one/one.safetensors")


def test_import_needs_no_trust_and_is_held_to(get, dest, tmp_path):
    own = tmp_path / "own"
    own.write_bytes(DATA)
    assert get("--import", own, "--as", "three", "--offline").code == 0
    own.write_bytes(OTHER)
    ran = get("--import", own, "--as", "three")
    assert ran.code == 3
    assert sha256(DATA) in ran.err
    assert (dest / "three/three.safetensors").read_bytes() == DATA


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (OTHER, "its SHA-256 is"),
        (DATA[:-1], f"has {len(DATA) - 1} bytes, and one has {len(DATA)}"),
        (b"<!DOCTYPE html><html>" + b" " * 300, "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "Git LFS pointer"),
        (b"", "has 0 bytes"),
    ],
)
def test_import_of_something_else(get, dest, tmp_path, data, message):
    get(*ACCEPT)
    own = tmp_path / "own"
    own.write_bytes(data)
    ran = get("--import", own, "--as", "one")
    assert ran.code == 3
    assert message in ran.err
    assert (dest / "one/one.safetensors").read_bytes() == DATA  # what was there stays
    assert tree(dest) == [".download.lock", "one/one.safetensors", "weights.lock.json"]


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut off", b"text", DATA[:-9]])
def test_import_without_a_known_hash_looks_at_the_format(get, dest, tmp_path, data):
    own = tmp_path / "own"
    own.write_bytes(data)
    name = "three" if data[:2] != b"PK" else "four"
    ran = get("--import", own, "--as", name)
    assert ran.code == 3
    assert "fetch it again" in ran.err
    assert tree(dest) == [".download.lock"]


def test_import_of_nothing(get, tmp_path):
    ran = get("--import", tmp_path / "missing", "--as", "one")
    assert ran.code == 3
    assert "cannot read" in ran.err
    assert get("--import", tmp_path / "missing").code == 2
    ran = get("--import", tmp_path / "missing", "--as", "five")
    assert ran.code == 2
    assert "known are one, two, three, four" in ran.err


def test_from_dir(get, host, dest, tmp_path):
    folder = tmp_path / "usb"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "renamed").write_bytes(DATA)  # known by its hash
    (folder / "two.safetensors").write_bytes(OTHER)  # by its name
    (folder / "holiday.jpg").write_bytes(b"a photo")
    ran = get("--from-dir", folder, "--offline")
    assert ran.code == 0
    assert (dest / "one/one.safetensors").read_bytes() == DATA
    assert (dest / "two/two.safetensors").read_bytes() == OTHER
    assert host.asked == []


def test_from_dir_with_a_wrong_file(get, dest, tmp_path):
    folder = tmp_path / "usb"
    folder.mkdir()
    (folder / "two.safetensors").write_bytes(OTHER[:-5])
    (folder / "one.safetensors").write_bytes(DATA)
    ran = get("--from-dir", folder)
    assert ran.code == 3
    assert "two.safetensors' has" in ran.err
    assert (dest / "one/one.safetensors").read_bytes() == DATA


def test_from_dir_that_is_none(get, tmp_path):
    assert get("--from-dir", tmp_path / "missing").code == 2


# -- trouble ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ([answer(404)], "does not have the file"),
        ([answer(403)], "refuses access"),
        ([answer(500)] * 9, "answered 500"),
        ([page("<html><title>Login</title>")], "HTML page"),
        ([page("<html>Too many users have viewed or downloaded this file recently")], "quota"),
        ([lambda handler, *_: serve(handler, OTHER)], "SHA-256"),
        ([lambda handler, *_: serve(handler, DATA + b"x")], "bytes, not"),
    ],
    ids=["404", "403", "500", "html", "quota", "hash", "length"],
)
def test_failures_leave_a_former_file_alone(get, host, dest, actions, message):
    """Each failure has its own message and exit code 3; what was there before is untouched."""
    get("two", *ACCEPT, "--mirror", host.url)
    before = tree(dest)
    host.then("/one.safetensors", *actions)
    ran = get("both", *ACCEPT, "--mirror", host.url)
    assert ran.code == 3
    assert message in ran.err
    assert (dest / "two/two.safetensors").read_bytes() == OTHER
    left = set(tree(dest)) - set(before)
    assert left <= {"one/one.safetensors.bad"}
    ran = get("both", *ACCEPT, "--mirror", host.url)
    assert ran.code == 0


def test_no_space(get, host, dest, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=len(DATA) - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    ran = get(*ACCEPT)
    assert ran.code == 3
    assert f"need {len(DATA)} bytes" in ran.err
    assert host.asked == []
    assert not dest.exists()


def test_offline(get, host, dest, monkeypatch):
    for words, variable in ((["--offline"], None), ([], "COSER_OFFLINE"), ([], "HF_HUB_OFFLINE")):
        if variable:
            monkeypatch.setenv(variable, "1")
        ran = get(*ACCEPT, *words)
        assert ran.code == 3
        assert "offline, and not there: one" in ran.err
        assert get("--print-pins", *words).code == 3
        if variable:
            monkeypatch.delenv(variable)
    assert host.asked == []
    get(*ACCEPT)
    assert get("--offline").code == 0


@pytest.mark.parametrize("value", ["many", "-1", "nan"])
def test_patience_must_be_a_number(get, monkeypatch, value):
    monkeypatch.setenv("COSER_DOWNLOAD_RETRIES", value)
    ran = get(*ACCEPT)
    assert ran.code == 2
    assert "COSER_DOWNLOAD_RETRIES" in ran.err


def test_retries_as_the_environment_says(get, host, monkeypatch):
    monkeypatch.setenv("COSER_DOWNLOAD_RETRIES", "1")
    host.then("/one.safetensors", *[answer(503)] * 5)
    assert get(*ACCEPT).code == 3
    assert len([each for each in host.asked if each.path == "/one.safetensors"]) == 2


def test_second_source(get, host):
    host.put("/mirror.safetensors", DATA)
    host.then("/one.safetensors", answer(404))
    ran = get(*ACCEPT, "--json")
    assert ran.code == 0
    assert ran.of("one")["url"] == f"{host.url}/mirror.safetensors"
    assert "does not have the file" in ran.err


def test_proxy_that_cannot_be_used(get, monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "gopher://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    ran = get(*ACCEPT)
    assert ran.code == 3
    assert "proxy" in ran.err


def test_damaged_record(get, dest):
    get(*ACCEPT)
    (dest / "weights.lock.json").write_text("{")
    ran = get(*ACCEPT)
    assert ran.code == 3
    assert "weights.lock.json' is damaged" in ran.err


def obey_permissions():
    """Root may write anywhere, unless it has given up that right before it starts a program."""
    drop, override, read_search = 24, 1, 2
    for right in (override, read_search):
        ctypes.CDLL(None).prctl(drop, right, 0, 0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="permissions are given up by Linux's prctl")
def test_read_only_folder(manifest, get, host, dest):
    get(*ACCEPT)
    folders = [dest, dest / "one"]
    for folder in folders:
        folder.chmod(0o555)
    try:
        running = process(manifest, dest, preexec_fn=obey_permissions)
        out, err = running.communicate(timeout=60)
        assert running.returncode == 0, err  # what is there can be used
        assert out == f"{dest / 'one/one.safetensors'}\n"
        running = process(manifest, dest, "open", "--trust-first-use", preexec_fn=obey_permissions)
        _, err = running.communicate(timeout=60)
        assert running.returncode == 3
        assert "permission denied" in err
        assert "--dest" in err
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert len(host.asked) == 1


def test_folder_that_is_a_file(get, dest):
    dest.write_text("not a folder")
    ran = get(*ACCEPT)
    assert ran.code == 3
    assert "cannot" in ran.err


# -- processes ----------------------------------------------------------------------------------


def slow(after, release):
    """Send some bytes, then nothing until `release` is set."""

    def act(handler, host, path):
        data = host.files[path]
        handler.send_response(200)
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        release.wait(60)
        handler.wfile.write(data[after:])

    return act


def part_size(dest):
    part = dest / "one/one.safetensors.part"
    return part.stat().st_size if part.exists() else 0


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_started_again(manifest, dest, host, get, kill):
    release = threading.Event()
    host.then("/one.safetensors", slow(60_000, release))
    running = process(manifest, dest)
    until(lambda: part_size(dest) == 60_000)
    running.send_signal(kill)
    running.wait(30)
    release.set()
    assert not (dest / "one/one.safetensors").exists()
    assert get(*ACCEPT).code == 0
    assert host.ranges("/one.safetensors") == [None, "bytes=60000-"]
    assert (dest / "one/one.safetensors").read_bytes() == DATA


def test_interrupted(manifest, dest, host, get):
    release = threading.Event()
    host.then("/one.safetensors", slow(60_000, release))
    running = process(manifest, dest, "--json")
    until(lambda: part_size(dest) == 60_000)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=30)
    release.set()
    assert running.returncode == 130
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert json.loads(out.splitlines()[-1])["status"] == "interrupted"
    assert get(*ACCEPT).code == 0
    assert host.ranges("/one.safetensors") == [None, "bytes=60000-"]


def test_two_at_once(manifest, dest, host):
    """The second waits, and then finds everything there."""
    release = threading.Event()
    host.then("/one.safetensors", slow(60_000, release))
    first = process(manifest, dest)
    until(lambda: part_size(dest) == 60_000)
    second = process(manifest, dest)
    read_until(second, "waiting")
    release.set()
    assert first.wait(30) == 0
    assert second.wait(30) == 0
    assert host.ranges("/one.safetensors") == [None]
    assert (dest / "one/one.safetensors").read_bytes() == DATA


def read_until(running, word):
    lines = []
    while not lines or word not in lines[-1]:
        line = running.stderr.readline()
        assert line, lines
        lines.append(line)
    return lines


def test_disk_that_takes_no_more(manifest, dest, get):
    """A real limit on the size of files, as a full disk would be."""

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    running = process(manifest, dest, preexec_fn=limit)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 3
    assert "no space left" in err
    assert not (dest / "one/one.safetensors").exists()
    assert part_size(dest) == 50_000
    assert get(*ACCEPT).code == 0  # and it goes on where there is space again
    assert (dest / "one/one.safetensors").read_bytes() == DATA
