"""A served command does what it does by itself: files, output, messages, exit codes."""

import json
import os
import re
import shutil
import stat
import subprocess

import pytest

from tests.server.conftest import COSER, wait_until

PROBE = """
import sys
from coser_cli.cli.app import main
code = main(sys.argv[1:])
print(sorted({"torch", "diffusers", "open_clip"} & sys.modules.keys()), file=sys.stderr)
raise SystemExit(code)
"""


OTHERS = (
    ("tile", "in/000.png", "in/001.png", "-s", "2", "--format", "jpeg", "--json"),
    ("reference", "in/000.png", "-n", "2", "--json", "--devices", "cpu", "--max-side", "99"),
    ("upscale", "in/000.png", "--reference", "in/001.png", "--strength", "0.5"),
)


def records(text):
    """JSON Lines without what differs from run to run."""
    lines = [json.loads(line) for line in text.splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def without_seconds(text):
    """The table of pictures without times."""
    return re.sub(r" +\d+\.\d\b", "", text)


def both(place, *words, output="out", code=0, **options):
    """The same command served and by itself, with its files; both wrote to the folder `output`."""
    ran = []
    jobs = place.state()["jobs"]
    for way in ("--warm", "--no-warm"):
        result = place.run(*words, way, code=code, **options)
        files = place.files(output) if output else None
        ran.append((result, files))
        if output:
            (place.folder / output).rename(place.folder / f"{output}{way}-{jobs}")
    assert place.state()["jobs"] > jobs, "the server did nothing"
    return ran


def same(served, alone):
    """Whether two commands did the same."""
    (first, files), (second, others) = served, alone
    assert files == others
    assert without_seconds(first.stderr) == without_seconds(second.stderr)
    if first.stdout.startswith("{"):
        assert records(first.stdout) == records(second.stdout)
    else:
        assert first.stdout == second.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("upscale", "in", "-s", "1.5", "--save-reference", "--compare", "--strength", "0.5"),
        *(pytest.param(words, marks=pytest.mark.slow) for words in OTHERS),
    ],
    ids=" ".join,
)
def test_the_same_files_and_words(shared, words):
    shared.photos(11, (24, 20))
    same(*both(shared, *words, "-o", "out/"))


@pytest.mark.slow
def test_a_bad_file_among_good_ones(shared):
    shared.photos(3, (24, 20))
    (shared.folder / "in" / "bad.png").write_bytes(b"no picture")
    try:
        same(*both(shared, "upscale", "in", "-o", "out/", "--json", code=1))
        same(*both(shared, "upscale", "in", "-o", "out/", "--fail-fast", "--json", code=1))
    finally:
        (shared.folder / "in" / "bad.png").unlink()


@pytest.mark.slow
def test_what_is_there_is_skipped(shared):
    shared.photos(2, (24, 20))
    shared.cold("upscale", "in/000.png", "-o", "again/")
    served = shared.run("upscale", "in/000.png", "-o", "again/", "--warm", "--json")
    assert records(served.stdout)[0]["status"] == "skipped"


@pytest.mark.slow
def test_an_error_that_ends_the_run(shared):
    shared.photos(1, (24, 20))
    words = "upscale", "in/000.png", "-o", "out/", "--tile-size", "63", "--always", "--warm"
    assert shared.run(*words, code=2).stderr  # typer's own
    for device in ("cuda", "mps"):
        words = "upscale", "in/000.png", "-o", "error/", "--device", device
        served, alone = shared.run(*words, code=4), shared.cold(*words, code=4)
        assert served.stderr == alone.stderr
        assert not list((shared.folder / "error").iterdir())


def test_the_folder_and_the_umask_are_the_clients(shared):
    shared.photos(1, (24, 20))
    deeper = shared.folder / "deeper"
    deeper.mkdir(exist_ok=True)
    shared.run("upscale", "../in/000.png", "-o", "mine/", "--warm", cwd=deeper, umask=0o027)
    result = deeper / "mine" / "000_4x.png"
    assert stat.S_IMODE(result.stat().st_mode) == 0o640


def test_pipes(shared):
    shared.photos(1, (24, 20))
    photo = (shared.folder / "in" / "000.png").read_bytes()
    words = [*COSER, "upscale", "-", "-o", "-", "-s", "2"]
    options = {"input": photo, "capture_output": True, "check": True}
    options |= {"cwd": shared.folder, "env": shared.environment}
    served = subprocess.run([*words, "--warm"], **options)
    alone = subprocess.run([*words, "--no-warm"], **options)
    assert served.stdout == alone.stdout
    assert served.stdout.startswith(b"\x89PNG")
    assert served.stderr == alone.stderr


