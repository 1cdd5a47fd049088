"""Steps with compiled networks: checked, measured, given up in one line where that fails."""

import json
import logging
import os
import subprocess
import sys

import pytest
import torch

from coser_cli.engine.compute.compile_times import MOST, Measured, Remembered
from coser_cli.engine.compute.compiled import MOST_FORMS, Compiled, inductor
from coser_cli.engine.compute.execution import Execution, Wanted
from coser_cli.engine.upscaler import Upscaler
from coser_cli.errors import UsageError
from coser_cli.models.residency import Placement
from coser_cli.models.step import eagerly
from coser_cli.settings import Settings
from tests.toy_upscaler import save_toy

CPU = torch.device("cpu")


class Network(torch.nn.Module):
    """Doubles; counts how often it runs as it is."""

    def __init__(self):
        super().__init__()
        self.runs = 0

    def forward(self, x):
        self.runs += 1
        return 2 * x


class Stand:
    """In the place of a compiler: what it makes runs `run`, and counts."""

    def __init__(self, run=lambda x: 2 * x):
        self.run, self.made, self.runs = run, 0, 0

    def __call__(self, step, network):
        self.made += 1

        def compiled(given):
            self.runs += 1
            return self.run(*given)

        return compiled


def step(network, given):
    return network(given[0])


def numbers(*shape):
    return (torch.ones(shape),)


@pytest.fixture
def remembered(tmp_path):
    return Remembered(tmp_path / "cache" / "compiled.json")


@pytest.fixture
def info(caplog):
    """Everything the engine says."""
    caplog.set_level(logging.INFO, "coser_cli.engine")
    return caplog


def warnings_of(caplog):
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_the_first_step_is_checked_and_the_next_ones_are_compiled(remembered, info):
    network, stand = Network(), Stand()
    run = Compiled(CPU, remembered, compile_network=stand)
    assert not run.in_use
    for _ in range(4):
        assert torch.equal(run(step, network, numbers(1, 3)), 2 * torch.ones(1, 3))
    assert (network.runs, stand.made, stand.runs) == (2, 1, 5)  # each once more, for the time
    assert run.in_use
    first, second = (each.getMessage() for each in info.records)
    assert first == "compiling Network for latents 1 × 3"
    assert second.startswith("Network compiled in ") and "a call takes" in second


def test_what_was_measured_is_said_beforehand_in_the_next_run(remembered, info):
    for _ in range(2):
        Compiled(CPU, remembered, compile_network=Stand())(step, Network(), numbers(1, 3))
    told = [each.getMessage() for each in info.records]
    assert told[2] == f"{told[0]}; the last time: {told[1].removeprefix('Network ')}"
    other = Compiled(CPU, remembered, about=("other",), compile_network=Stand())
    other(step, Network(), numbers(1, 3))
    assert info.records[4].getMessage() == told[0]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (lambda x: 2.01 * x, "its result is not that of the networks as they are"),
        (lambda x: x * torch.nan, "its result is not that"),
        (lambda x: torch.ops.nothing.such(x), "AttributeError"),
        (lambda x: exec('raise RuntimeError("no g++\\nmore")'), "RuntimeError, no g++;"),
        (lambda x: exec("raise MemoryError()"), "the memory does not suffice"),
    ],
)
def test_what_is_wrong_or_fails_is_never_used_and_told_in_one_line(remembered, caplog, run, words):
    network, compiled = Network(), Compiled(CPU, remembered, compile_network=Stand(run))
    for size in (3, 3, 4):
        found = compiled(step, network, numbers(1, size))
        assert torch.equal(found, 2 * torch.ones(1, size))
    (line,) = warnings_of(caplog)
    assert line.startswith("compiling was given up: ") and words in line and "\n" not in line
    assert not compiled.in_use


def test_a_compiler_that_is_not_there_is_told_in_one_line(remembered, caplog):
    def absent(step, network):
        raise ImportError("no module named triton")

    compiled = Compiled(CPU, remembered, compile_network=absent)
    assert torch.equal(compiled(step, Network(), numbers(2)), 2 * torch.ones(2))
    assert warnings_of(caplog) == [
        "compiling was given up: ImportError, no module named triton; steps are computed without it"
    ]


def test_memory_that_does_not_suffice_later_is_the_callers(remembered, caplog):
    stand = Stand()
    compiled = Compiled(CPU, remembered, compile_network=stand)
    compiled(step, network := Network(), numbers(2))

    def hungry(x):
        raise torch.OutOfMemoryError("CUDA out of memory")

    stand.run = hungry
    with pytest.raises(torch.OutOfMemoryError):
        compiled(step, network, numbers(2))
    assert warnings_of(caplog) == []


