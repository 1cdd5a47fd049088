"""What is to be done for a choice of sets and files: what is there, what must be fetched."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from coser_cli.errors import UsageError, WeightsError, shown
from coser_cli.weights.install.inventory import Inventory, State
from coser_cli.weights.manifest import Manifest, Variant

DEFAULT_SET = "default"
FACTORS = {"float32": 1.0, "float16": 0.5}
"""Bytes of a converted file per byte of a published one, which are float32 mostly."""


@dataclass(frozen=True)
class Choice:
    """Single files, variants to be installed, and files that may be left out of these."""

    files: tuple[str, ...]
    variants: tuple[Variant, ...] = ()
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """Of the chosen files: those that are there, those to fetch; of the chosen variants: those to
    be installed, those that are.
    """

    there: tuple[str, ...]
    fetch: tuple[str, ...]
    variants: tuple[Variant, ...]
    complete: tuple[Variant, ...]
    optional: frozenset[str]

    def without(self, names: Iterable[str]) -> Plan:
        """The same, leaving files out."""
        left_out = set(names)
        return replace(self, fetch=tuple(name for name in self.fetch if name not in left_out))


def choose(manifest: Manifest, names: Sequence[str]) -> Choice:
    """What sets, models and files of these names mean; none: the set `default`; a model: its set.

    Raises UsageError.
    """
    models = {each.variant: each for each in manifest.sets.values() if each.variant}
    sets = {**models, **manifest.sets}
    files: list[str] = []
    variants: list[Variant] = []
    optional: set[str] = set()
    explicit: set[str] = set()
    for name in names or [DEFAULT_SET]:
        if name in sets:
            chosen = sets[name]
            files += chosen.files
            if chosen.variant is not None:
                variants.append(manifest.variants[chosen.variant])
                optional.update(variants[-1].optional)
        elif name in manifest.files:
            files.append(name)
            explicit.add(name)
        else:
            if name in manifest.variants and manifest.variants[name].bundled:
                raise UsageError(
                    f"the model {name!r} comes with coser", "there is nothing to fetch"
                )
            known = ", ".join([*sets, *manifest.files])
            raise UsageError(f"there is no set, model or file {name!r}", f"known are {known}")
    single = [each for name in files for each in (manifest.files[name].parts or (name,))]
    return Choice(tuple(dict.fromkeys(single)), tuple(variants), frozenset(optional - explicit))


def make_plan(
    inventory: Inventory,
    choice: Choice,
    *,
    coming: Iterable[str] = (),
    check: Callable[[str], bool] | None = None,
) -> Plan:
    """Compare a choice with what is there; `coming` files are about to be imported.

    `check` hashes a file that is there unverified and says whether it is right; without it such a
    file is taken to be right.
    """
    there: dict[str, None] = {}
    fetch: dict[str, None] = {}
    variants = [each for each in choice.variants if not is_complete(inventory, each, choice.files)]
    needed = [name for name in choice.files if _is_needed(inventory, name, choice, variants)]
    for name in choice.files:
        state = inventory.state(name)
        if state is State.UNVERIFIED and check is not None:
            state = State.VERIFIED if check(name) else State.ABSENT
        at_hand = state in (State.VERIFIED, State.UNVERIFIED, State.INSTALLED) or name in coming
        (there if at_hand or name not in needed else fetch)[name] = None
    complete = tuple(each for each in choice.variants if each not in variants)
    return Plan(tuple(there), tuple(fetch), tuple(variants), complete, choice.optional)


def is_complete(inventory: Inventory, variant: Variant, names: Iterable[str]) -> bool:
    """Whether a variant is installed with all of these files that it is made of."""
    parts = {*variant.files, variant.base}
    own = [name for name in names if name in parts]
    return bool(own) and all(inventory.is_in(name, variant) for name in own)


def can_extend(inventory: Inventory, variant: Variant) -> bool:
    """Whether the installed model lacks optional files at most, which can be added to it."""
    required = [name for name in variant.files if name not in variant.optional]
    required += [variant.base] if variant.base else []
    return bool(required) and all(inventory.is_in(name, variant) for name in required)


def with_models_of(inventory: Inventory, plan: Plan, coming: Collection[str]) -> Plan:
    """The plan with models that can be installed once these files have been imported, as far as
    ids tell: for what is said beforehand, for nothing is fetched for such a model.
    """
    models = list(plan.variants)
    for variant in inventory.manifest.variants.values():
        own = [name for name in (*variant.files, variant.base) if name]
        at_hand = {
            name
            for name in own
            if name in coming or inventory.state(name, variant) in (State.VERIFIED, State.INSTALLED)
        }
        is_new = any(name in coming and not inventory.is_in(name, variant) for name in own)
        required = {name for name in own if name not in variant.optional}
        if is_new and at_hand >= required and variant not in models:
            models.append(variant)
    return replace(plan, variants=tuple(models))


def _is_needed(
    inventory: Inventory, name: str, choice: Choice, variants: Iterable[Variant]
) -> bool:
    """Whether a file is missing for a variant that is yet to be installed, or for itself."""
    users = [each for each in choice.variants if name in (*each.files, each.base)]
    if not users:
        return True
    unfinished = [each for each in users if each in variants]
    return any(
        not (can_extend(inventory, each) and inventory.is_in(name, each)) for each in unfinished
    )


@dataclass(frozen=True)
class Amount:
    """A number of bytes; the ids whose size it only estimates, and those that it leaves out."""

    bytes: int
    estimated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def download_bytes(inventory: Inventory, names: Iterable[str], *, whole: bool = False) -> Amount:
    """Bytes still to come; `whole`: bytes of the files, whatever has arrived."""
    sizes = {name: inventory.bytes_of(name) or inventory.file(name).estimate for name in names}
    total = sum(
        max(0, size - (0 if whole else inventory.arrived(name)))
        for name, size in sizes.items()
        if size
    )
    return Amount(
        total,
        tuple(name for name, size in sizes.items() if size and inventory.bytes_of(name) is None),
        tuple(name for name, size in sizes.items() if size is None),
    )


def is_converted(manifest: Manifest, name: str) -> bool:
    """Whether a published file becomes a part of a model."""
    users = (
        {*variant.files, *variant.fallback, variant.base} for variant in manifest.variants.values()
    )
    return any(name in used for used in users)


def conversion_bytes(
    inventory: Inventory,
    plan: Plan,
    dtype: str,
    *,
    guess: bool = True,
    coming: Mapping[str, int] | None = None,
) -> int:
    """Bytes that conversion will write; `guess`: estimated sizes count, too; `coming`: bytes of
    files that are about to be imported.
    """
    coming = coming or {}
    names = {name for each in plan.variants for name in (*each.files, each.base) if name}
    total = 0
    for name in names & {*plan.there, *plan.fetch, *coming}:
        size = coming.get(name) or inventory.bytes_of(name)
        total += size or (guess and inventory.file(name).estimate) or 0
    return int(total * FACTORS[dtype])


def copied_bytes(inventory: Inventory, imports: Mapping[str, Path], *, keep: bool) -> int:
    """Bytes of imported files that are copied: those that stay, or lie on another file system."""
    device = _existing(inventory.root).stat().st_dev
    return sum(
        path.stat().st_size
        for name, path in imports.items()
        if keep or not is_converted(inventory.manifest, name) or path.stat().st_dev != device
    )


def free_bytes(folder: Path) -> int:
    """Free space where `folder` is or will be."""
    return shutil.disk_usage(_existing(folder)).free


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    while not folder.exists():
        folder = folder.parent
    return folder


def require_space(inventory: Inventory, plan: Plan, dtype: str) -> None:
    """Raise WeightsError if what is known to come does not fit; an estimate refuses nothing."""
    known = [name for name in plan.fetch if inventory.bytes_of(name) is not None]
    needed = download_bytes(inventory, known).bytes
    needed += conversion_bytes(inventory, plan, dtype, guess=False)
    free = free_bytes(inventory.root)
    if (plan.fetch or plan.variants) and needed > free:
        raise WeightsError(
            f"download and conversion need {needed} bytes in {shown(inventory.root)}, "
            f"where {free} are free",
            "free some space, or choose another folder by --dest",
        )
