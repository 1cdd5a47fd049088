"""How a command ended."""

import json
from dataclasses import dataclass

from coser_cli.cli.app import main


@dataclass(frozen=True)
class Ran:
    """Exit code and streams."""

    code: int
    out: str
    err: str

    @property
    def records(self):
        """The JSON Lines of stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    def of(self, name):
        """The record with this name."""
        return next(each for each in self.records if each.get("name") == name)


def run_here(capsys, *args):
    """`coser ARGS` in this process."""
    capsys.readouterr()
    code = main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return Ran(code, captured.out, captured.err)
