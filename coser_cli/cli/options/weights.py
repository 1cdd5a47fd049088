"""The options of `coser download-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from coser_cli.cli.options.completion import complete_license, complete_set

SHOW = "What to do instead"
CONSENT = "Licences and trust"
FILES = "Files and folders"
NETWORK = "Network"


def _flag(name: str, panel: str, text: str) -> Any:
    return typer.Option(name, help=text, rich_help_panel=panel)


def _value(name: str, panel: str, metavar: str, text: str, **more: Any) -> Any:
    return typer.Option(
        name, help=text, rich_help_panel=panel, metavar=metavar, show_default=False, **more
    )


Sets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SET]",
        autocompletion=complete_set,
        help="Sets, or single files by id; `--list` shows them. Without one: `default`.",
        show_default=False,
    ),
]
ListAll = Annotated[bool, _flag("--list", SHOW, "Show sets, files, sizes, licences and state.")]
DryRun = Annotated[
    bool, _flag("--dry-run", SHOW, "Show what would be fetched and what it takes; write nothing.")
]
Verify = Annotated[
    bool, _flag("--verify", SHOW, "Hash again what is there; without SET, everything.")
]
PrintPins = Annotated[
    bool, _flag("--print-pins", SHOW, "Ask every source for hash and size, by HEAD requests only.")
]
AcceptLicense = Annotated[
    list[str] | None,
    _value(
        "--accept-license",
        CONSENT,
        "ID",
        "Accept this licence; may be given several times.",
        autocompletion=complete_license,
    ),
]
TrustFirstUse = Annotated[
    bool,
    _flag(
        "--trust-first-use",
        CONSENT,
        "Take what arrives first for a file that has no published hash, and hold it to that.",
    ),
]
Yes = Annotated[
    bool,
    _flag("--yes", CONSENT, "Import what --from-dir recognises by its content without asking."),
]
Strict = Annotated[
    bool,
    _flag("--strict", CONSENT, "Refuse checkpoints that hold names which no network needs."),
]
Pin = Annotated[
    Path | None,
    _value(
        "--pin",
        SHOW,
        "FILE",
        "Write a manifest to FILE (- for stdout) that holds to the hashes of what was installed.",
    ),
]
ImportFile = Annotated[
    list[Path] | None,
    _value(
        "--import",
        FILES,
        "FILE",
        "Take this file instead of fetching it; goes with --as, both may be repeated.",
    ),
]
ImportAs = Annotated[
    list[str] | None, _value("--as", FILES, "ID", "What the file of --import is, by its id.")
]
FromDir = Annotated[
    Path | None,
    _value(
        "--from-dir",
        FILES,
        "DIR",
        "Import all files in DIR that are known by name or hash, or recognised by their content.",
    ),
]
Dest = Annotated[
    Path | None, _value("--dest", FILES, "DIR", "Weights folder to use instead of the usual one.")
]
KeepOriginals = Annotated[
    bool, _flag("--keep-originals", FILES, "Keep published files once they have been converted.")
]
StoredDtype = Annotated[
    Literal["float32", "float16"],
    _flag("--dtype", FILES, "Store installed models with this number type; float16 is half."),
]
ManifestFile = Annotated[
    Path | None, _value("--manifest", FILES, "FILE", "Use this manifest instead of coser's own.")
]
Mirror = Annotated[
    str | None,
    _value("--mirror", NETWORK, "URL", "Ask this host instead of huggingface.co; gets no token."),
]
Offline = Annotated[
    bool, _flag("--offline", NETWORK, "Make no request (also: COSER_OFFLINE or HF_HUB_OFFLINE).")
]
