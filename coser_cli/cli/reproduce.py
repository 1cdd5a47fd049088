"""`coser info FILE`: how a picture was made, and the command that makes it again, bit for bit."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import typer

from coser_cli.cli.output.json_lines import error_record, print_record
from coser_cli.errors import CoserError, Exit, InputError, shown
from coser_cli.settings import Settings

FileState = Literal["unchanged", "changed", "missing"]
_REFERENCE_SETTINGS = (
    "steps",
    "sampler",
    "seed",
    "guidance_interval",
    "deep_interval",
    "reference_guidance_scale",
    "reference_strength",
    "prompt",
    "negative_prompt",
    "reference_mode",
    "references",
)
"""What `coser reference` has options for."""
_IMPLIED = ("scale", "preset")
"""The scale goes with the size; complete settings need no preset."""


@dataclass(frozen=True)
class LocatedFile:
    """A file that a record names: where something of its name lies, and whether it is the same."""

    path: Path
    state: FileState


@dataclass(frozen=True)
class Reproduction:
    """A picture's record, where its input lies, the words of the command, and what to know."""

    file: Path
    record: Mapping[str, Any]
    input: LocatedFile
    command: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def shell(self) -> str:
        return " ".join(_quoted(word) for word in self.command)


def reproduction_of(file: Path) -> Reproduction:
    """What the record of a picture says. Raises `InputError` where there is none."""
    from coser_cli.imageio.record import read_record

    if not file.is_file():
        reason = "it is a folder" if file.is_dir() else "there is no such file"
        raise InputError(f"cannot read {shown(file)}: {reason}", "check the name")
    record = read_record(file)
    if record is None:
        raise InputError(
            f"{shown(file)} has no record of how it was made",
            "only results of coser have one; programs that drop XMP remove it",
        )
    try:
        return _reproduction(file, record)
    except (KeyError, TypeError, AttributeError, ValueError):
        raise InputError(
            f"{shown(file)} has a record that is not understood", "it may be of another version"
        ) from None


def _reproduction(file: Path, record: Mapping[str, Any]) -> Reproduction:
    source = _located(file, record["input"])
    references = [_located(file, each) for each in record["references"]]
    beside = {
        name: _located(file, record[name]) for name in ("mask", "pre_restorer") if record.get(name)
    }
    conditions = {k: _located(file, each) for k, each in record.get("conditions", {}).items()}
    named = [("input", source), *(("reference", each) for each in references)]
    named += [(f"condition {name}", each) for name, each in conditions.items()]
    named += [(name.replace("_", "-"), each) for name, each in beside.items()]
    notes = [_note(each, word) for word, each in named if each.state != "unchanged"]
    notes += _model_notes(record["model"])
    if record["input"]["frame"] is not None:
        notes.append(f"the command makes all frames; this is {record['input']['frame'] + 1}")
    if record["role"] in ("reference", "comparison") and record["kind"] == "upscale":
        notes.append(f"the command makes the result, and this {record['role']} beside it")
    files = [
        word for name, each in beside.items() for word in _option(f"--{_dashed(name)}", each.path)
    ]
    files += [w for k, v in conditions.items() for w in _option("--condition", f"{k}={v.path}")]
    command = (*_words(file, record, references), *files, *_input_words(source.path))
    return Reproduction(file, record, source, command, tuple(notes))


def _located(file: Path, named: Mapping[str, Any]) -> LocatedFile:
    """Looked for beside the picture, in the folder above it, and here; the same file goes first."""
    name = Path(named["name"]).name
    folders = dict.fromkeys((file.parent, file.parent / os.pardir, Path()))
    candidates = [folder / name for folder in folders if (folder / name).is_file()]
    for path in candidates:
        with path.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == named["sha256"]:
                return LocatedFile(path, "unchanged")
    return (
        LocatedFile(candidates[0], "changed") if candidates else LocatedFile(Path(name), "missing")
    )


def _note(file: LocatedFile, word: str) -> str:
    if file.state == "missing":
        return f"the {word} {shown(file.path)} is not here: put its path into the command"
    return f"the {word} {shown(file.path)} has changed since"


def _model_notes(model: Mapping[str, Any]) -> Iterator[str]:
    from coser_cli.errors import WeightsError
    from coser_cli.weights.lock import fingerprint
    from coser_cli.weights.store import model_folder

    try:
        if fingerprint(model_folder(model["name"])) != model["weights"]:
            yield f"the model {shown(model['name'])} has other weights here"
    except WeightsError:
        yield f"the model {shown(model['name'])} is not installed: give its folder to --model"


def _words(file: Path, record: Mapping[str, Any], references: list[LocatedFile]) -> Iterator[str]:
    """Everything but the input."""
    tiling, compute, settings = record["tiling"], record["compute"], record["settings"]
    yield "coser"
    yield "reference" if record["kind"] == "reference" else "tile" if tiling else "upscale"
    yield from _option("-o", _output(file, record))
    fit = {name: side for name, side in (record["fit"] or {}).items() if side is not None}
    for name, side in (fit or {"scale": settings["scale"]}).items():
        yield from _option(f"--{_dashed(name)}", side)
    names = [each.name for each in fields(Settings) if each.name not in _IMPLIED]
    if record["kind"] == "reference":
        names = list(_REFERENCE_SETTINGS)
        steps = settings.get("reference_steps", settings.get("steps"))
        settings = settings if steps is None else {**settings, "steps": steps}
    if references:  # with pictures of the user nothing is imagined
        names.remove("reference_mode")
    for name in names:
        if name in settings:  # records of earlier versions lack some
            value = settings[name]
            values = value if isinstance(value, list | tuple) else (value,)
            yield from _option(f"--{_dashed(name)}", *values)
    for each in references:
        yield from _option("--reference", each.path)
    if record["kind"] == "upscale" and record["role"] == "reference":
        yield "--save-reference"
    if record["role"] == "comparison":
        yield "--compare"
    yield from _option("--model", record["model"]["name"])
    if compute:
        yield from _option("--device", compute["device"])
        yield from _option("--dtype", compute["dtype"])
        if compute.get("compiled"):
            yield "--compile"
    yield from _tiling(tiling or {})
    yield from _encoding(record["encoding"])
    if record["input"]["frame"] is not None:
        yield "--all-frames"


