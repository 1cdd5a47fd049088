"""A process that keeps one model loaded, and does shares of jobs of one client after another."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import TYPE_CHECKING

from coser_cli.batch.events import Advanced, Event
from coser_cli.batch.load import forward_log, load_model
from coser_cli.batch.pipeline import run_in_process
from coser_cli.batch.request import prepare
from coser_cli.batch.results import Result
from coser_cli.errors import CoserError
from coser_cli.server.context import adopt
from coser_cli.server.protocol import Run, Warned
from coser_cli.settings import Compute

if TYPE_CHECKING:
    from coser_cli.engine.upscaler import Upscaler


@dataclass(frozen=True)
class Share:
    """Some jobs of one client's run, with a number of its own."""

    number: int
    run: Run


@dataclass(frozen=True)
class Cancel:
    """Give up the share of this number, if it is not at its end already."""

    number: int


@dataclass(frozen=True)
class LoadedNote:
    """What a model that is loaded already would have said when it was loaded."""

    text: str


@dataclass(frozen=True)
class ShareEnded:
    """Nothing more comes of the share."""

    number: int


Sent = Event | LoadedNote | Result | CoserError | Warned | ShareEnded


class _Cancelled(KeyboardInterrupt):
    """Raised where the share in hand is given up: as Ctrl-C, which everything is prepared for."""


class _Model:
    """The model that was loaded last."""

    def __init__(self) -> None:
        self._key: tuple[Compute, tuple[str, ...]] | None = None
        self._upscaler: Upscaler | None = None
        self._is_frozen = False

    def get(
        self, run: Run, weights: tuple[str, ...], emit: Callable[[Event | LoadedNote], None]
    ) -> Upscaler:
        """The model, loaded where it is another, or its `weights` (their fingerprints) are."""
        compute = compute_of(run)
        if self._upscaler is None or self._key != (compute, weights):
            self.drop()
            self._upscaler = load_model(compute, emit)
            self._key = compute, weights
            return self._upscaler
        forward_log(emit)
        if self._upscaler.note:
            emit(LoadedNote(self._upscaler.note))
        return self._upscaler

    def drop(self) -> None:
        """Let its memory go."""
        self._upscaler = self._key = None
        self._is_frozen = False
        gc.unfreeze()
        gc.collect()

    def free_cache(self) -> None:
        """Give back what only the last pictures needed."""
        if self._upscaler is None:
            return
        from coser_cli.engine.compute.retry import free_cache

        free_cache(self._upscaler.device)
        if not self._is_frozen:
            # what stays, torch's modules and the networks, is not to be searched for garbage after
            # each share: that would take a fourth of the time of a small picture
            gc.freeze()
            self._is_frozen = True


class _WorkerLoop:
    """What the process does until the server closes the connection, or has died."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._shares: SimpleQueue[Share | None] = SimpleQueue()
        self._current: int | None = None
        self._cancelled: int | None = None
        self._model = _Model()

    def run(self) -> None:
        # a terminal's Ctrl-C comes to all processes, and means the server, not a share
        signal.signal(signal.SIGINT, self._interrupted)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # unwinds: leaves no part files
        warnings.simplefilter("always")  # each client is to see them
        warnings.showwarning = self._warned  # type: ignore[assignment]
        threading.Thread(target=self._listen, daemon=True).start()
        while (share := self._shares.get()) is not None:
            self._work_off(share)
            os.chdir("/")  # or the client's folder could not be unmounted
            self._send(ShareEnded(share.number))

    def _listen(self) -> None:
        while True:
            try:
                message: Share | Cancel = self._connection.recv()
            except (EOFError, OSError):  # the server has ended, or was killed
                os.kill(os.getpid(), signal.SIGTERM)
                self._shares.put(None)
                return
            if isinstance(message, Share):
                self._shares.put(message)
            else:
                self._cancelled = message.number
                main = threading.main_thread().ident
                assert main is not None
                signal.pthread_kill(main, signal.SIGINT)  # wakes it where it waits

    def _interrupted(self, *_: object) -> None:
        if self._current is not None and self._current == self._cancelled:
            self._current = None
            raise _Cancelled

    @contextmanager
    def _uninterrupted(self) -> Iterator[None]:
        """A share that is cancelled in this block is given up at its end.

        An import of torch that is broken off can neither be continued nor begun again.
        """
        current, self._current = self._current, None
        yield
        self._current = current
        if current == self._cancelled:
            self._current = None
            raise _Cancelled

    def _work_off(self, share: Share) -> None:
        try:
            self._current = share.number
            if share.number != self._cancelled:
                self._results(share)
            self._current = None
        except _Cancelled:  # networks may have been left on the way to or from the device
            self._model.drop()
        except CoserError as error:
            self._current = None
            self._send(error)
        self._model.free_cache()

    def _results(self, share: Share) -> None:
        run = share.run

        def emit(event: Event | LoadedNote) -> None:
            if run.progress or not isinstance(event, Advanced):
                self._send(event)

        def load() -> Upscaler:
            assert work.provenance is not None
            with self._uninterrupted():
                return self._model.get(run, work.provenance.fingerprints, emit)

        adopt(run.context)
        work = prepare(run.request)  # the client has reported what there is to report of it
        for count, result in enumerate(run_in_process(run.jobs, load, work, emit), 1):
            if count == len(run.jobs):  # the client may go now; nothing is left to give up
                self._current = None
            self._send(result)

    def _warned(
        self, message: Warning | str, category: type[Warning], file: str, line: int, *_: object
    ) -> None:
        self._send(Warned(category.__name__, str(message), file, line))

    def _send(
        self, message: Event | LoadedNote | Result | CoserError | Warned | ShareEnded
    ) -> None:
        with self._sending:
            try:
                self._connection.send(message)
            except OSError:  # the server is gone; `_listen` ends this process
                return


def compute_of(run: Run) -> Compute:
    """What a run asks for, with the folder of its model and its one device."""
    request = run.request
    device = request.devices[0] if request.devices else request.compute.device
    return replace(request.compute, model=run.folder, device=device)


def run_worker(connection: Connection) -> None:
    """The life of a worker process; see `processes.Member`."""
    _WorkerLoop(connection).run()