def test_a_smaller_batch_of_what_is_compiled_stays_eager(remembered):
    network, stand = Network(), Stand()
    run = Compiled(CPU, remembered, compile_network=stand)
    run(step, network, numbers(4, 3))
    before = stand.runs
    for batch in (1, 3, 3):
        assert len(run(step, network, numbers(batch, 3))) == batch
    assert stand.runs == before
    run(step, network, numbers(6, 3))  # a larger one is compiled
    run(step, network, numbers(2, 5))  # and another size
    assert stand.runs == before + 4


def test_after_so_many_forms_no_more_are_compiled(remembered, info):
    stand = Stand()
    run = Compiled(CPU, remembered, compile_network=stand)
    network = Network()
    for size in range(1, MOST_FORMS + 4):
        run(step, network, numbers(1, size))
    assert stand.runs == 2 * MOST_FORMS
    limits = [each for each in info.records if "others are not compiled" in each.getMessage()]
    assert len(limits) == 1 and run.in_use


def test_what_is_not_finite_is_not_compared(remembered, caplog):
    stand = Stand()
    run = Compiled(CPU, remembered, compile_network=stand)
    run(step, Network(), (torch.full((2,), torch.inf),))
    assert stand.runs == 0 and not run.in_use and not caplog.records


def test_break_even_in_words():
    words = "compiled in 41 s: a call takes 0.21 s instead of 0.3 s, which pays from about"
    assert Measured(0.30, 0.21, 41).words == f"{words} 460 calls on"
    assert Measured(0.3, 0.3, 41).words.endswith(", which does not pay")
    assert Measured(2, 1, 5).break_even == 5


@pytest.mark.parametrize(
    "content",
    [
        b"\xff",
        b"[]",
        b'{"key": 3}',
        b'{"key": {"eager": 1}}',
        b'{"key": {"eager": "x", "compiled": 1, "compiling": 1}}',
        b'{"key": {"eager": 0, "compiled": 1, "compiling": 1}}',
    ],
)
def test_a_damaged_file_is_as_an_empty_one(tmp_path, content):
    file = tmp_path / "compiled.json"
    file.write_bytes(content)
    remembered = Remembered(file)
    assert remembered.get("key") is None
    remembered.put("key", Measured(3, 2, 1))
    assert Remembered(file).get("key") == Measured(3, 2, 1)


def test_a_cache_that_cannot_be_written_costs_nothing(tmp_path):
    (tmp_path / "cache").write_bytes(b"a file")
    remembered = Remembered(tmp_path / "cache" / "compiled.json")
    remembered.put("key", Measured(3, 2, 1))
    assert remembered.get("key") is None


def test_the_oldest_measurements_go_first(tmp_path):
    remembered = Remembered(tmp_path / "compiled.json")
    values = {"eager": 3, "compiled": 2, "compiling": 1}
    (tmp_path / "compiled.json").write_text(json.dumps({str(i): values for i in range(MOST)}))
    remembered.put("new", Measured(3, 2, 1))
    assert remembered.get("0") is None and remembered.get("1") and remembered.get("new")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"compile": True, "offload": "sequential"}, "offload sequential moves weights"),
        ({"compile": True, "offload": "model"}, "offload model moves weights"),
        ({"compile": True, "low_memory": True}, "low memory moves weights"),
        ({"cuda_graphs": True}, "CUDA graphs need a CUDA device, and this is cpu"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, words):
    with pytest.raises(UsageError, match=words):
        Upscaler.from_pretrained("mini", device="cpu", **fields)


@pytest.mark.parametrize(
    ("offload", "device", "lost"),
    [
        ("none", "cuda", ""),
        ("model", "cuda", "without --compile and --cuda-graphs: weights do not stay on cuda"),
        ("sequential", "cuda", "without --compile and --cuda-graphs: weights do not stay on cuda"),
        ("model", "cpu", "without --compile and --cuda-graphs: weights do not stay on cpu"),
    ],
)
def test_what_too_little_memory_takes_away_is_told(offload, device, lost):
    placement = Placement(torch.device(device), torch.float16, offload)
    assert Wanted(True, True).given_up(placement) == lost
    assert Wanted().given_up(placement) == ""


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


def test_weights_in_float32_are_compiled_anew_and_the_old_ones_go(tmp_path):
    upscaler = Upscaler.from_pretrained(
        save_toy(tmp_path), device="cpu", dtype="bfloat16", compile=True
    )
    first = upscaler.model.execute
    again = upscaler.in_float32()
    assert isinstance(again.model.execute, Execution) and again.model.execute is not first
    assert upscaler.model.execute is eagerly and not again.is_compiled