def _tiling(tiling: Mapping[str, Any]) -> Iterator[str]:
    for name in ("tile_size", "overlap", "tile_batch"):
        if tiling.get(name):
            yield from _option(f"--{_dashed(name)}", tiling[name])
    if tiling.get("overlap") == 0:
        yield from _option("--overlap", 0)
    if tiling.get("jitter"):
        yield "--tile-jitter"


def _encoding(encoding: Mapping[str, Any]) -> Iterator[str]:
    for name in ("quality", "chroma"):
        if encoding[name] is not None:
            yield from _option(f"--{name}", encoding[name])
    for name in ("lossless", "strip_metadata"):
        if encoding[name]:
            yield f"--{_dashed(name)}"


def _output(file: Path, record: Mapping[str, Any]) -> str:
    """A new name beside the picture, or a new folder for all frames."""
    if record["input"]["frame"] is not None:
        return str(file.parent / "again") + os.sep
    return str(file.with_name(f"{file.stem}-again{file.suffix}"))


def _option(flag: str, *values: object) -> Iterator[str]:
    """A value that looks like an option is joined to its flag."""
    texts = [repr(value) if isinstance(value, float) else str(value) for value in values]
    if texts[0].startswith("-") and flag.startswith("--"):
        yield f"{flag}={texts[0]}"
    else:
        yield from (flag, *texts)


def _input_words(path: Path) -> tuple[str, ...]:
    return ("--", str(path)) if str(path).startswith("-") else (str(path),)


def _quoted(word: str) -> str:
    """A record may come from anywhere: nothing in it reaches the terminal as a control character.
    Such words are quoted as bash, zsh and ksh do.
    """
    if word.isprintable():
        return shlex.quote(word)
    escaped = (char if char.isprintable() and char not in "'\\" else _escape(char) for char in word)
    return f"$'{''.join(escaped)}'"


def _escape(char: str) -> str:
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "replace"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", errors))


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def show_records(files: Sequence[Path], *, as_json: bool) -> None:
    """Show each file's record; ends with 1 where one has none."""
    failed = False
    for file in files:
        try:
            reproduction = reproduction_of(file)
        except InputError as error:
            failed = True
            typer.echo(f"coser: {error}", err=True)
            if as_json:
                print_record("record", _record(file, None, error))
            continue
        if as_json:
            print_record("record", _record(file, reproduction, None))
        else:
            typer.echo(_text(reproduction))
    if failed:
        raise typer.Exit(Exit.FAILED)


def _record(
    file: Path, reproduction: Reproduction | None, error: CoserError | None
) -> dict[str, Any]:
    return {
        "file": str(file),
        "record": None if reproduction is None else dict(reproduction.record),
        "input": None if reproduction is None else str(reproduction.input.path),
        "input_state": None if reproduction is None else reproduction.input.state,
        "command": None if reproduction is None else list(reproduction.command),
        "shell": None if reproduction is None else reproduction.shell,
        "notes": [] if reproduction is None else list(reproduction.notes),
        "error": None if error is None else error_record(error),
    }


def _text(reproduction: Reproduction) -> str:
    """Facts, notes, and the command as the last line."""
    record = reproduction.record
    compute, settings = record["compute"], record["settings"]
    lines = [
        shown(reproduction.file),
        f"  {record['role']} by {record['program']}",
        f"  input      {_file(record['input'])}",
        f"  model      {shown(record['model']['name'])}, weights {record['model']['weights']}",
    ]
    if compute:
        lines.append(
            f"  computed   on {compute['device']} in {compute['dtype']}, torch {compute['torch']}"
            f"{', compiled' if compute.get('compiled') else ''}"
        )
    lines += [f"  reference  {_file(each)}" for each in record["references"]]
    for name, title in (("mask", "mask"), ("pre_restorer", "enlarged by")):
        lines += [f"  {title:<10} {_file(record[name])}"] if record.get(name) else []
    conditions = record.get("conditions", {})
    lines += [f"  condition  {name}: {_file(each)}" for name, each in conditions.items()]
    for title in ("fit", "encoding", "tiling"):
        pairs = _pairs(record[title] or {})
        lines += [f"  {title:<10} {pairs}"] if pairs else []
    lines.append("  settings")
    lines += [
        f"    {name:<25} {value!r}"
        for name, value in settings.items()
        if (name, value) != ("preset", "balanced")  # the usual one: nothing of its own
    ]
    lines += [f"  note: {note}" for note in reproduction.notes]
    safe = ["".join(c if c.isprintable() else "?" for c in line) for line in lines]
    return "\n".join([*safe, reproduction.shell])


def _file(named: dict[str, Any]) -> str:
    return f"{shown(named['name'])}, sha256 {named['sha256']}"


def _pairs(table: dict[str, Any]) -> str:
    """What is set; a switch that is off is not."""
    pairs = ((name, value) for name, value in table.items() if value is not None)
    return ", ".join(f"{name} {value}" for name, value in pairs if value is not False)
