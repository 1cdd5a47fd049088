"""`python -m coser_cli` is `coser`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; Ctrl-C while it is still being imported is one line, as later."""
    try:
        from coser_cli.cli.app import main as run

        return run()
    except KeyboardInterrupt:
        print("coser: stopped before it began", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
