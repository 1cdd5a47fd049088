"""`weights.toml` as frozen dataclasses: files and where they come from, sets, licences, variants.

Reading is strict: a key that is not known, a hash that is none, a name that leads nowhere raise
`WeightsError` naming file, table and key. No torch here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from coser_cli.config import VARIANTS, Defaults
from coser_cli.errors import UsageError, WeightsError, reason_of, shown
from coser_cli.paths import weights_manifest
from coser_cli.settings import Settings
from coser_cli.weights.table_reader import TableError, read_table, require
from coser_cli.weights.urls import is_allowed

SCHEMA = 1
PICKLED = ("lightning-ckpt", "torch-bin")
FORMATS = ("safetensors", *PICKLED, "diffusers")
FIRST_USE = "first-use"
MOVING = "main"  # the one revision that is no commit
_COMMIT = rf"[0-9a-f]{{40}}|{MOVING}"


@dataclass(frozen=True)
class License:
    """A licence: `commercial` says in words whether commercial use is allowed, if it is known."""

    id: str
    name: str
    url: str
    commercial: str = "not stated"


@dataclass(frozen=True)
class Source:
    """Where a file can be had. hf and modelscope: repo, revision, path; gdrive: id; https: url.
    What a type does not use is empty.
    """

    type: str
    repo: str = ""
    revision: str = ""
    path: str = ""
    id: str = ""
    url: str = ""

    def __post_init__(self) -> None:
        """Exactly the keys of this type."""
        hub = {"repo": r"[\w.-]+/[\w.-]+", "path": ".+"}
        types = {
            "hf": hub | {"revision": _COMMIT},
            "modelscope": hub | {"revision": r"[\w.-]*"},
            "gdrive": {"id": r"[\w-]+"},
            "https": {"url": ".+"},
        }
        require(self.type in types, "type", f"must be one of {', '.join(types)}")
        used = types[self.type]
        for key in ("repo", "revision", "path", "id", "url"):
            value = getattr(self, key)
            require(key in used or not value, key, "is not a known key")
            known = key not in used or re.fullmatch(used[key], value)
            require(
                known, key, f"must match {used.get(key)}, not {value!r}" if value else "is missing"
            )
        require(not self.path or is_below(self.path), "path", _BELOW)
        https = not self.url or is_allowed(self.url)
        require(https, "url", f"must be https (or http on this computer), not {self.url!r}")


@dataclass(frozen=True)
class WeightFile:
    """One published file, or (format "diffusers") a folder made of other files, its `parts`.

    `dest` is relative to the weights folder. `sha256` is None where no hash is
    published: such a file is trusted on first use, and `pin` says so. `estimate` stands in for a
    size in bytes that is not known, for sums only. `alternatives` are ids that serve as well.
    """

    id: str
    dest: str
    format: str
    licenses: tuple[str, ...] = field(metadata={"key": "license"})
    size: int | None = None
    sha256: str | None = None
    pin: str | None = None
    safe_globals: tuple[str, ...] = ()
    sources: tuple[Source, ...] = field(default=(), metadata={"key": "source"})
    alternatives: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    estimate: int | None = None

    def __post_init__(self) -> None:
        """Values in their ranges, and a hash or the word that there is none."""
        require(is_below(self.dest), "dest", _BELOW)
        require(self.format in FORMATS, "format", f"must be one of {', '.join(FORMATS)}")
        require(self.licenses, "license", "names no licence")
        for key in ("size", "estimate"):
            require(getattr(self, key) is None or getattr(self, key) > 0, key, "must be above 0")
        if self.format == "diffusers":
            require(self.parts, "parts", "is missing")
            return
        require(not self.parts, "parts", "is for folders (format diffusers) only")
        require(self.pin in (None, FIRST_USE), "pin", f'must be "{FIRST_USE}"')
        absent = f'is missing; where no hash is published, say pin = "{FIRST_USE}"'
        require(self.sha256 or self.pin, "sha256", absent)
        require(not (self.sha256 and self.pin), "pin", "must not stand beside sha256")
        digits = self.sha256 is None or re.fullmatch("[0-9a-fA-F]{64}", self.sha256)
        require(digits, "sha256", "must be 64 hexadecimal digits")
        object.__setattr__(self, "sha256", self.sha256 and self.sha256.lower())
        if self.format not in PICKLED:
            require(not self.safe_globals, "safe_globals", "is for pickled formats only")
        for name in self.safe_globals:
            whole = "." in name and all(part.isidentifier() for part in name.split("."))
            require(whole, "safe_globals", f"must hold full Python names, not {name!r}")


@dataclass(frozen=True)
class FileSet:
    """Files that are fetched together, and the variant that they are installed as, if any."""

    name: str
    files: tuple[str, ...]
    variant: str | None = None

    def __post_init__(self) -> None:
        """At least one file."""
        require(self.files, "files", "names no file")


@dataclass(frozen=True)
class Variant:
    """A model: `config` names its networks in `config.VARIANTS`.

    `files` are the file ids that it is made of, what comes first counting first; of these it can
    do without `optional`. `fallback` ids are needed only where the files lack their networks.
    `base` replaces U-Net base weights and VAE. `defaults` override fields of `Defaults`.
    `licenses` are those of a bundled model; other models have those of their files.
    """

    name: str
    description: str
    folder: str
    config: str
    bundled: bool = False
    licenses: tuple[str, ...] = field(default=(), metadata={"key": "license"})
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    base: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """A known configuration, and defaults that settings can have."""
        require(is_below(self.folder), "folder", _BELOW)
        known = f"must be one of {', '.join(VARIANTS)}, not {self.config!r}"
        require(self.config in VARIANTS, "config", known)
        for key, value in self.defaults.items():
            place = f"defaults.{key}"
            require(key in Defaults.__dataclass_fields__, place, "is not a known key")
            try:
                Settings(**{key: value})
            except UsageError as error:
                require(False, place, error.message.removeprefix(f"{key} "))


@dataclass(frozen=True)
class Manifest:
    """All that `weights.toml` says, by name."""

    path: Path
    schema: int
    licenses: Mapping[str, License] = field(default_factory=dict, metadata={"key": "license"})
    files: Mapping[str, WeightFile] = field(default_factory=dict, metadata={"key": "file"})
    sets: Mapping[str, FileSet] = field(default_factory=dict, metadata={"key": "set"})
    variants: Mapping[str, Variant] = field(default_factory=dict, metadata={"key": "variant"})

    def __post_init__(self) -> None:
        """The one form that this version reads."""
        require(self.schema == SCHEMA, "schema", f"must be {SCHEMA}: this version reads no other")

    def licenses_of(self, ids: Iterable[str]) -> list[License]:
        """The licences of these files, each once, in the order of the files."""
        names = (name for each in ids for name in self.files[each].licenses)
        return [self.licenses[name] for name in dict.fromkeys(names)]


def load_manifest(path: Path | None = None) -> Manifest:
    """Read a manifest; default: the package's own. Raises WeightsError naming what is wrong."""
    path = path or weights_manifest()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        manifest = read_table(Manifest, document, "", path=path)
        _check_names(manifest)
        _check_places(manifest)
    except OSError as error:
        raise WeightsError(f"cannot read the manifest {shown(path)}: {reason_of(error)}") from error
    except TableError as error:
        raise WeightsError(f"{shown(path)}: {error}") from error
    except ValueError as error:  # not UTF-8 or not TOML
        raise WeightsError(f"{shown(path)} is no TOML: {error}") from error
    return manifest


