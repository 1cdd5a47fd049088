"""The options of `coser download-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from coser_cli.cli.options.completion import complete_license, complete_set
from coser_cli.cli.options.declare import choose, option

SHOW = "What to do instead"
CONSENT = "Licences and trust"
FILES = "Files and folders"
NETWORK = "Network"


Sets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SET]",
        autocompletion=complete_set,
        help="Models, sets, or single files by id; `--list` shows them. Without one: `default`.",
        show_default=False,
    ),
]
ListAll = Annotated[bool, option("--list", SHOW, "Show sets, files, sizes, licences and state.")]
DryRun = Annotated[
    bool, option("--dry-run", SHOW, "Show what would be fetched and what it takes; write nothing.")
]
Verify = Annotated[
    bool, option("--verify", SHOW, "Hash again what is there; without SET, everything.")
]
PrintPins = Annotated[
    bool, option("--print-pins", SHOW, "Ask every source for hash and size, by HEAD requests only.")
]
AcceptLicense = Annotated[
    list[str] | None,
    choose(
        "--accept-license",
        CONSENT,
        "Accept this licence; may be given several times.",
        metavar="ID",
        autocompletion=complete_license,
    ),
]
TrustFirstUse = Annotated[
    bool,
    option(
        "--trust-first-use",
        CONSENT,
        "Take what arrives first for a file that has no published hash, and hold it to that.",
    ),
]
Yes = Annotated[
    bool,
    option("--yes", CONSENT, "Import what --from-dir recognises by its content without asking."),
]
Strict = Annotated[
    bool,
    option("--strict", CONSENT, "Refuse checkpoints that hold names which no network needs."),
]
Pin = Annotated[
    Path | None,
    choose(
        "--pin",
        SHOW,
        "Write a manifest to FILE (- for stdout) that holds to the hashes of what was installed.",
        metavar="FILE",
    ),
]
ImportFile = Annotated[
    list[Path] | None,
    choose(
        "--import",
        FILES,
        "Take this file instead of fetching it; goes with --as, both may be repeated.",
        metavar="FILE",
    ),
]
ImportAs = Annotated[
    list[str] | None,
    choose("--as", FILES, "What the file of --import is, by its id.", metavar="ID"),
]
FromDir = Annotated[
    Path | None,
    choose(
        "--from-dir",
        FILES,
        "Import all files in DIR that are known by name or hash, or recognised by their content.",
        metavar="DIR",
    ),
]
Dest = Annotated[
    Path | None,
    choose("--dest", FILES, "Weights folder to use instead of the usual one.", metavar="DIR"),
]
KeepOriginals = Annotated[
    bool, option("--keep-originals", FILES, "Keep published files once they have been converted.")
]
StoredDtype = Annotated[
    Literal["float32", "float16"],
    option("--dtype", FILES, "Store installed models with this number type; float16 is half."),
]
ManifestFile = Annotated[
    Path | None,
    choose("--manifest", FILES, "Use this manifest instead of coser's own.", metavar="FILE"),
]
Mirror = Annotated[
    str | None,
    choose(
        "--mirror",
        NETWORK,
        "Ask this host instead of huggingface.co; gets no token.",
        metavar="URL",
    ),
]
Offline = Annotated[
    bool, option("--offline", NETWORK, "Make no request (also: COSER_OFFLINE or HF_HUB_OFFLINE).")
]
