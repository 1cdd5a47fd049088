"""`coser serve`: a process that keeps models loaded for this user's other commands."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from coser_cli.cli.options import common as options
from coser_cli.cli.options.command import Command, Group
from coser_cli.cli.options.declare import option
from coser_cli.cli.options.groups import with_groups
from coser_cli.cli.options.tiling import parse_bytes
from coser_cli.errors import Exit, UsageError, shown

if TYPE_CHECKING:
    from coser_cli.server.daemon import Limits
    from coser_cli.server.protocol import LoadedModel, State

SERVE_VERSION = 1
"""Of the object of `coser serve status --json`."""
MAX_MODELS = 64
_SECONDS = {"s": 1, "m": 60, "h": 3600}

serve = typer.Typer(name="serve", cls=Group)


@serve.callback()
def root() -> None:
    """Keep models loaded between commands: upscale, tile and reference then start at once."""


def parse_seconds(text: str) -> float | None:
    """A time like `90s`, `10m` or `2h` in seconds; None for `never`. Raises `UsageError`."""
    if text == "never":
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.lower())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{text!r} is no time", "write it like 90s, 10m or 2h, or never")
    return float(match[1]) * _SECONDS[match[2]]


@dataclass(frozen=True)
class Keeping:
    """The values of the options about what is kept, and for how long."""

    idle_timeout: Annotated[
        str,
        option(
            "End, and free the memory, after this time without pictures: 90s, 10m, 2h.",
            metavar="TIME|never",
            envvar="COSER_SERVE_IDLE_TIMEOUT",
        ),
    ] = "10m"
    max_models: Annotated[
        int,
        option(
            "Keep at most so many models loaded, each in a process of its own. For another, "
            "the one that was not used for longest ends; while all are in use, commands work by "
            "themselves.",
            min=1,
            max=MAX_MODELS,
            envvar="COSER_SERVE_MAX_MODELS",
        ),
    ] = 2
    max_memory: Annotated[
        str | None,
        option(
            "Keep no more idle models than fit into this much memory of this machine, as in 8GiB.",
            metavar="AMOUNT",
            envvar="COSER_SERVE_MAX_MEMORY",
        ),
    ] = None

    @property
    def limits(self) -> Limits:
        """As the server wants them. Raises `UsageError`."""
        from coser_cli.server.daemon import Limits

        memory = None if self.max_memory is None else parse_bytes(self.max_memory)
        return Limits(parse_seconds(self.idle_timeout), self.max_models, memory)

    @property
    def words(self) -> list[str]:
        memory = [] if self.max_memory is None else ["--max-memory", self.max_memory]
        words = ["--idle-timeout", self.idle_timeout, "--max-models", str(self.max_models)]
        return [*words, *memory]


@serve.command(cls=Command)
@with_groups
def start(keeping: Keeping) -> None:
    """Start a server in the background; nothing happens where one runs already."""
    from coser_cli.server import background
    from coser_cli.server.client import Connection, NoServerError
    from coser_cli.server.endpoint import find_endpoint

    _ = keeping.limits
    endpoint = find_endpoint()
    try:
        with Connection(endpoint) as connection:
            typer.echo(f"process {connection.welcome.process} serves already", err=True)
            if not connection.is_ours:
                version = connection.welcome.version
                typer.echo(
                    f"coser: it is of another installation (version {version}); coser serve stop "
                    "ends it",
                    err=True,
                )
                raise typer.Exit(Exit.FAILED)
            return
    except NoServerError:
        pass
    background.start(endpoint, keeping.words)
    with Connection(endpoint) as connection:
        process = connection.welcome.process
    typer.echo(f"process {process} serves at {shown(endpoint.socket)}", err=True)


@serve.command(cls=Command)
def stop() -> None:
    """End the server; commands that it serves go on by themselves."""
    from coser_cli.server.client import Connection, NoServerError
    from coser_cli.server.endpoint import await_end, find_endpoint
    from coser_cli.server.protocol import Stop, Stopping

    endpoint = find_endpoint()
    try:
        with Connection(endpoint) as connection:
            process = connection.ask(Stop(), Stopping).process
    except NoServerError:
        typer.echo("no server runs", err=True)
        return
    await_end(endpoint)
    typer.echo(f"process {process} has ended", err=True)


@serve.command(cls=Command)
def status(as_json: options.Json = False) -> None:
    """Show whether a server runs, what it keeps, and how much memory that takes.

    Ends with 1 where none runs.
    """
    from coser_cli.server.client import Connection, NoServerError
    from coser_cli.server.endpoint import find_endpoint
    from coser_cli.server.protocol import AskState, State

    endpoint = find_endpoint()
    try:
        with Connection(endpoint) as connection:
            state = connection.ask(AskState(), State)
    except NoServerError:
        if as_json:
            typer.echo(json.dumps(_record(None)))
        else:
            typer.echo("no server runs", err=True)
        raise typer.Exit(Exit.FAILED) from None
    typer.echo(json.dumps(_record(state)) if as_json else "\n".join(_lines(state)))


@serve.command(cls=Command)
@with_groups
def run(keeping: Keeping) -> None:
    """Serve in the foreground, for systemd or launchd: until Ctrl-C, SIGTERM or the timeout."""
    from coser_cli.server.daemon import Server
    from coser_cli.server.endpoint import find_endpoint

    Server(find_endpoint(), keeping.limits, _log).serve()


def _log(text: str) -> None:
    moment = datetime.now().astimezone().isoformat(timespec="seconds")
    with suppress(OSError):  # a full disk stops no server
        typer.echo(f"{moment} {text}", err=True)


def _record(state: State | None) -> dict[str, object]:
    known = {"models": []} if state is None else asdict(state)
    return {"type": "serve", "version": SERVE_VERSION, "running": state is not None} | {
        ("coser" if name == "version" else name): value for name, value in known.items()
    }


def _lines(state: State) -> list[str]:
    idle = "never" if state.idle_timeout is None else f"{state.idle_timeout:g} s"
    return [
        f"process {state.process} of coser {state.version} runs for {state.running:.0f} s and has "
        f"done {state.jobs} pictures",
        f"ends after {idle} without pictures; keeps {state.max_models} models at most; holds "
        f"{state.memory / 2**20:.0f} MiB",
        *map(_model_line, state.models),
    ]


def _model_line(model: LoadedModel) -> str:
    use = f"in use by {model.runs}" if model.runs else "idle"
    return f"  {shown(model.model)} on {model.device}: {model.memory / 2**20:.0f} MiB, {use}"
