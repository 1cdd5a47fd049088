"""`python -m coser_cli.cli.docs > docs/cli.md`: the reference page, generated from the program."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from typing import Any

INTRODUCTION = """\
# Command line

Generated from the program by `python -m coser_cli.cli.docs > docs/cli.md`; a test checks that it is
current.

`coser` without a command prints its help and ends with 2. `coser COMMAND --help` (or `-h`) shows
what follows.
"""

CONVENTIONS = """\
## Files

- Inputs are recognised by their content, not by their names. Orientation is applied, colours are
  taken to sRGB and written back in the input's profile (RGB and grey profiles), transparency is
  enlarged beside the colours, grey stays grey, 16-bit grey keeps its 16 bits in PNG and TIFF.
  16-bit colour is read as 8-bit, and a note says so.
- EXIF (without orientation, with the new size) and resolution are kept; XMP is not.
- Without `-o` a result lies beside its input as `NAME_4x.png` (the scale is in the name); a
  reference is `NAME_reference.png`, or `NAME_4x_reference.png` beside a result. Several are
  numbered from 1: `NAME_reference-1.png`, `NAME_4x_reference-1.png`.
- `coser reference -n 4` also writes `NAME_references.png`, a contact sheet of the input and the
  candidates with their scores. `-o FILE` names the sheet, and the candidates are `FILE-1`, `FILE-2`
  and so on.
- `-o` is a folder where it is one, ends in a slash, or has no extension; folders are made.
- Every name is decided before anything runs. Two outputs of one name, or an output that is one of
  the inputs or `--reference` files (also through a link), end the command with 2.
- A `--reference` file that cannot be read ends the command with 2 before anything runs. It is
  resized to the frame of the result; where its aspect ratio differs by more than 2 %, it covers the
  frame and is cut on both sides alike. One named twice counts once; 16 are the most.
- A result appears complete or not at all. One that exists is skipped unless `--overwrite` is
  given, so the same command continues after an interruption; it does not look at the settings the
  existing file was made with.
