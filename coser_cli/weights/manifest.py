"""`weights.toml` as frozen dataclasses: files and where they come from, sets, licences, variants.

Reading is strict: a key that is not known, a hash that is none, a name that leads nowhere raise
`WeightsError` naming file, table and key. No torch here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from coser_cli.config import VARIANTS, Defaults
from coser_cli.errors import UsageError, WeightsError, shown
from coser_cli.paths import weights_manifest
from coser_cli.settings import Settings
from coser_cli.weights.fields import Fields
from coser_cli.weights.urls import is_allowed

SCHEMA = 1
FORMATS = ("safetensors", "lightning-ckpt", "torch-bin", "diffusers")
PICKLED = ("lightning-ckpt", "torch-bin")
SOURCE_TYPES = ("hf", "modelscope", "gdrive", "https")
FIRST_USE = "first-use"
MOVING = "main"  # the one revision that is no commit; allowed only where no hash is known


@dataclass(frozen=True)
class License:
    """A licence: `commercial` says in words whether commercial use is allowed, if it is known."""

    id: str
    name: str
    url: str
    commercial: str


@dataclass(frozen=True)
class Source:
    """Where a file can be had. hf: repo, revision, path; modelscope: the same; gdrive: id;
    https: url. What a type does not use is empty.
    """

    type: str
    repo: str = ""
    revision: str = ""
    path: str = ""
    id: str = ""
    url: str = ""


@dataclass(frozen=True)
class Conversion:
    """A pickled file becomes the safetensors file `to`; its tensors lie under `key`."""

    to: str
    key: str | None = None


@dataclass(frozen=True)
class WeightFile:
    """One published file, or (format "diffusers") a folder made of other files, its `parts`.

    `dest` and `convert.to` are relative to the weights folder. `sha256` is None where no hash is
    published: such a file is trusted on first use. `estimate` stands in for a size in bytes that is
    not known, for sums only. `alternatives` are ids that serve as well.
    """

    id: str
    dest: str
    licenses: tuple[str, ...]
    format: str
    size: int | None = None
    sha256: str | None = None
    safe_globals: tuple[str, ...] = ()
    convert: Conversion | None = None
    sources: tuple[Source, ...] = ()
    alternatives: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    estimate: int | None = None


@dataclass(frozen=True)
class FileSet:
    """Files that are fetched together, and the variant that they are installed as, if any."""

    name: str
    files: tuple[str, ...]
    variant: str | None = None


@dataclass(frozen=True)
class Variant:
    """A model: `config` names its networks in `config.VARIANTS`.

    `files` are the file ids that it is made of, what comes first counting first; of these it can
    do without `optional`. `fallback` ids are needed only where the files lack their networks.
    `base` replaces U-Net base weights and VAE. `defaults` override fields of `Defaults`.
    """

    name: str
    description: str
    bundled: bool
    folder: str
    config: str
    files: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    base: str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """All that `weights.toml` says, by name."""

    path: Path
    licenses: Mapping[str, License]
    files: Mapping[str, WeightFile]
    sets: Mapping[str, FileSet]
    variants: Mapping[str, Variant]

    def licenses_of(self, ids: Iterable[str]) -> list[License]:
        """The licences of these files, each once, in the order of the files."""
        names = (name for each in ids for name in self.files[each].licenses)
        return [self.licenses[name] for name in dict.fromkeys(names)]


def load_manifest(path: Path | None = None) -> Manifest:
    """Read a manifest; default: the package's own. Raises WeightsError naming what is wrong."""
    path = path or weights_manifest()
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"cannot read the manifest {shown(path)}: {reason}") from error
    except ValueError as error:  # not UTF-8 or not TOML
        raise WeightsError(f"{shown(path)} is no TOML: {error}") from error
    top = Fields(path, "", document)
    if top.size("schema") != SCHEMA:
        raise top.error("schema", f"must be {SCHEMA}: this version reads no other")
    manifest = Manifest(
        path,
        licenses=top.each("license", _license),
        files=top.each("file", _file),
        sets=top.each("set", _set),
        variants=top.each("variant", _variant),
    )
    top.end()
    _check_names(manifest)
    _check_places(manifest)
    return manifest


def _license(name: str, fields: Fields) -> License:
    commercial = fields.text("commercial", "not stated")
    return License(name, fields.text("name"), fields.text("url"), commercial)


def _set(name: str, fields: Fields) -> FileSet:
    files = fields.names("files")
    if not files:
        raise fields.error("files", "names no file")
    return FileSet(name, files, fields.text("variant", None))


def _file(name: str, fields: Fields) -> WeightFile:
    form = fields.choice("format", FORMATS)
    dest, licenses = fields.below("dest"), fields.names("license")
    if not licenses:
        raise fields.error("license", "names no licence")
    if form == "diffusers":
        return WeightFile(name, dest, licenses, form, parts=fields.names("parts"))
    sha256 = fields.matching("sha256", "[0-9a-fA-F]{64}", "64 hexadecimal digits", None)
    _check_pin(fields, sha256)
    return WeightFile(
        name,
        dest,
        licenses,
        form,
        size=fields.size("size", None),
        sha256=sha256 and sha256.lower(),
        safe_globals=_safe_globals(fields, form),
        convert=_conversion(fields, form),
        sources=tuple(_source(source, moving=sha256 is None) for source in fields.tables("source")),
        alternatives=fields.names("alternatives", ()),
        estimate=fields.size("estimate", None),
    )


