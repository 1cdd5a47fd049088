"""`python -m coser_cli` is `coser`."""

from coser_cli.cli.app import main

if __name__ == "__main__":
    raise SystemExit(main())