@pytest.mark.slow
def test_names_that_are_no_text(shared):
    shared.photos(1, (24, 20))
    folder, name = shared.folder / "odd", b"\xff\n'.png"
    folder.mkdir(exist_ok=True)
    shutil.copy(shared.folder / "in" / "000.png", os.fsencode(folder) + b"/" + name)
    words = [b"upscale", b"odd/" + name, b"-o", b"odd-out/", b"--warm"]
    jobs = shared.state()["jobs"]
    subprocess.run([*COSER, *words], check=True, cwd=shared.folder, env=shared.environment)
    assert len(list((shared.folder / "odd-out").glob("*.png"))) == 1
    assert shared.state()["jobs"] == jobs + 1


@pytest.mark.slow
def test_a_dry_run_is_the_same(shared):
    """But for the time, which is measured on a picture of one tile: a small one here."""
    shared.photos(1, (24, 20))
    words = "upscale", "in/000.png", "-o", "out/", "--dry-run"
    words += "--tile-size", "64", "--overlap", "32"
    plans = [shared.run(*words, "--warm").stdout, shared.cold(*words).stdout]
    first, second = (re.sub(r"about \S+ s\b", "", plan) for plan in plans)
    assert first == second
    assert "48×40" in first or "96×80" in first


def test_the_client_imports_no_torch(shared):
    shared.photos(1, (24, 20))
    words = ["upscale", "in/000.png", "-o", "lean/", "--warm"]
    ran = subprocess.run(
        [COSER[0], "-c", PROBE, *words],
        cwd=shared.folder,
        env=shared.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stderr.splitlines()[-1] == "[]"
    assert (shared.folder / "lean" / "000_4x.png").exists()


@pytest.mark.slow
def test_a_running_server_is_used_by_itself(shared):
    shared.photos(1, (24, 20))
    jobs = shared.state()["jobs"]
    shared.run("upscale", "in/000.png", "-o", "default/")
    assert shared.state()["jobs"] == jobs + 1
    shared.cold("upscale", "in/000.png", "-o", "default/", "--overwrite")
    assert shared.state()["jobs"] == jobs + 1


@pytest.mark.slow
def test_several_devices_and_tracebacks_stay_with_the_command(shared):
    shared.photos(2, (24, 20))
    jobs = shared.state()["jobs"]
    shared.run("upscale", "in/000.png", "in/001.png", "-o", "two/", "--devices", "cpu,cpu")
    debug = shared.environment | {"COSER_DEBUG": "1"}
    shared.run("upscale", "in/000.png", "-o", "debug/", env=debug)
    assert shared.state()["jobs"] == jobs


@pytest.mark.slow
def test_several_clients_at_once(shared):
    """As with xargs -P4: the same bytes as one command, and one model."""
    photos = shared.photos(12, (24, 20))
    alone = shared.cold("upscale", *photos, "-o", "one/", "-s", "2")
    clients = [
        shared.popen("upscale", *photos[first::4], "-o", "four/", "-s", "2", "--warm")
        for first in range(4)
    ]
    for client in clients:
        _, err = client.communicate(timeout=120)
        assert client.returncode == 0, err
    assert shared.files("four") == shared.files("one")
    assert len(alone.stdout.splitlines()) == 12


@pytest.mark.slow
def test_another_number_of_threads_is_another_process(shared):
    shared.photos(1, (24, 20))
    before = {model["process"] for model in shared.state()["models"]}
    environment = shared.environment | {"OMP_NUM_THREADS": "2"}
    shared.run("upscale", "in/000.png", "-o", "threads/", env=environment)
    assert {model["process"] for model in shared.state()["models"]} - before
    assert len(shared.state()["models"]) <= 2  # --max-models


@pytest.mark.slow
def test_nobody_has_the_folder_of_a_client_that_is_done(shared):
    shared.photos(1, (24, 20))
    shared.run("upscale", "in/000.png", "-o", "leaves/")
    wait_until(lambda: not any(model["runs"] for model in shared.state()["models"]))
    for model in shared.state()["models"]:
        assert subprocess.check_output(["readlink", f"/proc/{model['process']}/cwd"]) == b"/\n"
