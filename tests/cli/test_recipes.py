"""`docs/recipes.md` runs as it stands, with the bundled model on tiny photos."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from coser_cli.paths import bundled_weights_dir
from tests.pre_restorers import save

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(sh|make)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOOLS = ("parallel", "jq", "flock", "inotifywait", "make", "timeout")
BOTH = ("enlarged/a_2x.png", "enlarged/b c_2x.png")
ENDLESS = ("inotifywait -m", "while sleep")
# What each block leaves behind, in the order of the page; those without an end stand last.
EXPECTED = (
    BOTH,
    BOTH,
    ("photos/a_2x.png", "photos/b c_2x.png", "photos/2024 trip/d_2x.png"),
    ("enlarged/photos/a_2x.png", "enlarged/photos/2024 trip/d_2x.png"),
    BOTH,
    (*BOTH, "jobs.tsv"),
    BOTH,
    BOTH,
    ("enlarged/a_2x.png",),
    (*BOTH, "run.log"),
    (*BOTH, "enlarged/times.csv"),
    (*BOTH, "problems.txt"),
    (*BOTH, "enlarged/report.html", "enlarged/a_2x_compare.html"),
    BOTH,
    ("enlarged/a_2x.png",),
    ("enlarged/e_2x.png", "enlarge-inbox.jsonl"),
    ("build/a_2x.png", "build/report.html"),
)
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
BLOCKS = [match.groups() for match in BLOCK.finditer(PAGE)]
FINITE = [each for each in BLOCKS if not each[1].startswith(ENDLESS)]
WATCHING = [code for _, code in BLOCKS if code.startswith(ENDLESS)]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (bundled_weights_dir() / "mini" / "model.json").exists(), reason="mini is not bundled"
    ),
]


@pytest.fixture
def folder(tmp_path):
    """A folder with `photos/`, `inbox/` and `coser` on the PATH."""
    with Image.open(ROOT / "examples" / "cat.jpg") as cat:
        small = cat.resize((24, 16))
    for name in ("photos/a.jpg", "photos/b c.jpg", "photos/2024 trip/d.png", "inbox/e.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        small.save(tmp_path / name)
    save(tmp_path / "network.safetensors")
    os.utime(tmp_path / "inbox" / "e.jpg", (1e9, 1e9))
    (tmp_path / "LICENSE").write_text("no picture\n")
    command = tmp_path / "bin" / "coser"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m coser_cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


def environment(folder):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COSER_")}
    return kept | {
        "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "COSER_WEIGHTS_DIR": str(folder / "none"),
        "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
        "COSER_RUNTIME_DIR": str(folder / "run"),  # no server of the user
    }


def require_tools(code):
    for tool in TOOLS:
        if re.search(rf"\b{tool} ", code) and shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")


def test_every_block_has_its_expectation():
    assert len(FINITE) == len(EXPECTED)
    assert len(WATCHING) == 2


@pytest.mark.parametrize("number", range(len(EXPECTED)))
def test_recipe(folder, number):
    language, code = FINITE[number]
    require_tools(f"make {code}" if language == "make" else code)
    if language == "make":
        (folder / "Makefile").write_text(code)
        (folder / "photos" / "b c.jpg").unlink()  # the page says so
        code = "make"
    ran = subprocess.run(
        ["sh", "-e", "-c", code],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    for name in EXPECTED[number]:
        assert (folder / name).stat().st_size > 0, name
    if "failed.txt" in code:
        assert not (folder / "failed.txt").exists()
    if "problems.txt" in code:
        assert "photos/broken.jpg: cannot read" in (folder / "problems.txt").read_text()
        assert "still broken" in ran.stdout
    if "times.csv" in code:
        assert (folder / "enlarged" / "times.csv").read_text().startswith('"photos/a.jpg",')
    if language == "make":
        again = subprocess.run(
            ["make", "-q"], cwd=folder, env=environment(folder), capture_output=True, check=False
        )
        assert again.returncode == 0


@pytest.mark.parametrize("code", WATCHING)
def test_watching(folder, code):
    require_tools(code)
    process = subprocess.Popen(
        ["sh", "-c", code], cwd=folder, env=environment(folder), start_new_session=True
    )
    try:
        time.sleep(2)  # until the folder is watched
        shutil.copy(folder / "photos" / "b c.jpg", folder / "inbox" / "new one.jpg")
        end = time.monotonic() + 120
        while not (folder / "enlarged" / "new one_2x.png").exists():
            assert time.monotonic() < end
            assert process.poll() is None
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_broken_picture_fails_the_job_after_the_report(folder):
    code = FINITE[-1][1]
    (folder / "photos" / "broken.jpg").write_text("no picture")
    ran = subprocess.run(
        ["sh", "-e", "-c", code],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        timeout=240,
        check=False,
    )
    assert ran.returncode == 1
    assert (folder / "build" / "report.html").exists()