- A picture is refused above 89 million pixels (Pillow's guard against decompression bombs), or if
  its result would have more than 268 million (16384 × 16384).
- A name that starts with a dash goes after `--`, or as `./-name`.
- `--save-reference` takes the next word as its folder only if that is a folder, ends in a slash,
  or neither exists nor has an extension; `--save-reference=DIR` always works.

## Streams

stdout carries results: the path of each picture that is there (written or skipped), one per line,
or JSON. Several candidates of `coser reference` are followed by their contact sheet. stderr carries
everything else; a progress bar appears on a terminal only. Colours obey `NO_COLOR`. `--quiet`
leaves errors only (and the JSON, if asked for).

With `--json`, stdout has one object per picture:

```json
{"type": "image", "source": "a.jpg", "target": "a_4x.png", "reference": null, "references": [],
 "scores": null, "chosen": null, "status": "done", "seconds": 3.21, "source_size": [128, 128],
 "width": 512, "height": 512, "seed": 2887, "notes": [], "error": null}
```

`references` lists the files that references are written to, and `reference` is the first of those
beside a result. `scores` says how near each candidate is to the input (the cosine of what the
model's image tower sees in both, from -1 to 1), where they were compared: by
`--reference-select clip`, and by `coser reference` for several. `chosen` is the number, from 1, of
the candidate used, where only one is. Without `--json` a line on stderr says the same. Of several
candidates of `coser reference`, `target` is the contact sheet.

`status` is `done`, `skipped` or `failed`; `error` is `null` or an object of `code`, `exit_code`,
`message` and `hint`. The last line is the summary, also where the command fails before the first
picture (but not where its options cannot be read):

```json
{"type": "summary", "version": 1, "status": "success", "exit_code": 0, "total": 1, "done": 1,
 "skipped": 0, "failed": 0, "seconds": 3.5, "error": null}
```

`status` is `success`, `partial` (some failed), `error` (all failed, or nothing ran) or
`interrupted`.

## Weights

`coser download-weights` writes into the weights folder that `coser info` shows, or into `--dest`.
Nothing is fetched before size and licences are shown and accepted: at a prompt, or where there is
no terminal by `--accept-license ID`. A file without a published hash also needs
`--trust-first-use`; its hash is then recorded in `weights.lock.json`, and later files must equal
it. An optional file whose licence is not accepted is left out. [models.md](models.md) tells more.

stdout has the path of each file and model that is there. With `--json` it has one object per file,
then per model, then the summary:

```json
{"type": "file", "name": "taesd", "status": "downloaded", "path": ".../taesd/...", "size": 9793292,
 "sha256": "db16...", "url": "https://...", "error": null}
{"type": "model", "name": "sd21", "status": "installed", "path": ".../sd21", "missing": [],
 "error": null}
{"type": "summary", "version": 1, "status": "success", "exit_code": 0, "total": 2, "done": 2,
 "failed": 0, "seconds": 3.5, "error": null}
```

`status` of a file is `present`, `downloaded`, `imported` or `failed`; of a model `present`,
`installed`, `incomplete` (`missing` names what it needs) or `failed`. With `--verify` it is
`verified`, `failed`, `absent` or `unknown` (no hash to compare with). `--list`, `--dry-run` and
`--print-pins` have objects of the types `set`, `file`, `license`, `plan` and `pin`.

## Settings

A flag goes before a `COSER_*` variable, that before a TOML file (`--config FILE` or
`COSER_CONFIG`), that before the default, and where no default is shown it is the model's own. The
file has a table per command; keys are named like the options:

```toml
[upscale]
scale = 2
steps = 20
guidance-scale = 2.5
```

| variable | meaning |
|---|---|
| `COSER_WEIGHTS_DIR` | folder of installed weights instead of the user's data folder |
| `COSER_CONFIG` | TOML file, as `--config` |
| `COSER_DEBUG` | when set, errors keep their traceback |
| `COSER_OFFLINE`, `HF_HUB_OFFLINE` | when set, `coser download-weights` makes no request |
| `HF_ENDPOINT` | host to ask instead of huggingface.co |
| `HF_TOKEN` | token for huggingface.co and `HF_ENDPOINT`; no other host gets it |
| `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | proxies, as usual |
| `COSER_DOWNLOAD_RETRIES` | tries in a row without progress before the next source (5) |
| `COSER_DOWNLOAD_BACKOFF` | seconds before the first new try; doubled each time (1) |
| `COSER_DOWNLOAD_TIMEOUT` | seconds of silence that end a connection (60) |

The others are named beside their options below.

## Exit codes

| code | meaning |
|---|---|
| 0 | every picture is done or was skipped |
| 1 | at least one picture failed; the others are done |
| 2 | wrong options, settings or names, or a licence that is not accepted; nothing has run |
| 3 | weights are missing, unreachable, refused or damaged, or there is no room for them |
| 4 | the device cannot be used, or its memory suffices for none of the pictures |
| 130 | interrupted; the same command continues |
"""


def main() -> None:
    """Write the page to stdout."""
    sys.stdout.write(page())


def page() -> str:
    """The whole of `docs/cli.md`."""
    # Typer decides about colour when it is imported, and about width when it prints.
    for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS"):
        os.environ.pop(name, None)
    import typer.main

    from coser_cli.cli.app import app

    command = typer.main.get_command(app)
    return "\n".join([INTRODUCTION, CONVENTIONS, *_commands(command)]).rstrip() + "\n"


def _commands(root: Any) -> Iterator[str]:
    for name, command in sorted(root.commands.items()):
        yield f"## `coser {name}`\n"
        yield f"{command.help}\n"
        yield f"`coser {name} {_usage(command)}`\n"
        yield from _tables(command)


def _usage(command: Any) -> str:
    arguments = [_argument(each) for each in command.params if each.param_type_name == "argument"]
    return " ".join([*arguments, "[OPTIONS]"])


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return f"{name}..." if parameter.nargs == -1 else str(name)


def _tables(command: Any) -> Iterator[str]:
    """One table per help panel, in the order of the parameters."""
    panels: dict[str, list[Any]] = {}
    for parameter in command.params:
        if not getattr(parameter, "hidden", False):
            panels.setdefault(parameter.rich_help_panel or "", []).append(parameter)
    for title, parameters in panels.items():
        yield f"### {title}\n" if title else ""
        yield "| | default | |\n|---|---|---|"
        yield "\n".join(_row(each) for each in parameters) + "\n"


def _row(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return f"| `{_argument(parameter)}` | | {parameter.help} |"
    names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    values = _values(parameter)
    variable = f" `{parameter.envvar}`" if parameter.envvar else ""
    return f"| {names}{values} | {_default(parameter)} | {parameter.help}{variable} |"


def _default(parameter: Any) -> str:
    """The default in words, as its value, or nothing where it is the model's own."""
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    shown = parameter.show_default and parameter.default not in (None, False, "")
    return f"`{parameter.default}`" if shown else ""


def _values(parameter: Any) -> str:
    """What an option takes, after its name."""
    if parameter.is_flag:
        return ""
    if parameter.metavar:
        return f" {_escaped(parameter.metavar)}"
    choices = parameter.type_descriptor.choices
    if choices:
        return f" {_escaped('|'.join(map(str, choices)))}"
    if parameter.min is not None:
        return f" {parameter.min:.12g}–{parameter.max:.12g}"
    return " " + parameter.type_descriptor.annotation.__name__.upper().replace("STR", "TEXT")


def _escaped(text: str) -> str:
    """Bars end a table's cell."""
    return re.sub(r"\|", r"\\|", text)


if __name__ == "__main__":
    main()
