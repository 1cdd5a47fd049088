"""The way of a photo's pixels through the files of the package, as `docs/architecture.md` says."""

import re
import sys
import threading
from pathlib import Path

import numpy as np
import torch

import coser_cli
from coser_cli.batch.output import Outputs, PictureInMemory
from coser_cli.batch.picture import LoadedJob
from coser_cli.engine.images import Upscaled
from coser_cli.engine.preparation import LowRes
from coser_cli.imageio.photo import Photo

PACKAGE = str(Path(coser_cli.__file__).parent)
PAGE = Path(__file__).parents[2] / "docs" / "architecture.md"
CARRIERS = Photo, LoadedJob, LowRes, Upscaled, Outputs, PictureInMemory
MOST = 35


def carries_pixels(value):
    if isinstance(value, np.ndarray | torch.Tensor):
        return value.ndim >= 3
    return isinstance(value, CARRIERS)


def followed(run):
    """The files of the package with a function that takes or returns pixels while `run` runs."""
    files = set()

    def look(frame, event, result):
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE) or event not in ("call", "return"):
            return
        values = frame.f_locals.values() if event == "call" else (result,)
        if any(map(carries_pixels, values)):
            files.add(Path(code.co_filename).relative_to(PACKAGE).as_posix())

    threading.setprofile(look)
    sys.setprofile(look)
    try:
        run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return files


def test_pixels_pass_few_files_all_of_them_named_on_the_page(coser, photo):
    photo("a.png", (16, 12))
    files = followed(lambda: coser("upscale", "a.png", "-s", 4, "--strength", 0))
    assert Path("a_4x.png").is_file()
    assert len(files) + len(["cli/upscale", "cli/execute", "batch/workers/run"]) <= MOST
    text = PAGE.read_text(encoding="utf-8").partition("## Rooms")[0]
    assert files <= set(re.findall(r"`([\w/]+\.py)`", text))
    assert {"imageio/read.py", "engine/upscaler.py", "imageio/write.py"} <= files


def test_the_functions_on_the_page_are_there():
    text = PAGE.read_text(encoding="utf-8").partition("## Rooms")[0]
    named = re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", text)
    assert len(named) > 10
    for file, functions in named:
        source = Path(PACKAGE, file).read_text(encoding="utf-8")
        for name in re.findall(r"`(\w+)`", functions):
            assert re.search(rf"(?:def|class) {name}\b", source), (file, name)
