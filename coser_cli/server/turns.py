"""Whose turn it is with something that one at a time may use: first come, first served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Condition

POLL_INTERVAL = 0.5
"""Seconds between two looks at whether who waits is still there."""


class Turns:
    """A queue. Who has had a turn and wants another waits behind all who wait already."""

    def __init__(self) -> None:
        self._condition = Condition()
        self._waiting: deque[object] = deque()
        self._taken = False

    @property
    def taken(self) -> bool:
        """Whether somebody has the turn."""
        return self._taken

    @contextmanager
    def turn(self, check: Callable[[], None]) -> Iterator[None]:
        """The turn, for the block. Meanwhile `check` is called again and again, and what it raises
        gives up the place in the queue.
        """
        ticket = object()
        with self._condition:
            self._waiting.append(ticket)
            try:
                while self._taken or self._waiting[0] is not ticket:
                    self._condition.wait(POLL_INTERVAL)
                    check()
                self._taken = True
            finally:
                self._waiting.remove(ticket)
                self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._taken = False
                self._condition.notify_all()
