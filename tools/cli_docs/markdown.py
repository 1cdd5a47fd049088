"""`python -m tools.cli_docs.markdown > docs/cli.md`: the reference page, from the program."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

from tools.cli_docs.commands import Command, Parameter, commands

INTRODUCTION = """\
# Command line

Generated from the program by `python -m tools.cli_docs.markdown > docs/cli.md`; a test checks that
it is current.

`coser photo.jpg` is `coser upscale photo.jpg`: where the first word is a picture, a pattern or an
option, `upscale` is meant. `coser` alone prints its help and ends with 2. `coser COMMAND --help`
(or `-h`) shows the usual options, `--help-all` those that follow. Defaults that are the model's own
are given for each model.
"""

CONVENTIONS = """\
## Files

- An input is a file, a folder, or a pattern in quotes (`'*.jpg'`, `'photos/**/*.jpg'`), for shells
  that do not expand them. A name that exists is itself, whatever characters it has. `--from-file`
  takes further inputs from a list.
- A folder means the pictures in it, with `-r` also those in its sub-folders, whose tree is kept
  below `-o`. Hidden files are passed by, and so are results of this program, which a note counts;
  name one to enlarge it again. Camera RAW files are counted and left out. A link that leads back to
  a folder of the search, and a folder that cannot be read, get one line each, the latter also a
  failure. A folder without pictures, if nothing else is
  named, and a pattern without matches end the command with 2.
- Inputs are recognised by their content, not by their names: PNG, JPEG, WebP, TIFF, BMP, GIF,
  AVIF, and HEIC with the extra `heif`. Camera RAW (CR2, CR3, NEF, ARW, DNG, RAF, ORF, RW2 and
  others), JPEG XL, JPEG 2000, Photoshop, PDF, SVG, OpenEXR and HDR files are refused by name.
- Orientation is applied, colours are taken to sRGB and written back in the input's profile (RGB and
  grey profiles), transparency is enlarged beside the colours, grey stays grey. More than 8 bits in
  are 16 bits out in PNG and TIFF. Results of CMYK are sRGB without a profile.
- EXIF, XMP, IPTC, comments, PNG texts and resolution are kept byte by byte where the format of the
  result has a place for them; orientation becomes 1, and the sizes those of the result. One note
  says what is not kept. `--strip-metadata` leaves all of it out; the profile stays.
  [docs/files.md](files.md) says more about kinds, colours, metadata and damage.
- Of animations and files of several pages the first is taken, and a note says so; `--all-frames`
  makes one result per frame, `NAME-1_4x.png` and so on.
- `--width`, `--height` or `--max-side` stand instead of `-s`. The named side is exact; the other is
  the input's side times the same factor, rounded. `--width` and `--height` together are a frame:
  the result is the largest that fits. Each picture has its own factor, from 1 to 16 as for `-s`;
  one outside of that fails alone; a picture that is larger than `--max-side` already is left as it
  is. Names then end in `_800w`, `_600h`, `_800x600` or `_max1000`.
- `--name` is a template with the fields `{stem}`, `{scale}`, `{ext}`, `{width}`, `{height}`,
  `{model}`, `{seed}`, `{index}` (from 1, in the order of the inputs) and `{frame}`; numbers may be
  formatted, as in `{index:04d}`. It names files; folders are named by `-o`.
- `--format`, or the extension of `-o FILE` or of `--name`, decides how results are written; PNG is
  the default. `--quality` is for JPEG, WebP and AVIF, `--chroma` for JPEG and AVIF (lossy WebP is
  always 4:2:0), `--lossless` for WebP; on PNG, TIFF and BMP, which lose nothing, they have no
  effect. What the format cannot do ends the command with 2.
- Without `-o` a result lies beside its input as `NAME_4x.png` (the scale is in the name); a
  reference is `NAME_reference.png`, or `NAME_4x_reference.png` beside a result; a comparison is
  `NAME_4x_compare.png`. Several references are numbered from 1: `NAME_reference-1.png`,
  `NAME_4x_reference-1.png`.
