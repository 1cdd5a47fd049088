"""The options that commands share, each declared once: name, bounds, help, panel, variable.

Parameter names equal the fields of `Settings`, and the keys of a TOML file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coser_cli import settings as names
from coser_cli.cli.options.completion import complete_model
from coser_cli.cli.output.errors import closest
from coser_cli.errors import UsageError, reason_of, shown
from coser_cli.imageio.formats import WRITABLE_SUFFIXES

IN_OUT = "Input and output"
SAMPLING = "Sampling"
REFERENCE = "Reference"
MODEL = "Model and device"
REPORTING = "Reporting"


def choose(*flags: str, panel: str, help: str, **more: Any) -> Any:  # noqa: A002 (typer's word)
    """An option whose default is the model's own."""
    return typer.Option(*flags, help=help, rich_help_panel=panel, show_default=False, **more)


Inputs = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="INPUTS",
        help="Pictures, folders, patterns like '*.jpg', or - for stdin; PNG, JPEG, WebP, TIFF, "
        "BMP, GIF, AVIF and HEIC, recognised by their content.",
        show_default=False,
        # Whether they can be read is found out one by one: a bad one must not stop the others.
        readable=False,
    ),
]
Output = Annotated[
    str | None,
    choose(
        "--output",
        "-o",
        metavar="FILE|DIR|-",
        panel=IN_OUT,
        help="Write to this file, into this folder, or to stdout; by default beside each input, as "
        "PNG. A file is for one input, and its extension decides the format: "
        f"{' '.join(WRITABLE_SUFFIXES)}.",
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Write again what exists; without it, finished outputs are skipped.",
        rich_help_panel=IN_OUT,
    ),
]
Scale = Annotated[
    float,
    typer.Option(
        "--scale",
        "-s",
        min=names.MIN_SCALE,
        max=names.MAX_SCALE,
        metavar="1–16",
        envvar="COSER_SCALE",
        help="Enlarge each side by this factor, such as 2.5.",
        rich_help_panel=IN_OUT,
    ),
]
SaveReference = Annotated[
    str | None,
    choose(
        "--save-reference",
        metavar="[DIR]",
        panel=REFERENCE,
        help="Also write the references that guide the result; beside it, or into DIR "
        "(--save-reference=DIR).",
    ),
]
Reference = Annotated[
    list[Path] | None,
    choose(
        "--reference",
        metavar="FILE",
        panel=REFERENCE,
        help="Let this picture guide the result; instead of one that is imagined. Repeat it for "
        "several. The same files serve every input. A picture whose aspect ratio differs by more "
        "than 2 % is made to cover the input's frame and cut on both sides alike.",
    ),
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare",
        help="Also write a picture of what has changed; NAME_compare.png shows bicubic, the saved "
        "reference, the result, and a detail.",
        rich_help_panel=IN_OUT,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="NAME|DIR",
        envvar="COSER_MODEL",
        autocompletion=complete_model,
        help="Use this model, or the one in a folder; auto takes sd21 where its weights are "
        "installed, else mini.",
        rich_help_panel=MODEL,
    ),
]
Device = Annotated[
    names.Device,
    typer.Option(
        "--device",
        envvar="COSER_DEVICE",
        help="Compute here; auto takes the fastest there is.",
        rich_help_panel=MODEL,
    ),
]
Dtype = Annotated[
    names.Dtype,
    typer.Option(
        "--dtype",
        envvar="COSER_DTYPE",
        help="Compute with this number type; auto suits the device.",
        rich_help_panel=MODEL,
    ),
]
Offload = Annotated[
    names.Offload,
    typer.Option(
        "--offload",
        envvar="COSER_OFFLOAD",
        help="Keep on the device: all weights (none), those of the networks that run (model), or "
        "those of the layer that runs (sequential, slow); auto goes by the free memory.",
        rich_help_panel=MODEL,
    ),
]
LowMemory = Annotated[
    bool,
    typer.Option(
        "--low-memory",
        envvar="COSER_LOW_MEMORY",
        help="Take as little memory as possible, and more time: --offload sequential, straight "
        "from the weights' files.",
        rich_help_panel=MODEL,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        envvar="COSER_COMPILE",
        help="Compile the networks of the denoising steps: seconds to minutes once per size, for "
        "shorter steps. Needs a C++ compiler on a CPU; results may differ in their last bits.",
        rich_help_panel=MODEL,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=REPORTING),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print JSON instead of text, one object per line.",
        rich_help_panel=REPORTING,
    ),
]


def _load_config(ctx: typer.Context, path: Path | None) -> Path | None:
    """Make the file's table for this command the defaults of its options."""
    if path is None or ctx.resilient_parsing:
        return path
    table = _read_table(path, str(ctx.info_name))
    known = {str(each.name) for each in ctx.command.params} - {"inputs", "config", "help_all"}
    values = {key.replace("-", "_"): value for key, value in table.items()}
    unknown = sorted(set(values) - known)
    if unknown:
        raise UsageError(
            f"{shown(path)}: unknown key {unknown[0]!r} in [{ctx.info_name}]",
            closest(unknown[0], sorted(known)) or f"known are {', '.join(sorted(known))}",
        )
    ctx.default_map = values
    return path


def _read_table(path: Path, command: str) -> dict[str, Any]:
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = reason_of(error)
        raise UsageError(f"cannot read {shown(path)}: {reason}", "check --config") from None
    except ValueError as error:  # not UTF-8 or not TOML
        raise UsageError(f"cannot read {shown(path)}: {error}", "it must be TOML") from None
    table = document.get(command, {})
    if not isinstance(table, dict):
        raise UsageError(f"{shown(path)}: {command!r} must be a table", f"write [{command}]")
    return table


Config = Annotated[
    Path | None,
    choose(
        "--config",
        metavar="FILE",
        panel=REPORTING,
        envvar="COSER_CONFIG",
        is_eager=True,
        callback=_load_config,
        help="Take defaults from this TOML file: a table per command, keys named like options.",
    ),
]
