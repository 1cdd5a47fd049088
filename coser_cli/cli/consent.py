"""Licences and trust: what the user must say before files are fetched."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from coser_cli.cli.output.weights import license_lines, size_text
from coser_cli.errors import UsageError, shown

if TYPE_CHECKING:
    from coser_cli.cli.output.weights import WeightsReporter
    from coser_cli.weights.install.discover import Match
    from coser_cli.weights.install.inventory import Inventory
    from coser_cli.weights.install.plan import Plan
    from coser_cli.weights.manifest import License, Manifest


class Consent:
    """What has been accepted by flags, and at prompts where someone sits at a terminal."""

    def __init__(self, manifest: Manifest, accepted: Sequence[str], *, trust: bool) -> None:
        """Raises UsageError for a licence that the manifest does not have."""
        for name in accepted:
            if name not in manifest.licenses:
                known = ", ".join(manifest.licenses)
                raise UsageError(f"there is no licence {name!r}", f"known are {known}")
        self._manifest = manifest
        self._accepted = set(accepted)
        self._refused: set[str] = set()
        self._trust = trust
        self._asks = is_interactive()

    def reduce(self, plan: Plan, inventory: Inventory) -> tuple[Plan, list[str]]:
        """The plan without optional files whose licences are not accepted, and their ids.

        Raises UsageError, naming the flags, where anything else is not accepted.
        """
        required = [name for name in plan.fetch if name not in plan.optional]
        optional = [name for name in plan.fetch if name in plan.optional]
        self.require(required, inventory, optional)
        left_out = [name for name in optional if self._open([name])]
        self.require([name for name in optional if name not in left_out], inventory)
        return plan.without(left_out), left_out

    def require(
        self, names: Sequence[str], inventory: Inventory, optional: Sequence[str] = ()
    ) -> None:
        """Raise UsageError, naming the flags, unless these files may be fetched; it also names
        those for the `optional` files.
        """
        missing = self._open(names)
        unknown = [name for name in names if inventory.known_hash(name) is None]
        trusted = self._trust or not unknown or (not missing and self._asks_to_trust(unknown))
        if not missing and trusted:
            return
        problems = []
        flags = [f"--accept-license {each.id}" for each in missing]
        if missing:
            listed = "; ".join(f"{each.id} ({each.name}, {each.url})" for each in missing)
            problems.append(f"licences not accepted: {listed}")
        if not trusted:
            flags.append("--trust-first-use")
            problems.append(
                f"no hash is published for {', '.join(unknown)}: what arrives first is taken for "
                "the file, and later ones must equal it"
            )
        hint = f"if you agree, add {' '.join(flags)}"
        more = [each for each in self._manifest.licenses_of(optional) if each not in missing]
        more = [each for each in more if each.id not in self._accepted]
        if more:
            also = " ".join(f"--accept-license {each.id}" for each in more)
            uses = "; ".join(f"commercial use: {each.commercial}" for each in more)
            hint += f"; for {', '.join(optional)}, which can be left out, also {also} ({uses})"
        raise UsageError("; ".join(problems), hint)

    def _open(self, names: Sequence[str]) -> list[License]:
        """Licences of these files that are not accepted, after asking where that can be done."""
        licenses = self._manifest.licenses_of(names)
        for each in licenses:
            answered = each.id in self._accepted | self._refused
            if self._asks and not answered:
                typer.echo("\n".join(license_lines([each])), err=True)
                agreed = typer.confirm(f"Accept {each.id}?", default=False, err=True)
                (self._accepted if agreed else self._refused).add(each.id)
        return [each for each in licenses if each.id not in self._accepted]

    def _asks_to_trust(self, names: Sequence[str]) -> bool:
        """Accepting at a prompt covers files without a published hash, once that was said."""
        if not self._asks:
            return False
        text = f"No hash is published for {', '.join(names)}. Take what arrives first for it?"
        self._trust = typer.confirm(text, default=False, err=True)
        return self._trust


def is_interactive() -> bool:
    """Whether someone can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def confirm_matches(
    reporter: WeightsReporter, matches: Mapping[str, Match], *, asking: bool
) -> None:
    """Say what files are by their content, and ask where that has to be confirmed.

    Raises UsageError where nobody says yes.
    """
    for name, match in matches.items():
        size = size_text(match.path.stat().st_size)
        what = f"{shown(match.path)} ({size}) is {match.description}"
        reporter.message(f"{what}; it can be imported as {name}")
    if not matches or not asking:
        return
    if is_interactive():
        if typer.confirm(f"Import {', '.join(matches)} so?", default=False, err=True):
            return
        raise UsageError("nothing was imported", "name each file: --import FILE --as ID")
    listed = ", ".join(f"{shown(match.path)} as {name}" for name, match in matches.items())
    raise UsageError(
        f"known by their content only: {listed}",
        "if that is right, add --yes, or name each file: --import FILE --as ID",
    )