- `coser reference -n 4` also writes `NAME_references.png`, a contact sheet of the input and the
  candidates with their scores. `-o FILE` names the sheet, and the candidates are `FILE-1`, `FILE-2`
  and so on.
- `-o` is a folder where it is one, ends in a slash, or has no extension; folders are made.
- `a.jpg` and `a.png` become `a_jpg_4x.png` and `a_png_4x.png`; equal names of several folders get
  numbers. `--format same` writes each picture in its input's format, where that can be written.
- Every name is decided before anything runs. Two outputs of one name by `--name`, `-o` a file that
  is there and was not made by this program (`--overwrite` replaces it), or an output that is one of
  the inputs or `--reference` files (also through a link), end the command with 2.
- A `--reference` file that cannot be read ends the command with 2 before anything runs. It is
  resized to the frame of the result; where its aspect ratio differs by more than 2 %, it covers the
  frame and is cut on both sides alike. One named twice counts once; 16 are the most.
- A result appears complete or not at all, with a record of how it was made: the input's hash, the
  settings that had an effect, the model and a fingerprint of its weights (`docs/json.md`, `made`;
  no time, no folder).
  It lies in the file's XMP; of BMP files, with `--strip-metadata`, and where a JPEG's own XMP
  leaves no room, in the folder `.coser-records` beside them.
- The same command continues after an interruption or a power cut. What is there is kept where its
  record says that this command would make the same. Where it says otherwise (another input, other
  settings or weights), the file is made again, and a note says what differs; so a result that was
  edited and still has its record counts as a result: edit copies. What has no record is left alone
  with a note. `--overwrite` makes all again. The program's version, the device, `--dtype auto`, and
  what the free memory decides are recorded, but are no reason to make a file again.
- `coser info FILE` shows the record, and the command that makes the same bytes again with the same
  device, version of torch and memory. It takes the input from beside the file, from the folder
  above it or from the current one.
- Ctrl-C drops the file that is being made and ends with 130. Unfinished files (`.coser-*.part`) of
  runs that were killed are removed by the next run that writes into their folder.
- `--log FILE` appends a line for everything that happens, with time, process and level (`INFO`,
  `NOTE`, `ERROR`), also with `--quiet`. `--fail-fast` ends with the first failure and exit code 1;
  the rest is reported as not started.
