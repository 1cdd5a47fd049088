"""The record of a picture: its input, settings and weights.

The same command gives the same record: it has no time, no folder, and of the machine only the kind
of device, the number type and the version of torch, on which the last bits of results may depend.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coser_cli.batch.jobs import Job
from coser_cli.engine.settings_check import idle_in_reference, idle_in_result, idle_in_run
from coser_cli.imageio.encoding import Encoding
from coser_cli.imageio.formats import format_of
from coser_cli.settings import Compute, ResolvedSettings, Settings, TileSpec
from coser_cli.version import __version__

if TYPE_CHECKING:
    from coser_cli.batch.fit import Fit
    from coser_cli.config import ModelConfig

SCHEMA = 1
KEY = "coser_record"


@dataclass(frozen=True)
class NamedHash:
    """A file by its name, without folders, and the SHA-256 of its bytes."""

    name: str
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """What all records of a run have in common: the folder of the model and its configuration, the
    user's reference files and pre-restorer, and the number type that was asked for.
    """

    folder: Path
    config: ModelConfig
    references: tuple[NamedHash, ...] = ()
    dtype: str = "auto"
    pre_restorer: NamedHash | None = None

    @property
    def model(self) -> str:
        return self.folder.name

    @cached_property
    def weights(self) -> str:
        """Their fingerprint. A command that is served has no need of it. Raises `WeightsError`."""
        from coser_cli.weights.lock import fingerprint

        return fingerprint(self.folder)

    @property
    def fingerprints(self) -> tuple[str, ...]:
        return self.weights, *(() if self.pre_restorer is None else (self.pre_restorer.sha256,))


@dataclass(frozen=True)
class Origin:
    """The parts of a record that are known before anything is computed."""

    provenance: Provenance
    input: NamedHash
    settings: ResolvedSettings
    fit: Fit | None
    encoding: Encoding
    tiles: TileSpec
    always_tiles: bool
    mask: NamedHash | None = None
    conditions: Mapping[str, NamedHash] = field(default_factory=dict)


def provenance(compute: Compute, references: Sequence[Path]) -> Provenance:
    """Of a run with an installed model. Raises `WeightsError`, and OSError where a reference or the
    pre-restorer cannot be read.
    """
    from coser_cli.weights.store import model_folder, read_model_config

    folder = model_folder(compute.model)
    hashes = tuple(hashed(path) for path in references)
    config = read_model_config(folder)
    if not (folder / "cfw").is_dir():  # it was left out when the model was installed
        config = replace(config, cfw=None)
    own = None
    if compute.pre_restorer is not None:
        own = hashed(Path(compute.pre_restorer))
        config = config.pre_restored()  # its scale is not known yet
    return Provenance(folder, config, hashes, compute.dtype, own)


def hashed(path: Path) -> NamedHash:
    """A file's name and hash. Raises OSError."""
    status = path.stat()
    key = str(path), status.st_ino, status.st_size, status.st_mtime_ns
    return NamedHash(path.name, _sha256(*key))


@lru_cache(maxsize=1024)
def _sha256(path: str, _inode: int, _size: int, _changed: int) -> str:
    """Once for all frames of a file."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def record_of(job: Job, path: Path, origin: Origin) -> dict[str, Any]:
    """What is known of one of a job's outputs before it is made. Of the settings it has those that
    change anything that the job makes.
    """
    role, number = role_of(job, path)
    settings, config = origin.settings, origin.provenance.config
    files = len(origin.provenance.references)
    of_result = role in ("result", "comparison")
    masked = origin.mask is not None and of_result
    further = origin.conditions if of_result and settings.strength else {}
    pre_restorer = origin.provenance.pre_restorer
    imagines = bool(job.references) or job.kind == "reference"
    idle = idle_in_run(settings, config, files, imagines, job.kind == "upscale")
    return {
        KEY: SCHEMA,
        "program": f"coser {__version__}",
        "kind": job.kind,
        "role": role,
        "number": number,
        "input": {**asdict(origin.input), "frame": job.frame},
        "settings": _as_json(settings, idle),
        "fit": None if origin.fit is None else asdict(origin.fit),
        "encoding": _effective(origin.encoding, path),
        "references": [asdict(each) for each in origin.provenance.references],
        "model": {"name": origin.provenance.model, "weights": origin.provenance.weights},
        "tiling": None,
        "compute": None,
        **({"mask": asdict(origin.mask)} if masked and origin.mask else {}),
        **({"conditions": {k: asdict(v) for k, v in further.items()}} if further else {}),
        **({"pre_restorer": asdict(pre_restorer)} if pre_restorer else {}),
    }


def _as_json(settings: Settings, idle: Collection[str]) -> dict[str, Any]:
    """As they are read back, without those that are idle: JSON has lists and no tuples."""
    values = {name: value for name, value in asdict(settings).items() if name not in idle}
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def tiling_of(spec: TileSpec, config: ModelConfig, tile_batch: int | None = None) -> dict[str, Any]:
    """How a picture is cut with a model; `tile_batch` as it was found to suffice, if it was."""
    tiling = {
        "tile_size": spec.tile_size,
        "overlap": spec.overlap_with(config),
        "jitter": spec.jitter,
    }
    return tiling if tile_batch is None else tiling | {"tile_batch": tile_batch}


def compute_of(device: Any, dtype: Any, compiled: bool = False) -> dict[str, Any]:
    """Where and how exactly it was computed, from torch's device and dtype."""
    import torch

    values = {
        "device": device.type,
        "dtype": str(dtype).removeprefix("torch."),
        "torch": torch.__version__,
    }
    return values | ({"compiled": True} if compiled else {})


