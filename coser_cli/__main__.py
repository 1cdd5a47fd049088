"""`python -m coser_cli` is `coser`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run `coser` and return its exit code, also where Ctrl-C comes before it is imported."""
    try:
        from coser_cli.cli.app import main as run

        return run()
    except KeyboardInterrupt:
        sys.stderr.write("coser: interrupted\n")
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
