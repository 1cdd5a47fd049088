"""The options that commands share, each declared once: name, bounds, help, panel, variable.

Parameter names equal the fields of `Settings`, and the keys of a TOML file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from coser_cli import settings as names
from coser_cli.cli.options.completion import complete_model
from coser_cli.cli.options.declare import options_of
from coser_cli.cli.output.errors import closest
from coser_cli.errors import UsageError, reading, shown
from coser_cli.imageio.formats import WRITABLE_SUFFIXES

file_option = options_of("Input and output")
sampling_option = options_of("Sampling")
reference_option = options_of("Reference")
model_option = options_of("Model and device")
reporting_option = options_of("Reporting")


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
    file_option(
        "Write to this file, into this folder, or to stdout; by default beside each input, as "
        "PNG. A file is for one input, and its extension decides the format: "
        f"{' '.join(WRITABLE_SUFFIXES)}.",
        "--output -o",
        metavar="FILE|DIR|-",
    ),
]
Overwrite = Annotated[
    bool,
    file_option(
        "Write again what exists; without it, finished outputs are skipped.", "--overwrite"
    ),
]
Scale = Annotated[
    float,
    file_option(
        "Enlarge each side by this factor, such as 2.5.",
        "--scale -s",
        min=names.MIN_SCALE,
        max=names.MAX_SCALE,
        metavar="1–16",
        envvar="COSER_SCALE",
    ),
]
SaveReference = Annotated[
    str | None,
    reference_option(
        "Also write the references that guide the result; beside it, or into DIR "
        "(--save-reference=DIR).",
        metavar="[DIR]",
    ),
]
Reference = Annotated[
    list[Path] | None,
    reference_option(
        "Let this picture guide the result; instead of one that is imagined. Repeat it for "
        "several. The same files serve every input. A picture whose aspect ratio differs by more "
        "than 2 % is made to cover the input's frame and cut on both sides alike.",
        metavar="FILE",
    ),
]
Mask = Annotated[
    Path | None,
    sampling_option(
        "Restore only where this 8-bit grey picture is white; black stays a bicubic enlargement, "
        "grey lies between. It is resized to the result. For several inputs: a folder with a mask "
        "of the same stem for each.",
        metavar="FILE|DIR",
    ),
]
Conditions = Annotated[
    list[str] | None,
    sampling_option(
        "Let this picture guide the result through a condition that the model was trained with, "
        "such as edges=sketch.png; repeat it for several. It is placed into the frame as a "
        "reference is. For several inputs: a folder with a picture of the same stem for each.",
        metavar="NAME=FILE|DIR",
    ),
]
Compare = Annotated[
    bool,
    file_option(
        "Also write a picture of what has changed; NAME_compare.png shows bicubic, the saved "
        "reference, the result, and a detail.",
        "--compare",
    ),
]
Model = Annotated[
    str,
    model_option(
        "Use this model, or the one in a folder; auto takes sd21 where its weights are "
        "installed, else mini.",
        metavar="NAME|DIR",
        envvar="COSER_MODEL",
        autocompletion=complete_model,
    ),
]
PreRestorer = Annotated[
    str | None,
    model_option(
        "Enlarge with this super-resolution network in place of the model's own: a .safetensors, "
        ".pth or .ckpt file of any architecture that spandrel knows (extra spandrel). With "
        "--strength 0 its picture is the result.",
        metavar="FILE",
    ),
]
Device = Annotated[
    names.Device,
    model_option("Compute here; auto takes the fastest there is.", envvar="COSER_DEVICE"),
]
Dtype = Annotated[
    names.Dtype,
    model_option("Compute with this number type; auto suits the device.", envvar="COSER_DTYPE"),
]
Offload = Annotated[
    names.Offload,
    model_option(
        "Keep on the device: all weights (none), those of the networks that run (model), or "
        "those of the layer that runs (sequential, slow); auto goes by the free memory.",
        envvar="COSER_OFFLOAD",
    ),
]
LowMemory = Annotated[
    bool,
    model_option(
        "Take as little memory as possible, and more time: --offload sequential, straight "
        "from the weights' files.",
        "--low-memory",
        envvar="COSER_LOW_MEMORY",
    ),
]
Compile = Annotated[
    bool,
    model_option(
        "Compile the networks of the denoising steps: seconds to minutes once per size, for "
        "shorter steps. Needs a C++ compiler on a CPU; results may differ in their last bits.",
        "--compile",
        envvar="COSER_COMPILE",
    ),
]
Quiet = Annotated[bool, reporting_option("Print nothing but errors.", "--quiet -q")]
Json = Annotated[
    bool, reporting_option("Print JSON instead of text, one object per line.", "--json")
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
        with reading(path, UsageError, "check --config"):
            document = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # not UTF-8 or not TOML
        raise UsageError(f"cannot read {shown(path)}: {error}", "it must be TOML") from None
    table = document.get(command, {})
    if not isinstance(table, dict):
        raise UsageError(f"{shown(path)}: {command!r} must be a table", f"write [{command}]")
    return table


Config = Annotated[
    Path | None,
    reporting_option(
        "Take defaults from this TOML file: a table per command, keys named like options.",
        metavar="FILE",
        envvar="COSER_CONFIG",
        is_eager=True,
        callback=_load_config,
    ),
]
