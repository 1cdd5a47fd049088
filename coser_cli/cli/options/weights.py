"""The options of `coser download-weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from coser_cli.cli.options.completion import complete_license, complete_set
from coser_cli.cli.options.declare import options_of

action_option = options_of("What to do instead")
consent_option = options_of("Licences and trust")
folder_option = options_of("Files and folders")
network_option = options_of("Network")


Sets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[SET]",
        autocompletion=complete_set,
        help="Models, sets, or single files by id; `--list` shows them. Without one: `default`.",
        show_default=False,
    ),
]
ListAll = Annotated[bool, action_option("Show sets, files, sizes, licences and state.", "--list")]
DryRun = Annotated[
    bool, action_option("Show what would be fetched and what it takes; write nothing.", "--dry-run")
]
Verify = Annotated[
    bool, action_option("Hash again what is there; without SET, everything.", "--verify")
]
PrintPins = Annotated[
    bool,
    action_option("Ask every source for hash and size, by HEAD requests only.", "--print-pins"),
]
AcceptLicense = Annotated[
    list[str] | None,
    consent_option(
        "Accept this licence; may be given several times.",
        metavar="ID",
        autocompletion=complete_license,
    ),
]
TrustFirstUse = Annotated[
    bool,
    consent_option(
        "Take what arrives first for a file that has no published hash, and hold it to that.",
        "--trust-first-use",
    ),
]
Yes = Annotated[
    bool,
    consent_option("Import what --from-dir recognises by its content without asking.", "--yes"),
]
Strict = Annotated[
    bool, consent_option("Refuse checkpoints that hold names which no network needs.", "--strict")
]
Pin = Annotated[
    Path | None,
    action_option(
        "Write a manifest to FILE (- for stdout) that holds to the hashes of what was installed.",
        "--pin",
        metavar="FILE",
    ),
]
ImportFile = Annotated[
    list[Path] | None,
    folder_option(
        "Take this file instead of fetching it; goes with --as, both may be repeated.",
        "--import",
        metavar="FILE",
    ),
]
ImportAs = Annotated[
    list[str] | None,
    folder_option("What the file of --import is, by its id.", "--as", metavar="ID"),
]
FromDir = Annotated[
    Path | None,
    folder_option(
        "Import all files in DIR that are known by name or hash, or recognised by their content.",
        metavar="DIR",
    ),
]
Dest = Annotated[
    Path | None, folder_option("Weights folder to use instead of the usual one.", metavar="DIR")
]
KeepOriginals = Annotated[
    bool, folder_option("Keep published files once they have been converted.", "--keep-originals")
]
StoredDtype = Annotated[
    Literal["float32", "float16"],
    folder_option("Store installed models with this number type; float16 is half."),
]
ManifestFile = Annotated[
    Path | None, folder_option("Use this manifest instead of coser's own.", metavar="FILE")
]
Mirror = Annotated[
    str | None,
    network_option("Ask this host instead of huggingface.co; gets no token.", metavar="URL"),
]
Offline = Annotated[
    bool, network_option("Make no request (also: COSER_OFFLINE or HF_HUB_OFFLINE).", "--offline")
]