def _check_pin(fields: Fields, sha256: str | None) -> None:
    """A hash, or the word that there is none: never neither, never both."""
    pin = fields.choice("pin", (FIRST_USE,), None)
    if sha256 is None and pin is None:
        raise fields.error(
            "sha256", f'is missing; where no hash is published, say pin = "{FIRST_USE}"'
        )
    if sha256 is not None and pin is not None:
        raise fields.error("pin", "must not stand beside sha256")


def _safe_globals(fields: Fields, form: str) -> tuple[str, ...]:
    names = fields.names("safe_globals", ())
    if names and form not in PICKLED:
        raise fields.error("safe_globals", f"has no meaning for the format {form}")
    for name in names:
        if "." not in name or not all(part.isidentifier() for part in name.split(".")):
            raise fields.error("safe_globals", f"must hold full Python names, not {name!r}")
    return names


def _conversion(fields: Fields, form: str) -> Conversion | None:
    table = fields.table_of("convert", None)
    if table is None:
        return None
    if form not in PICKLED:
        raise fields.error("convert", f"has no meaning for the format {form}")
    conversion = Conversion(table.below("to"), table.text("key", None))
    table.end()
    if not conversion.to.endswith(".safetensors"):
        raise table.error("to", "must end in .safetensors")
    return conversion


def _source(fields: Fields, *, moving: bool) -> Source:
    """One place to fetch from; `moving` allows a Hugging Face revision that is no commit."""
    kind = fields.choice("type", SOURCE_TYPES)
    if kind == "gdrive":
        source = Source(kind, id=fields.matching("id", r"[\w-]+", "the id of a file"))
    elif kind == "https":
        source = Source(kind, url=fields.text("url"))
        if not is_allowed(source.url):
            raise fields.error(
                "url", f"must be https (or http on this computer), not {source.url!r}"
            )
    else:
        repo = fields.matching("repo", r"[\w.-]+/[\w.-]+", "OWNER/NAME")
        source = Source(kind, repo, _revision(fields, kind, moving), fields.below("path"))
    fields.end()
    return source


def _revision(fields: Fields, kind: str, moving: bool) -> str:
    if kind == "modelscope":
        return str(fields.matching("revision", r"[\w.-]+", "a revision", "master"))
    pattern = rf"[0-9a-f]{{40}}{f'|{MOVING}' if moving else ''}"
    also = f' (or "{MOVING}")' if moving else ""
    return str(fields.matching("revision", pattern, f"a commit of 40 hexadecimal digits{also}"))


def _variant(name: str, fields: Fields) -> Variant:
    defaults = fields.table_of("defaults", None)
    return Variant(
        name,
        fields.text("description"),
        fields.flag("bundled", False),
        fields.below("folder"),
        fields.choice("config", tuple(VARIANTS)),
        files=fields.names("files", ()),
        optional=fields.names("optional", ()),
        fallback=fields.names("fallback", ()),
        base=fields.text("base", None),
        defaults={} if defaults is None else _defaults(defaults),
    )


def _defaults(fields: Fields) -> dict[str, Any]:
    values = fields.rest()
    for key, value in values.items():
        if key not in Defaults.__dataclass_fields__:
            raise fields.error(key, "is not a known key")
        try:
            Settings(**{key: value})
        except UsageError as error:
            raise fields.error(key, error.message.removeprefix(f"{key} ")) from error
    return values


def _check_names(manifest: Manifest) -> None:
    """Every name that is mentioned must have its table."""

    def need(table: str, key: str, names: Iterable[str | None], known: Iterable[str]) -> None:
        for name in names:
            if name is not None and name not in known:
                problem = f"{name!r} has no table of its own"
                raise Fields(manifest.path, table, {}).error(key, problem)

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
        need(table, "files", variant.files, manifest.files)
        need(table, "optional", variant.optional, variant.files)
        need(table, "fallback", variant.fallback, manifest.files)
        need(table, "base", [variant.base], manifest.files)


def _check_places(manifest: Manifest) -> None:
    """No two files may lie in one place, nor a file in the folder of an installed model."""
    taken: dict[PurePosixPath, str] = {}
    folders = {PurePosixPath(variant.folder) for variant in manifest.variants.values()}
    for file in manifest.files.values():
        places = [("dest", file.dest)] + ([("convert", file.convert.to)] if file.convert else [])
        for key, text in places:
            place = PurePosixPath(text)
            fields = Fields(manifest.path, f"file.{file.id}", {})
            if place in taken:
                raise fields.error(key, f"is where {taken[place]} lies, too")
            if folders.intersection([place, *place.parents]):
                raise fields.error(key, f"lies in the folder of a variant: {text!r}")
            taken[place] = f"[file.{file.id}]"
    for file in manifest.files.values():
        for part in file.parts:
            if PurePosixPath(file.dest) not in PurePosixPath(manifest.files[part].dest).parents:
                problem = f"{part!r} does not lie below {file.dest!r}"
                raise Fields(manifest.path, f"file.{file.id}", {}).error("parts", problem)
