"""Counts what people chose in a preference study (`coser evaluate study`)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from coser_cli.errors import UsageError, reading, shown
from coser_cli.evaluation.bootstrap import Interval, share_interval

TYPE, VERSION = "coser-study", 1
_CHOICES = ("left", "right", "equal")


@dataclass(frozen=True)
class Session:
    """What one participant chose: (picture, preferred method or None, the two methods sorted)."""

    study: str
    session: str
    participant: str
    votes: tuple[tuple[str, str | None, tuple[str, str]], ...]


@dataclass(frozen=True)
class Tally:
    """Votes between two methods. `share` of the first among the decided ones, with Wilson's 95 %
    interval, which takes votes as independent of each other; None where nobody decided.
    """

    first: str
    second: str
    wins: int
    losses: int
    equal: int
    share: float | None
    interval: Interval | None


def read_sessions(files: Sequence[Path]) -> list[Session]:
    """The sessions of exported files; one that is there twice counts once, the longer one.

    Raises `UsageError` for a file that is none, and for answers to different studies.
    """
    sessions: dict[str, Session] = {}
    for file in files:
        session = _read(file)
        first = next(iter(sessions.values()), session)
        if session.study != first.study:
            raise UsageError(
                f"{shown(file)} belongs to another study than the files before it",
                "count each study by itself",
            )
        known = sessions.get(session.session)
        if known is None or len(known.votes) < len(session.votes):
            sessions[session.session] = session
    return list(sessions.values())


def tally(sessions: Sequence[Session]) -> list[Tally]:
    """Votes between every two methods, by name."""
    votes = [vote for session in sessions for vote in session.votes]
    methods = sorted({method for _, _, pair in votes for method in pair})
    tallies = []
    for pair in combinations(methods, 2):
        counts = Counter(preferred for _, preferred, both in votes if both == pair)
        wins, losses = counts[pair[0]], counts[pair[1]]
        if not counts:
            continue
        decided = wins + losses
        share = wins / decided if decided else None
        interval = share_interval(wins, decided)
        tallies.append(Tally(*pair, wins, losses, counts[None], share, interval))
    return tallies


def _read(file: Path) -> Session:
    try:
        with reading(file, UsageError, "check its name"):
            data = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise _no_export(file) from None
    if not isinstance(data, dict) or (data.get("type"), data.get("version")) != (TYPE, VERSION):
        raise _no_export(file)
    try:
        votes = tuple(_vote(each) for each in data["choices"])
        return Session(str(data["study"]), str(data["session"]), str(data["participant"]), votes)
    except (KeyError, TypeError, ValueError):
        raise _no_export(file) from None


def _vote(choice: Any) -> tuple[str, str | None, tuple[str, str]]:
    sides = {side: str(choice[side]) for side in ("left", "right")}
    if choice["choice"] not in _CHOICES or sides["left"] == sides["right"]:
        raise ValueError(choice)
    first, second = sorted(sides.values())
    return str(choice["picture"]), sides.get(choice["choice"]), (first, second)


def _no_export(file: Path) -> UsageError:
    return UsageError(
        f"{shown(file)} has no choices of a study", "give files that the study's page has saved"
    )
