"""`python -m coser_cli` is `coser`."""

from __future__ import annotations

import gc
import sys

COLLECT_AFTER = 100_000
"""New objects after which the youngest are searched for garbage. Python's 700 make importing torch
take a tenth longer; where memory is short the engine searches all itself."""


def main() -> int:
    """Run `coser` and return its exit code, also where Ctrl-C comes before it is imported."""
    gc.set_threshold(COLLECT_AFTER)
    try:
        from coser_cli.cli.app import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("coser: interrupted\n")
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
