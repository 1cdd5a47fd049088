"""A folder with what the cases name, and the installed program in a process of its own."""

import hashlib
import os
import shutil
import subprocess
import sysconfig
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.pre_restorers import save
from tests.ran import Ran

ROOT = Path(__file__).parents[2]


RECIPE = """\
model = "mini"
[data]
held_out = 0
[srresnet]
steps = 1
batch = 2
crop = 32
learning_rate = 1e-3
"""
MANIFEST = """\
schema = 1
[license.free]
name = "Free"
url = "https://example.org/free"
commercial = "allowed"
[set.default]
files = ["one"]
[file.one]
dest = "one/one.safetensors"
license = ["free"]
size = {size}
sha256 = "{sha256}"
format = "safetensors"
[[file.one.source]]
type = "hf"
repo = "owner/name"
revision = "{revision}"
path = "one.safetensors"
"""


def _weights(folder):
    """A file that a manifest knows, at its place on a host, and to import."""
    save_file({"weight": np.arange(12, dtype=np.float32)}, folder / "one.safetensors")
    data, revision = (folder / "one.safetensors").read_bytes(), "0" * 40
    there = folder / "www" / "owner" / "name" / "resolve" / revision / "one.safetensors"
    there.parent.mkdir(parents=True)
    there.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    text = MANIFEST.format(size=len(data), sha256=digest, revision=revision)
    (folder / "manifest.toml").write_text(text)


def _training(folder):
    """A photo with its caption, and a recipe of one step."""
    (folder / "captioned").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((90, 80)).save(folder / "captioned" / "a.png")
    (folder / "captioned" / "captions.tsv").write_text("file\tlabel_or_caption\na.png\ta cat\n")
    (folder / "recipe.toml").write_text(RECIPE)


@pytest.fixture(scope="session")
def program():
    """The `coser` that was installed with this Python."""
    path = Path(sysconfig.get_path("scripts")) / "coser"
    assert path.exists(), "install the package first: pip install -e '.[test]'"
    return path


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """Small pictures and files under the names that README and the cases use."""
    folder = tmp_path_factory.mktemp("originals")
    with Image.open(ROOT / "examples" / "cat.jpg") as cat:
        small = cat.resize((24, 16))
    for name in (
        "photo.jpg",
        "huge.jpg",
        "old_scan.jpg",
        "sharp_photo.jpg",
        "photos/a.jpg",
        "photos/b c.jpg",
        "photos/trip/d.png",
        "sets/pair/HR/p.png",
        "sets/results/p_4x.png",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        small.save(folder / name)
    small.resize((20, 20)).save(folder / "other.jpg")
    (folder / "sets/pair/LRx4").mkdir()
    for name in ("pair/HR/p.png", "results/p_4x.png"):
        cat.resize((64, 48)).save(folder / "sets" / name)
    small.resize((16, 12)).save(folder / "sets/pair/LRx4/p.png")
    frames = [small, small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (12, 8), 128).save(folder / "mask.png")
    save(folder / "network.pth")
    (folder / "list.txt").write_text("photos/a.jpg\nphotos/trip/d.png\n")
    tables = ("upscale", "tile", "reference")
    (folder / "coser.toml").write_text("".join(f"[{name}]\nscale = 3\n" for name in tables))
    (folder / "log.jsonl").write_text('{"type": "summary", "version": 1}\n')
    _training(folder)
    _weights(folder)
    shutil.copytree(ROOT / "examples", folder / "examples")
    return folder


@pytest.fixture
def folder(originals, tmp_path):
    """A copy of the originals, to work in."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def environment(folder, program):
    """Of a user who has set nothing: no variables, no weights, a home of its own."""
    ours = ("COSER_", "HF_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(ours)}
    return kept | {
        "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "COSER_RUNTIME_DIR": str(folder / "run"),
        "COSER_WEIGHTS_DIR": str(folder / "weights"),
        "OMP_NUM_THREADS": "1",
    }


class Coser:
    """`coser(*words)` in `folder`, in a process of its own."""

    def __init__(self, program, folder, environment):
        self.folder = folder
        self._program, self._environment = program, environment

    def __call__(self, *words, **options):
        ran = subprocess.run(
            [self._program, *words],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            **options,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)


@pytest.fixture
def coser(program, folder, environment):
    run = Coser(program, folder, environment)
    yield run
    if (folder / "run").exists():  # a server may be there, which would stay for minutes
        run("serve", "stop")


@pytest.fixture
def host(folder):
    """The address of a host on this computer that has what lies in `www/`."""

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    handler = partial(Silent, directory=str(folder / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