- A picture above 89 million pixels is not read (Pillow's guard against decompression bombs).
  Results end where their format does, or the temporary space.
- Large pictures are done in tiles: by `coser tile` always, by `coser upscale` where memory does not
  suffice or the result is more than 1536 pixels on a side, which a note says.
  [large-photos.md](large-photos.md) tells how.
- An input is never overwritten, not through links nor through names that differ in case where case
  does not count.
- A name that starts with a dash goes after `--`, or as `./-name`.
- `--save-reference` takes the next word as its folder only if that is a folder, ends in a slash,
  or neither exists nor has an extension; `--save-reference=DIR` always works.

## Streams

stdout carries results: the path of each picture that is there (written or skipped), one per line,
or JSON. Several candidates of `coser reference` are followed by their contact sheet. stderr carries
everything else: on a terminal a bar for the picture in hand and one for the batch, elsewhere a line
for each picture of a batch. Colours obey `NO_COLOR`. `--quiet` leaves errors only (and the JSON, if
asked for). Every error is one line, `coser: what is wrong; what helps`.

One picture goes through pipes: `-` as an input is a picture on stdin, `-o -` sends the result to
stdout, and nothing else goes there. `-` alone, without `-o`, means both. The format is that of
`--format`, PNG by default; the picture arrives whole or not at all. A terminal is refused.

```sh
curl -s https://example.org/a.jpg | coser upscale - -o - -s 2 --format jpeg > a_2x.jpg
find . -name '*.jpg' -print0 | coser upscale --from-file - -o enlarged/
```

`--from-file LIST`, or `--from-file -` for stdin, has one name a line; where it contains a NUL byte,
which no name can, names end in NUL instead. Names are relative to the current folder; empty lines
are left out, and a carriage return at the end of a line with them.

With `--dry-run` stdout has, for each input, what would be made of it: sizes, tiles, steps,
evaluations of the networks, memory, temporary space, and the time by a short calibration; with
`--json` the same as an object of the type `plan`. Nothing is written.

With `--json`, stdout has one object per picture:

```json
{"type": "image", "source": "a.jpg", "frame": null, "target": "a_4x.png", "reference": null,
 "references": [], "comparison": null, "scores": null, "chosen": null, "status": "done",
 "seconds": 3.21, "source_size": [128, 128], "width": 512, "height": 512, "seed": 2887,
 "notes": [], "error": null}
```

`references` lists the files that references are written to, and `reference` is the first of those
beside a result. `scores` says how near each candidate is to the input (the cosine of what the
model's image tower sees in both, from -1 to 1), where they were compared: by
`--reference-select clip`, and by `coser reference` for several. `chosen` is the number, from 1, of
the candidate used, where only one is. Without `--json` a line on stderr says the same. Of several
candidates of `coser reference`, `target` is the contact sheet.

`frame` counts from 1 and is `null` without `--all-frames`. A folder that could not be read is
counted as failed, and its line is `{"type": "problem", "error": {...}}`.

`status` is `done`, `skipped` or `failed`; `error` is `null` or an object of `code`, `exit_code`,
`message` and `hint`. The last line is the summary, also where the command fails before the first
picture:

```json
{"type": "summary", "version": 1, "status": "success", "exit_code": 0, "total": 1, "done": 1,
 "skipped": 0, "failed": 0, "seconds": 3.5, "error": null}
```

`status` is `success`, `partial` (some failed), `error` (all failed, or nothing ran) or
`interrupted`.

`coser compare` and `coser report` print the path of their page. With `--json` it is one object,
also where they fail:

```json
{"type": "compare", "version": 1, "target": "a_4x_compare.html", "status": "done",
 "seconds": 0.8, "before": "a.jpg", "after": "a_4x.png", "more": [],
 "before_size": [128, 128], "after_size": [512, 512], "more_sizes": [], "shown_size": [512, 512],
 "notes": [], "error": null}
```

```json
{"type": "report", "version": 1, "target": "out/report.html", "status": "done", "seconds": 2.1,
 "folder": "out", "pictures": 9, "counts": {"done": 8, "skipped": 0, "failed": 1, "found": 0},
 "notes": [], "error": null}
```

## Pages

All pages are one HTML file each that needs nothing else and asks no network: pictures lie inside
it. They are written like pictures: complete or not at all, never over an input, and one that exists
is kept unless `--overwrite` is given.

- `coser compare A B...` lays A over B, with a divider between them that mouse, finger and keyboard
  move; wheel, two fingers and `+` `-` zoom. Further results can be chosen for either side, and all
  are shown side by side with one zoom. B's size decides. Pictures of another size are resized to it
  by bicubic interpolation, and labelled so. Pictures above `--max-side` are shown reduced, and the
  page says to what. Up to a million pixels are embedded without loss, more as JPEG of quality 95.
- `coser report DIR` shows what is known of a batch, with a divider between every input and its
  result, and model and settings from the records in the results: the records of
  `coser upscale --json` (of one file with `--log`, else of every `.jsonl` file in DIR), and the
  pictures in DIR. A log may hold several runs: the last record of a target counts, but `skipped`
  leaves an earlier `done` as it is.
  Pictures without a record are shown, too, with their input beside them where the names tell it
  (`NAME_4x.png` and `NAME.jpg`). Names in a log are relative to where the command ran: they are
  looked for from the present folder, the log's, DIR, and the ones above these two, then by their
  last part.
- `coser upscale --compare` writes `NAME_4x_compare.png` beside the result: the input enlarged by
  bicubic interpolation, the reference if `--save-reference` saves one, the result, and below them
  the place where result and bicubic differ most, pixel by pixel. Panels have at most 2000 pixels
  per side; the detail shows the result's own. A comparison of a result that is already there is
  made from that file. One of more than 4096 pixels per side that is there, or was made in tiles, is
  compared at 4096, and labelled so.

## Completion and manual

`coser --install-completion` teaches the shell that runs it (bash, zsh, fish) commands, options,
their choices and the installed models; open a new shell afterwards. `coser --show-completion`
prints the script instead. `_COSER_COMPLETE=source_bash coser` (or `source_zsh`, `source_fish`)
does so for a shell that is named. The manual page is installed with the package: `man coser`.
## Weights

`coser download-weights` writes into the weights folder that `coser info` shows, or into `--dest`.
Nothing is fetched before size and licences are shown and accepted: at a prompt, or where there is
no terminal by `--accept-license ID`. A file without a published hash also needs
`--trust-first-use`; its hash is then recorded in `weights.lock.json`, and later files must equal
it. An optional file whose licence is not accepted is left out. [models.md](models.md) tells more.

stdout has the path of each file and model that is there. With `--json` it has one object per file,
then per model, then the summary:

```json
{"type": "file", "name": "cfw", "status": "downloaded", "path": ".../originals/...",
 "size": 512190736, "sha256": "...", "url": "https://...", "error": null}
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
| `COSER_CACHE_DIR` | folder of what `--compile` keeps, instead of the user's cache folder |
| `COSER_CONFIG` | TOML file, as `--config` |
| `COSER_DEBUG` | when set, errors keep their traceback |
| `COSER_OFFLINE`, `HF_HUB_OFFLINE` | when set, `coser download-weights` makes no request |
| `HF_ENDPOINT` | host to ask instead of huggingface.co |
| `HF_TOKEN` | token for huggingface.co and `HF_ENDPOINT`; no other host gets it |
| `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | proxies, as usual |
| `COSER_DOWNLOAD_RETRIES` | tries in a row without progress before the next source (5) |
| `COSER_DOWNLOAD_BACKOFF` | seconds before the first new try; doubled each time (1) |
| `COSER_DOWNLOAD_TIMEOUT` | seconds of silence that end a connection (60) |

The others are named beside their options.

An option that has no effect on what a run makes is named in a line on stderr, with the reason:
`--steps` and `--seed` without diffusion, `--negative-prompt` without guidance, `--fidelity` with a
decoder that has none. It is not recorded, and is no reason to make a result again. A picture of
yours (`--reference FILE`) turns diffusion on where it is off by default. `--fast` and `--best`
exist for the models that have settings of their own for them.

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
    sections = (line for command in commands() for line in _section(command))
    return "\n".join([INTRODUCTION, CONVENTIONS, *sections]).rstrip() + "\n"


def _section(command: Command) -> Iterator[str]:
    yield f"## `coser {command.name}`\n"
    yield f"{command.help}\n"
    yield f"`coser {command.name} {command.usage}`\n"
    for panel in command.panels:
        yield f"### {panel.title}\n" if panel.title else ""
        yield "| | default | |\n|---|---|---|"
        yield "\n".join(_row(each) for each in panel.parameters) + "\n"


def _row(parameter: Parameter) -> str:
    names = ", ".join(f"`{name}`" for name in parameter.names)
    if parameter.is_argument:
        return f"| {_escaped(names)} | | {parameter.help} |"
    values = f" {_escaped(parameter.values)}" if parameter.values else ""
    default = parameter.default
    if default and not parameter.is_default_in_words:
        default = f"`{default}`"
    variable = f" `{parameter.variable}`" if parameter.variable else ""
    return f"| {names}{values} | {default} | {parameter.help}{variable} |"


def _escaped(text: str) -> str:
    """Bars end a table's cell."""
    return re.sub(r"\|", r"\\|", text)


if __name__ == "__main__":
    main()
