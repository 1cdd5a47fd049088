"""A plan carried out: imported, fetched, installed; each thing that ends is reported.

torch is imported when something is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from coser_cli.errors import CoserError, WeightsError
from coser_cli.weights.fetch.download import Download, Listener
from coser_cli.weights.fetch.hosts import Hosts, Patience
from coser_cli.weights.install.contents import require_contents
from coser_cli.weights.install.inventory import Inventory, State
from coser_cli.weights.install.local_files import import_file
from coser_cli.weights.install.plan import FACTORS, Plan, can_extend, is_complete, is_converted
from coser_cli.weights.manifest import Variant

if TYPE_CHECKING:
    from coser_cli.weights.install.steps import Inputs


@dataclass(frozen=True)
class Outcome:
    """How it ended for a file ("present", "downloaded", "imported", "failed") or a model
    ("present", "installed", "incomplete", "failed"); `missing` are ids that a model still needs.
    """

    kind: str
    name: str
    status: str
    path: Path
    size: int | None = None
    sha256: str | None = None
    url: str | None = None
    missing: tuple[str, ...] = ()
    error: CoserError | None = None


@dataclass(frozen=True)
class Callbacks:
    """What an installation calls: with a line of text; `progress(label, bytes, total or None)`;
    `consent(ids)` raises UsageError if files may not be fetched.
    """

    say: Callable[[str], None]
    progress: Callable[[str, int, int | None], None]
    consent: Callable[[Sequence[str]], None]


class Installer:
    """Brings files into a weights folder that is locked meanwhile."""

    def __init__(
        self,
        inventory: Inventory,
        hosts: Hosts,
        patience: Patience,
        callbacks: Callbacks,
        *,
        dtype: str,
        offline: bool,
        keep_originals: bool,
        strict: bool = False,
    ) -> None:
        self._inventory = inventory
        self._hosts = hosts
        self._patience = patience
        self._callbacks = callbacks
        self._dtype = dtype
        self._offline = offline
        self._keep = keep_originals
        self._strict = strict
        self._used: dict[str, None] = {}  # files that have been converted
        self._failed: set[str] = set()
        self._unfinished: list[Variant] = []

    def work(self, plan: Plan, imports: Sequence[tuple[str, Path]]) -> Iterator[Outcome]:
        """Everything, in order. A file that fails does not stop the others."""
        for name, path in imports:
            yield self._guarded(name, partial(self._import, name, path))
        imported = {name for name, _ in imports}
        for name in plan.there:
            if name not in imported:
                yield self._guarded(name, partial(self._file_outcome, name, "present"))
        for name in plan.fetch:
            yield self._guarded(name, partial(self._fetch, name))
        yield from self._install_all(plan, imports)
        if not self._keep and self._used:
            from coser_cli.weights.install.steps import drop_originals

            drop_originals(
                self._inventory, [name for name in self._used if not self._is_still_needed(name)]
            )

    def _guarded(self, name: str, act: Callable[[], Outcome]) -> Outcome:
        try:
            return act()
        except WeightsError as error:
            self._failed.add(name)
            return Outcome("file", name, "failed", self._inventory.path(name), error=error)

    def _import(self, name: str, path: Path) -> Outcome:
        transient = is_converted(self._inventory.manifest, name) and not self._keep
        import_file(self._inventory, name, path, self._counter(f"importing {name}"), link=transient)
        return self._file_outcome(name, "imported")

    def _fetch(self, name: str) -> Outcome:
        inventory = self._inventory
        factor = FACTORS[self._dtype] if is_converted(inventory.manifest, name) else 0.0
        count = self._callbacks.progress
        known = inventory.known_hash(name)
        fetched = Download(
            inventory.file(name),
            inventory.path(name),
            self._hosts,
            self._patience,
            sha256=known,
            room=lambda total: int(total * factor),
            inspect=lambda path: require_contents(inventory, name, path, readable=False),
            listener=Listener(lambda done, total: count(name, done, total), self._callbacks.say),
        ).run()
        inventory.record(name, fetched.sha256, fetched.url)
        if known is None:
            self._callbacks.say(f"{name}: no published hash; from now on held to {fetched.sha256}")
        return self._file_outcome(name, "downloaded")

    def _file_outcome(self, name: str, status: str) -> Outcome:
        """A file is at its place, or part of an installed model."""
        inventory = self._inventory
        path = inventory.path(name)
        if not path.exists():
            path = next((p for p in self._folders_of(name)), path)
        record = inventory.records.files.get(name)
        facts = (record.size, record.sha256, record.url) if record else ()
        return Outcome("file", name, status, path, *facts)

    def _folders_of(self, name: str) -> Iterator[Path]:
        """Folders of installed models that the file is part of."""
        for variant in self._inventory.manifest.variants.values():
            if self._inventory.is_in(name, variant):
                yield self._inventory.folder(variant)

    def _install_all(self, plan: Plan, imports: Sequence[tuple[str, Path]]) -> Iterator[Outcome]:
        chosen = [*plan.variants, *plan.complete]
        touched = {*plan.there, *plan.fetch, *(name for name, _ in imports)}
        for variant in plan.complete:
            yield self._model(variant, "present")
        for variant in plan.variants:
            for outcome in self._install(variant, fetch=True):
                yield outcome
                if outcome.kind == "model" and outcome.status in ("incomplete", "failed"):
                    self._unfinished.append(variant)
        notes = []
        for variant in self._inventory.manifest.variants.values():
            if variant not in chosen and self._has_new_files_for(variant, touched):
                [possible] = self._install(variant, fetch=False)
                if possible.status == "incomplete":
                    notes.append(possible)
                else:
                    chosen.append(variant)
                    yield possible
        if not chosen:
            yield from notes

    def _has_new_files_for(self, variant: Variant, touched: Iterable[str]) -> bool:
        """Whether any of these files has just become available for a variant."""
        own = {*variant.files, *variant.fallback, variant.base}
        own |= {each for name in own if name for each in self._inventory.file(name).alternatives}
        own = {each for name in own if name for each in (name, *self._inventory.file(name).parts)}
        touched_own = [name for name in touched if name in own]
        return any(
            self._inventory.state(name) is State.VERIFIED for name in touched_own
        ) and not is_complete(self._inventory, variant, touched_own)

    def _is_still_needed(self, name: str) -> bool:
        """Whether a chosen variant that could not be installed yet needs this file again."""
        return any(name in (*each.files, *each.fallback, each.base) for each in self._unfinished)

    def _install(self, variant: Variant, *, fetch: bool) -> Iterator[Outcome]:
        """Install a variant from what is there, and what is missing is fetched before, if wanted;
        the last outcome is the model's.
        """
        from coser_cli.weights.install import steps

        try:
            if can_extend(self._inventory, variant):
                yield self._extended(variant)
                return
            ready = steps.gather(self._inventory, variant, strict=self._strict)
            while ready.missing:
                missing = self._inventory.single(ready.missing)
                if not fetch or not self._failed.isdisjoint(missing):  # which has been reported
                    yield self._model(variant, "incomplete", ready.missing)
                    return
                if self._offline:
                    yield self._model(variant, "failed", ready.missing, _incomplete(variant, ready))
                    return
                self._callbacks.say(f"{variant.name} also needs {', '.join(missing)}")
                self._callbacks.consent(missing)
                for name in missing:
                    outcome = self._guarded(name, partial(self._fetch, name))
                    yield outcome
                    if outcome.error is not None:
                        yield self._model(variant, "incomplete", (name,))
                        return
                ready = steps.gather(self._inventory, variant, strict=self._strict)
            yield self._installed(variant, ready)
        except WeightsError as error:
            yield self._model(variant, "failed", error=error)

    def _installed(self, variant: Variant, ready: Inputs) -> Outcome:
        from coser_cli.weights.install.model import install_model

        self._callbacks.say(f"converting and installing {variant.name}")
        install_model(
            variant,
            ready.origins,
            self._inventory.root,
            self._dtype,
            self._parts(variant),
            strict=self._strict,
            on_warning=self._callbacks.say,
        )
        self._used |= dict.fromkeys(ready.used)
        return self._model(variant, "installed")

    def _extended(self, variant: Variant) -> Outcome:
        from coser_cli.weights.install import steps

        used = steps.extend(
            self._inventory, variant, self._parts(variant), self._callbacks.say, strict=self._strict
        )
        self._used |= dict.fromkeys(used)
        return self._model(variant, "installed" if used else "present")

    def _model(
        self,
        variant: Variant,
        status: str,
        missing: tuple[str, ...] = (),
        error: CoserError | None = None,
    ) -> Outcome:
        folder = self._inventory.folder(variant)
        return Outcome("model", variant.name, status, folder, missing=missing, error=error)

    def _counter(self, label: str) -> Callable[[int, int], None]:
        return lambda done, total: self._callbacks.progress(label, done, total)

    def _parts(self, variant: Variant) -> Callable[[str, int, int], None]:
        return lambda part, done, total: self._callbacks.progress(
            f"{variant.name}: {part}", done, total
        )


def _incomplete(variant: Variant, ready: Inputs) -> WeightsError:
    return WeightsError(
        f"{variant.name} cannot be installed: {', '.join(ready.missing)} is not there",
        "give it with --import FILE --as ID, or fetch it: "
        f"coser download-weights {' '.join(ready.missing)}",
    )


def require_network(plan: Plan, *, offline: bool) -> None:
    """Raise WeightsError if something must be fetched and may not."""
    if offline and plan.fetch:
        raise WeightsError(
            f"offline, and not there: {', '.join(plan.fetch)}",
            "allow the network, or give the files with --import FILE --as ID or --from-dir DIR",
        )
