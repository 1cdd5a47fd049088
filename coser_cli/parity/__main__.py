"""`python -m coser_cli.parity DIR`: compare this implementation with golden numbers.

Prints one line per case on stdout; the exit code is 1 if any fails, 2 if DIR holds none.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch

from coser_cli.errors import Exit, UsageError
from coser_cli.parity.load import Case, GoldenSet, uncovered
from coser_cli.parity.modules import MODULES, module_cases
from coser_cli.parity.runs import run_cases

COLUMNS = "{:<52} {:>10} {:>12}  {}"


def collect(golden: GoldenSet) -> list[Case]:
    """All cases of a set; a stored output that nothing compared is a failed case.

    What raises is reported on stderr with its traceback, and its outputs fail.
    """
    cases: list[Case] = []
    for name in golden.names:
        if name in MODULES:
            cases += _attempt(name, partial(module_cases, golden, name))
    cases += _attempt("runs", partial(run_cases, golden))
    return cases + uncovered(golden, cases)


def _attempt(what: str, cases: Callable[[], Iterable[Case]]) -> list[Case]:
    done: list[Case] = []
    try:
        done.extend(cases())
    except Exception:  # any failure of the code under test is a failed case, not the end
        print(f"{what}:", traceback.format_exc(), sep="\n", file=sys.stderr)
    return done


def report(cases: list[Case]) -> None:
    """The table, and a last line with the count."""
    print(COLUMNS.format("case", "max abs", "relative L2", "verdict"))
    for case in sorted(cases, key=lambda case: case.name):
        verdict = "ok" if case.passed else "FAILED"
        print(COLUMNS.format(case.name, f"{case.worst:.2e}", f"{case.error:.2e}", verdict))
    failures = sum(not case.passed for case in cases)
    print(f"{len(cases)} cases, {failures} failed")


def main(arguments: list[str] | None = None) -> Exit:
    """Run from the command line; `arguments` default to those of the process."""
    parser = argparse.ArgumentParser(prog="python -m coser_cli.parity", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="pairs of .safetensors and .json")
    folder = parser.parse_args(arguments).folder
    torch.manual_seed(0)
    try:
        cases = collect(GoldenSet(folder))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return Exit.USAGE
    report(cases)
    return Exit.OK if all(case.passed for case in cases) else Exit.FAILED


if __name__ == "__main__":
    sys.exit(main())