def role_of(job: Job, path: Path) -> tuple[str, int | None]:
    """The role of an output in its job, and its number among several, from 1."""
    if path in job.references:
        return "reference", job.references.index(path) + 1
    if path == job.comparison:
        return "comparison", None
    if job.kind == "upscale":
        return "result", None
    return ("sheet", None) if job.references else ("reference", 1)


def differences(
    record: Mapping[str, Any], expected: Mapping[str, Any], origin: Origin
) -> list[str]:
    """How a record differs from one that would be written now, in words.

    The program's version, the device and what depends on the free memory may differ.
    """
    idle = _idle_in(expected["role"], origin)
    reasons = [*_settings(record, expected, idle), *_origins(record, expected)]
    was, now = _table(record, "encoding"), expected["encoding"]
    reasons += [
        f"{key} was {was.get(key)}, is {now[key]}" for key in now if was.get(key) != now[key]
    ]
    tiling = _table(record, "tiling")
    chosen = tiling_of(origin.tiles, origin.provenance.config)
    samples = "seed" not in idle or "prompt" not in idle
    if expected["role"] != "comparison":
        if origin.always_tiles and not tiling:
            reasons.append("it was not made in tiles")
        reasons += [
            f"{name} was {tiling.get(name)}, is {value}"
            for name, value in chosen.items()
            if samples and tiling and tiling.get(name) != value
        ]
        dtype, recorded = origin.provenance.dtype, _table(record, "compute").get("dtype")
        if dtype not in ("auto", recorded):
            reasons.append(f"dtype was {recorded}, is {dtype}")
    return reasons


def _idle_in(role: str, origin: Origin) -> Mapping[str, str]:
    """What has no effect on an output of this role; a comparison shows result and reference."""
    settings, config = origin.settings, origin.provenance.config
    files = len(origin.provenance.references)
    if role == "result":
        return idle_in_result(settings, config, files)
    if role == "comparison":
        return idle_in_run(settings, config, files, True)
    return idle_in_reference(settings, config, files)


def _settings(
    record: Mapping[str, Any], expected: Mapping[str, Any], idle: Collection[str]
) -> list[str]:
    recorded, now = _table(record, "settings"), expected["settings"]
    # what a version before had no setting for was as it is by default
    was = _as_json(Settings(), ()) | dict(recorded)
    names = [name for name in now if name not in idle and was.get(name) != now[name]]
    # what was not recorded had no effect then: what has given it one says enough
    names = [name for name in names if name in recorded] or names
    return [f"{name} was {was.get(name)}, is {now[name]}" for name in names]


def _origins(record: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    reasons = []
    if any(record.get(name) != expected[name] for name in ("kind", "role", "number")):
        reasons.append(f"it is a {record.get('role')}")
    was, now = _table(record, "input"), expected["input"]
    if was.get("sha256") != now["sha256"]:
        reasons.append("the input has changed")
    elif was.get("frame") != now["frame"]:
        reasons.append("it is another frame")
    was, now = _table(record, "model"), expected["model"]
    if was.get("weights") != now["weights"]:
        same = was.get("name") == now["name"]
        reasons.append(
            "the weights have changed" if same else f"model was {was.get('name')}, is {now['name']}"
        )
    if _hashes(record) != _hashes(expected):
        reasons.append("the reference files are others")
    was, now = _table(record, "conditions"), _table(expected, "conditions")
    files = {
        name.replace("_", "-"): (_table(record, name), _table(expected, name))
        for name in ("mask", "pre_restorer")
    }
    files |= {
        f"condition {name}": (_table(was, name), _table(now, name)) for name in sorted({*was, *now})
    }
    for word, (before, after) in files.items():
        article = "the" if word.startswith("condition ") else "a"
        if before.get("sha256") == after.get("sha256"):
            continue
        reasons.append(
            f"the {word} is another"
            if before and after
            else f"it was made with{'' if before else 'out'} {article} {word}"
        )
    return reasons


def _hashes(record: Mapping[str, Any]) -> list[Any]:
    hashes = record.get("references")
    if not isinstance(hashes, list):
        return []
    return [each.get("sha256") if isinstance(each, dict) else None for each in hashes]


def _table(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a record, which may come from anywhere."""
    table = record.get(name)
    return table if isinstance(table, dict) else {}


def _effective(encoding: Encoding, path: Path) -> dict[str, Any]:
    """What of an encoding has an effect in the format of this file, defaults filled in."""
    row = format_of(path)
    options: dict[str, Any] = {"quality": None, "chroma": None, "lossless": False}
    if "quality" in row.options:
        if encoding.lossless:
            options["lossless"] = True
        else:
            options["quality"] = encoding.quality or row.options["quality"]
            usual = "420" if row.name == "WEBP" else "444"
            options["chroma"] = encoding.chroma or usual
    return options | {"strip_metadata": encoding.strip_metadata}
