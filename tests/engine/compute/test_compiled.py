"""Compiled steps: the pictures that are made without, or one line and then those very pictures."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from coser_cli.engine.compute.compiled import Compiled, require_compilable, weights_stay
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import UsageError
from coser_cli.models.residency import Placement
from coser_cli.models.step import eagerly, forward
from coser_cli.settings import Settings
from tests.toy_upscaler import save_toy

CPU = torch.device("cpu")
SETTINGS = Settings(scale=2, steps=3, strength=1, reference_strength=1, seed=3)
NETWORK = torch.nn.Linear(3, 3)
INPUT = (torch.ones(1, 3),)


def traced(step, network, mode):
    """Traced and guarded as for inductor, then run as it is: without minutes of a compiler."""

    def call(inputs):
        return step(network, inputs)

    return torch.compile(call, backend="eager", dynamic=False, mode=mode)


def pixels_of(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def failing(error):
    def compile_step(step, network, mode):
        def call(inputs):
            raise error

        return call

    return compile_step


def test_a_step_is_compiled_once_for_each_network():
    made = []

    def compile_step(step, network, mode):
        made.append((step, network, mode))
        return lambda inputs: step(network, inputs)

    compiled = Compiled(CPU, compile_step)
    assert not compiled.in_use
    for _ in range(3):
        torch.testing.assert_close(compiled(forward, NETWORK, INPUT), NETWORK(*INPUT))
    assert made == [(forward, NETWORK, None)]
    assert compiled.in_use


def test_what_fails_is_told_once_and_computed_without(caplog):
    compiled = Compiled(CPU, failing(ValueError("no C++ compiler")))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            torch.testing.assert_close(compiled(forward, NETWORK, INPUT), NETWORK(*INPUT))
    assert len(caplog.messages) == 1
    assert "no C++ compiler" in caplog.messages[0]
    assert not compiled.in_use


def test_memory_that_does_not_suffice_is_the_callers():
    compiled = Compiled(CPU, failing(torch.OutOfMemoryError("CUDA out of memory")))
    with pytest.raises(torch.OutOfMemoryError):
        compiled(forward, NETWORK, INPUT)
    assert compiled.in_use


@pytest.mark.parametrize(
    ("offload", "low_memory", "words"),
    [
        ("sequential", True, "low memory moves weights"),
        ("model", False, "offload model moves weights"),
        ("sequential", False, "offload sequential moves weights"),
    ],
)
def test_what_does_not_go_together_is_refused(offload, low_memory, words):
    with pytest.raises(UsageError, match=words):
        require_compilable(offload, low_memory)
    require_compilable("auto", False)
    assert not weights_stay(Placement(CPU, torch.float32, offload, low_memory))
    assert weights_stay(Placement(CPU))


def test_weights_in_float32_are_compiled_anew_and_the_old_ones_go(tmp_path):
    upscaler = Upscaler.from_pretrained(
        save_toy(tmp_path), device="cpu", dtype="bfloat16", compile=True
    )
    first = upscaler.model.execute
    again = upscaler.runtime.in_float32()
    assert isinstance(again.model.execute, Compiled)
    assert again.model.execute is not first
    assert upscaler.model.execute is eagerly
    assert not again.is_compiled


def test_without_compiling_nothing_of_the_compiler_is_imported():
    code = """
import sys, torch
from coser_cli.engine.upscaler import Upscaler
from coser_cli.settings import Settings
upscaler = Upscaler.from_pretrained("mini", device="cpu", dtype="float32")
upscaler.upscale(torch.rand(1, 3, 8, 8), Settings(scale=1, steps=1, strength=0.1))
print({"torch._dynamo", "torch._inductor"} & {*sys.modules})
"""
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.slow
def test_compiled_pictures_are_those_without(make_toy):
    plain, fast = make_toy().upscaler, make_toy().upscaler
    fast.model.execute = compiled = Compiled(CPU, traced)
    for size in ((12, 10), (12, 16)):
        settings = replace(SETTINGS, reference_mode="none")
        expected = plain.upscale(pixels_of(1, 3, *size), settings).pixels
        found = fast.upscale(pixels_of(1, 3, *size), settings).pixels
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert compiled.in_use


@pytest.mark.slow
def test_without_a_compiler_the_command_says_so_and_makes_the_picture(tmp_path):
    from coser_cli.imageio.record import read_record
    from coser_cli.imageio.write import write_photo

    folder, photo = save_toy(tmp_path / "toy"), tmp_path / "photo.png"
    write_photo(photo, pixels_of(1, 3, 12, 16)[0].numpy(), None)
    lines = {}
    own = {"COSER_CACHE_DIR": str(tmp_path / "cache"), "CXX": str(tmp_path / "none")}
    for name, more in {"plain": (), "fast": ("--compile",)}.items():
        command = [sys.executable, "-m", "coser_cli", "upscale", str(photo), "-s", "2"]
        command += ["--steps", "2", "--strength", "1", "--reference-mode", "none", *more]
        command += ["--model", str(folder), "--device", "cpu", "-o", str(tmp_path / f"{name}.png")]
        done = subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, check=True
        )
        lines[name] = done.stderr.splitlines()
    more = [line for line in lines["fast"] if line not in lines["plain"]]
    assert any("compiling was given up: " in line for line in more)
    assert "compiled" not in read_record(tmp_path / "fast.png")["compute"]
    assert (tmp_path / "fast.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_bundled_model_compiled_on_a_gpu():
    plain, fast = (
        Upscaler.from_pretrained("mini", device="cuda", dtype="float32", compile=compiled)
        for compiled in (False, True)
    )
    settings = replace(SETTINGS, strength=0.5)
    expected, found = (each.upscale(pixels_of(1, 3, 64, 64), settings) for each in (plain, fast))
    torch.testing.assert_close(found.pixels, expected.pixels, rtol=0, atol=1e-2)
    assert fast.runtime.is_compiled