def traced(step, network):
    """Traced and guarded as for inductor, and then run as it is: without minutes of a compiler."""

    def call(given):
        return step(network, given)

    return torch.compile(call, backend="eager", dynamic=False)


STRONG = Settings(scale=2, steps=3, strength=1, reference_strength=1, seed=3)


def pixels_of(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize("make", [traced, inductor])
def test_compiled_pictures_are_those_without(make_toy, remembered, info, make):
    """Compiled for the passes of one size; further steps and pictures compile nothing."""
    plain, toy = make_toy().upscaler, make_toy().upscaler
    run = Compiled(CPU, remembered, compile_network=make)
    toy.model.execute = Execution(run)
    for pixels in (pixels_of(1, 3, 12, 16), 1 - pixels_of(1, 3, 12, 16)):
        found, wanted = (each.upscale(pixels, STRONG).pixels for each in (toy, plain))
        assert (found - wanted).norm() < 1e-3 * wanted.norm()
    assert run.in_use and not warnings_of(info)
    told = [each.getMessage() for each in info.records]
    names = ["UNet", "ControlNet", "UNet"]  # of the reference's pass, and of the result's
    assert [each.split(" compiled in ")[0] for each in told[1::2]] == names and len(told) == 6


@pytest.mark.slow
def test_tiles_that_do_not_fill_a_batch_stay_eager(make_toy, remembered, caplog, tmp_path):
    from coser_cli.engine.tiled.upscaler import TiledUpscaler
    from coser_cli.settings import TileSpec
    from coser_cli.tiling.canvas import Scratch, TensorMap
    from coser_cli.tiling.grid import Box

    made = []
    for compiled in (True, False):
        toy = make_toy().upscaler
        if compiled:
            run = Compiled(CPU, remembered, compile_network=traced)
            toy.model.execute = Execution(run)
        with Scratch(tmp_path) as scratch:
            tiled = TiledUpscaler(toy, TileSpec(tile_size=64, overlap=16), scratch, tile_batch=2)
            large = tiled.upscale(TensorMap(pixels_of(1, 3, 24, 70)), STRONG)
            made.append(large.pixels.read(Box(0, 0, 48, 140)).clone())
    assert sorted(run._forms.values()) == [False] * 3 + [True] * 3
    assert (made[0] - made[1]).norm() < 1e-3 * made[1].norm()
    assert not warnings_of(caplog)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["there", "gone"])
def test_the_command_tells_and_records_it(tmp_path, compiler):
    """One line where there is no compiler, and then the very picture that is made without."""
    from coser_cli.imageio.record import read_record

    folder, photo = save_toy(tmp_path / "toy"), tmp_path / "photo.png"
    from coser_cli.imageio.write import write_photo

    write_photo(photo, pixels_of(1, 3, 12, 16)[0].numpy(), None)
    lines = {}
    for name, more in {"plain": (), "fast": ("--compile",)}.items():
        command = [sys.executable, "-m", "coser_cli", "upscale", str(photo), "-s", "2"]
        command += ["--steps", "2", "--strength", "1", "--reference-mode", "none", *more]
        command += ["--model", str(folder), "--device", "cpu", "-o", str(tmp_path / f"{name}.png")]
        own = {"COSER_CACHE_DIR": str(tmp_path / "cache")}
        if compiler == "gone":
            own["CXX"] = str(tmp_path / "none")
        done = subprocess.run(
            command, env={**os.environ, **own}, capture_output=True, text=True, check=True
        )
        lines[name] = done.stderr.splitlines()
    told = [line for line in lines["fast"] if line not in lines["plain"]]
    record = read_record(tmp_path / "fast.png")
    if compiler == "gone":
        assert len(told) == 2 and told[1].startswith("compiling was given up: ")
        assert "compiled" not in record["compute"]
        assert (tmp_path / "fast.png").read_bytes() == (tmp_path / "plain.png").read_bytes()
    else:
        assert len(told) == 4 and "ControlNet compiled in " in told[1]
        assert record["compute"]["compiled"] is True
        assert {each.name for each in (tmp_path / "cache").iterdir()} == {
            "compiled.json",
            "inductor",
        }


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_bundled_model_compiled_on_a_gpu(caplog, dtype):
    settings = Settings(scale=2, steps=4, strength=0.5, reference_strength=1)
    how = {"device": "cuda", "dtype": dtype, "offload": "none"}
    found = Upscaler.from_pretrained("mini", **how, compile=True).upscale(
        pixels_of(1, 3, 64, 64), settings
    )
    wanted = Upscaler.from_pretrained("mini", **how).upscale(pixels_of(1, 3, 64, 64), settings)
    assert (found.pixels - wanted.pixels).abs().mean() < 1e-2
    assert not warnings_of(caplog)