def _check_names(manifest: Manifest) -> None:
    """Every name that is mentioned must have its table."""

    def need(table: str, key: str, names: Iterable[str | None], known: Iterable[str]) -> None:
        for name in names:
            if name is not None and name not in known:
                raise TableError(table, key, f"{name!r} has no table of its own")

    for file in manifest.files.values():
        table = f"file.{file.id}"
        need(table, "license", file.licenses, manifest.licenses)
        need(table, "alternatives", file.alternatives, manifest.files)
        need(table, "parts", file.parts, manifest.files)
    for each in manifest.sets.values():
        need(f"set.{each.name}", "files", each.files, manifest.files)
        need(f"set.{each.name}", "variant", [each.variant], manifest.variants)
    for variant in manifest.variants.values():
        table = f"variant.{variant.name}"
        need(table, "license", variant.licenses, manifest.licenses)
        need(table, "files", variant.files, manifest.files)
        need(table, "optional", variant.optional, variant.files)
        need(table, "fallback", variant.fallback, manifest.files)
        need(table, "base", [variant.base], manifest.files)


def _check_places(manifest: Manifest) -> None:
    """No two files may lie in one place, nor a file in the folder of an installed model."""
    owners: dict[PurePosixPath, str] = {}
    folders = {PurePosixPath(variant.folder) for variant in manifest.variants.values()}
    for file in manifest.files.values():
        table = f"file.{file.id}"
        place = PurePosixPath(file.dest)
        if place in owners:
            raise TableError(table, "dest", f"is where [{owners[place]}] lies, too")
        if folders.intersection([place, *place.parents]):
            raise TableError(table, "dest", f"lies in the folder of a variant: {file.dest!r}")
        owners[place] = table
        for part in file.parts:
            if PurePosixPath(file.dest) not in PurePosixPath(manifest.files[part].dest).parents:
                raise TableError(table, "parts", f"{part!r} does not lie below {file.dest!r}")


_BELOW = "must be a relative path without '..'"


def is_below(text: str) -> bool:
    """Whether a relative POSIX path stays below its folder, on Windows, too."""
    parts = PurePosixPath(text).parts
    is_unsafe = "\\" in text or ":" in text or not text.isprintable() or text.endswith("/")
    return bool(parts) and not is_unsafe and not text.startswith("/") and ".." not in parts
