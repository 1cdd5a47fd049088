"""The options about how steps are run, from the command line to the engine and into records."""

import logging
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from coser_cli.batch.workers import processes
from coser_cli.batch.workers.processes import Loading
from coser_cli.cli import execute
from coser_cli.cli.options.compute import Compute
from coser_cli.cli.options.workers import Spread
from coser_cli.errors import Exit, UsageError


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--compile", "--low-memory"), "low memory moves weights"),
        (("--compile", "--offload", "sequential"), "offload sequential moves weights"),
        (("--cuda-graphs",), "CUDA graphs need a CUDA device, and this is cpu"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(coser, photo, flags, words):
    photo("a.png")
    ran = coser("upscale", "a.png", "--device", "cpu", *flags)
    assert ran.code == Exit.USAGE
    (line,) = ran.err.splitlines()
    assert words in line and all(f in line for f in flags if f.startswith("--"))


def test_a_record_of_a_compiled_run_repeats_it_compiled(plain, photo, monkeypatch):
    photo("a.png")
    assert plain("upscale", "a.png", "-s", 2, "-o", "plain.png").code == Exit.OK
    monkeypatch.setattr(type(execute.load_model()), "is_compiled", True)
    assert plain("upscale", "a.png", "-s", 2, "-o", "fast.png").code == Exit.OK
    (slow,), (fast,) = (plain("info", f"{n}.png", "--json").records for n in ("plain", "fast"))
    assert "--compile" in fast["command"] and "--compile" not in slow["command"]
    assert "compiled" not in slow["record"]["compute"]
    assert ", compiled" in plain("info", "fast.png").out


def test_compiled_results_are_not_made_again_without_it(plain, photo, monkeypatch):
    photo("a.png")
    with monkeypatch.context() as patched:
        patched.setattr(type(execute.load_model()), "is_compiled", True)
        plain("upscale", "a.png", "-s", 2, "-o", "b.png")
    ran = plain("upscale", "a.png", "-s", 2, "-o", "b.png", "--json")
    assert ran.records[0]["status"] == "skipped"


def test_workers_of_other_devices_are_told(tmp_path, monkeypatch):
    loadings = []

    def crew(found, work):
        loadings.extend(found)
        return nullcontext()

    monkeypatch.setattr(processes, "DeviceCrew", crew)
    from contextlib import ExitStack

    compute = Compute(compile=True, cuda_graphs=True, dtype="float32")
    reporter = SimpleNamespace(hint=lambda text: None)
    with ExitStack() as stack:
        execute._crew(stack, reporter, Spread(), ["cuda:0", "cuda:1"], 2, compute, "mini", None)
    assert loadings == [
        Loading("mini", device, "float32", compile=True, cuda_graphs=True)
        for device in ("cuda:0", "cuda:1")
    ]
    with pytest.raises(UsageError, match="low memory moves"):
        Loading("mini", "cpu", low_memory=True, compile=True)()


def test_what_the_engine_says_is_told_once(coser, photo):
    told = []
    reporter = SimpleNamespace(message=told.append)
    for _ in range(2):
        execute._listen(reporter)
    logging.getLogger("coser_cli.engine.compute.compiled").info("compiled in 3 s")
    assert told == ["compiled in 3 s"]
