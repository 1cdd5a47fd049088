"""Messages: each comes back as it was, and nothing else does."""

from pathlib import Path

import pytest

from coser_cli.batch.fit import Fit
from coser_cli.batch.jobs import Job
from coser_cli.batch.request import Request
from coser_cli.batch.results import Result
from coser_cli.errors import CoserError, DeviceError, InputError, UsageError, WeightsError
from coser_cli.imageio.encoding import Encoding
from coser_cli.server import protocol
from coser_cli.server.protocol import (
    Context,
    Finished,
    JobEnded,
    ProtocolError,
    Run,
    decode,
    encode,
    ended,
    error_of,
    failure_of,
    result_of,
)
from coser_cli.settings import Compute, Settings, TileSpec
from coser_cli.size import Size

JOB = Job(Path("a/\udcff.png"), Path("b.png"), (Path("c.png"),), "upscale", 2, Path("d.png"))
RUN = Run(
    (JOB, Job(Path("x"), Path("y"), kind="reference")),
    Request(
        Settings(scale=2.5, prompt="ü", guidance_interval=(0.2, 0.8), strength=0.5),
        Compute("mini", "cpu", low_memory=True),
        (Path("r.png"),),
        Fit(width=9),
        Encoding(quality=7, chroma="420"),
        TileSpec(max_memory=2**33, temp_dir=Path("/t")),
        batch_size=None,
        devices=("cuda:1",),
    ),
    "/models/mini",
    Context("/home", ((1, 2), (3, 4)), 0o022, {"A": "b"}, (0, 1)),
    True,
)
RESULT = Result(
    JOB,
    "failed",
    1.5,
    Size(4, 3),
    Size(8, 6),
    7,
    ("note",),
    (0.5, 0.25),
    1,
    InputError("no", "try"),
)


def test_a_run_comes_as_it_was_sent():
    assert decode(encode(RUN), Run) == RUN


def test_a_result_comes_as_it_was_sent():
    came = result_of(JOB, decode(encode(ended(3, RESULT)), JobEnded))
    assert (came.error.message, came.error.hint) == ("no", "try")
    assert type(came.error) is InputError
    names = "job", "status", "seconds", "source_size", "target_size", "seed", "notes"
    for name in names:
        assert getattr(came, name) == getattr(RESULT, name)
    assert (came.scores, came.chosen) == (RESULT.scores, RESULT.chosen)


@pytest.mark.parametrize("kind", [InputError, UsageError, WeightsError, DeviceError])
def test_errors_keep_their_exit_code(kind):
    came = error_of(failure_of(kind("what", "how")))
    assert type(came) is kind
    assert str(came) == "what; how"


def test_an_error_of_the_engine_becomes_its_nearest():
    class EngineError(DeviceError):
        """Known to the engine alone."""

    assert type(error_of(failure_of(EngineError("x")))) is DeviceError
    assert type(error_of(protocol.Failure("Unheard", "x", ""))) is CoserError
    assert type(error_of(protocol.Failure("shown", "x", ""))) is CoserError


@pytest.mark.parametrize(
    "line",
    [
        None,
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"type": 1}',
        b'{"type": "Unheard"}',
        b'{"type": "Run"}',
        b'{"type": "Finished", "more": 1}',
        b'{"type": "JobEnded", "job": "1"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused(line):
    with pytest.raises(ProtocolError):
        decode(line, Finished, JobEnded)


def test_values_that_cannot_be_are_refused():
    line = encode(RUN).replace(b'"scale": 2.5', b'"scale": -1.0')
    with pytest.raises(ProtocolError, match="scale"):
        decode(line, Run)


def test_a_message_that_was_not_expected_is_refused():
    with pytest.raises(ProtocolError, match="expected"):
        decode(encode(Finished()), JobEnded)


def test_no_message_holds_a_line_break():
    assert b"\n" not in encode(protocol.Message("note", "a\nb"))
