"""The process that keeps a model."""

import time
from pathlib import Path

import pytest

from coser_cli.batch.events import Hint
from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Request
from coser_cli.server import pool as pool_module
from coser_cli.server.context import own_context
from coser_cli.server.pool import WarmMember
from coser_cli.server.protocol import Run
from coser_cli.settings import Compute, Settings


def test_the_model_stays_when_a_client_goes_with_its_last_result(place, weights):
    """A client that is given up at that moment has nothing more to drop."""
    folder = weights / "toy"
    (name,) = place.photos(1, (24, 20))
    source = place.folder / name
    request = Request(Settings(scale=2, strength=0), Compute(str(folder), "cpu"))
    events, member = [], WarmMember()
    try:
        for number in range(8):
            job = Job(source, Path(f"{source}.{number}.png"))
            run = Run((job,), request, str(folder), own_context(), False)
            member.begin([(0, job)], run, events.append)
            while not (outcomes := member.receive()):
                pass
            member.cancel()
            assert outcomes[0][1].status == "done", outcomes
    finally:
        member.end()
    loads = [each for each in events if isinstance(each, Hint) and "loading" in each.text]
    assert len(loads) == 1


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.1, 0.8, 2])
def test_a_client_that_goes_while_torch_is_imported(place, weights, monkeypatch, delay):
    """The same process can do the next client's picture; an import that breaks off cannot be
    repeated.
    """
    monkeypatch.setattr(pool_module, "END_TIMEOUT", 200)
    folder = weights / "toy"
    (name,) = place.photos(1, (24, 20))
    request = Request(Settings(scale=2, strength=0), Compute(str(folder), "cpu"))
    job = Job(place.folder / name, place.folder / "out.png")
    run = Run((job,), request, str(folder), own_context(), False)
    events, member = [], WarmMember()
    try:
        member.begin([(0, job)], run, events.append)
        while not any(isinstance(each, Hint) for each in events):  # it says that it loads
            member.receive()
        time.sleep(delay)
        member.cancel()
        process = member.process
        member.begin([(0, job)], run, events.append)
        while not (outcomes := member.receive()):
            pass
        assert outcomes[0][1].status in ("done", "skipped"), outcomes
        assert member.process is process
        assert job.target.exists()
    finally:
        member.end()
