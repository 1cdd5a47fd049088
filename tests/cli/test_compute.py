"""The options about how steps are run, from the command line to the engine and into records."""

import logging
from pathlib import Path

import pytest

from coser_cli.batch import load
from coser_cli.batch.events import Note
from coser_cli.batch.jobs import Job
from coser_cli.batch.workers import processes
from coser_cli.batch.workers.run import run
from coser_cli.errors import Exit, UsageError
from coser_cli.settings import Compute
from tests.toy_work import toy_work


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--compile", "--low-memory"), "low memory moves weights"),
        (("--compile", "--offload", "sequential"), "offload sequential moves weights"),
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
    monkeypatch.setattr(type(load.load_model()), "is_compiled", True)
    assert plain("upscale", "a.png", "-s", 2, "-o", "fast.png").code == Exit.OK
    (slow,), (fast,) = (plain("info", f"{n}.png", "--json").records for n in ("plain", "fast"))
    assert "--compile" in fast["command"] and "--compile" not in slow["command"]
    assert "compiled" not in slow["record"]["compute"]
    assert ", compiled" in plain("info", "fast.png").out


def test_compiled_results_are_not_made_again_without_it(plain, photo, monkeypatch):
    photo("a.png")
    with monkeypatch.context() as patched:
        patched.setattr(type(load.load_model()), "is_compiled", True)
        plain("upscale", "a.png", "-s", 2, "-o", "b.png")
    ran = plain("upscale", "a.png", "-s", 2, "-o", "b.png", "--json")
    assert ran.records[0]["status"] == "skipped"


def test_processes_of_other_devices_get_the_same_options(tmp_path, monkeypatch):
    crews = []

    def crew(devices, work):
        crews.append((list(devices), work.request.compute))
        raise UsageError("far enough")

    monkeypatch.setattr(processes, "DeviceCrew", crew)
    compute = Compute("mini", dtype="float32", compile=True)
    work = toy_work(compute=compute, devices=("cuda:0", "cuda:1"))
    with pytest.raises(UsageError, match="far enough"):
        list(run([Job(Path("a.png"), Path("b.png")), Job(Path("c.png"), Path("d.png"))], work))
    assert crews == [(["cuda:0", "cuda:1"], compute)]
    with pytest.raises(UsageError, match="low memory moves"):
        load.load_model(Compute("mini", "cpu", low_memory=True, compile=True))


def test_what_the_engine_logs_is_reported_once(weights, monkeypatch):
    events = []
    for _ in range(2):
        load.load_model(Compute(str(weights / "toy"), "cpu"), events.append)
    events.clear()
    logging.getLogger("coser_cli.engine.compute.compiled").info("compiled in 3 s")
    assert events == [Note("compiled in 3 s")]
