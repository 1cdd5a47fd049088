"""`coser evaluate study`: which results people prefer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coser_cli.cli.evaluate_metrics import Overwrite
from coser_cli.cli.options import common as options
from coser_cli.cli.options.declare import option
from coser_cli.cli.options.groups import with_groups
from coser_cli.cli.output.columns import plain_columns
from coser_cli.cli.output.json_lines import print_record
from coser_cli.errors import UsageError, shown

if TYPE_CHECKING:
    from coser_cli.pages.study import StudyPicture

MAX_SIDE = 1024


@dataclass(frozen=True)
class Page:
    """The values of the options about the page of a study."""

    output: Annotated[
        Path | None,
        options.file_option(
            "Write the page of the study to this .html file.", "--output -o", metavar="FILE"
        ),
    ] = None
    input: Annotated[
        Path | None,
        options.file_option(
            "Also show the picture that was enlarged, from this folder.", metavar="DIR"
        ),
    ] = None
    question: Annotated[str, option("Ask this.", metavar="TEXT")] = (
        "Which picture is the better enlargement?"
    )
    max_side: Annotated[
        int, option("Reduce larger pictures to this many pixels.", min=64, max=8192)
    ] = MAX_SIDE
    overwrite: Overwrite = False


@with_groups
def study(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIRS|FILES",
            help="Folders with results, one per method; with --tally: saved choices (JSON).",
            readable=False,
        ),
    ],
    page: Page,
    tally: Annotated[
        bool, option("Count the choices in FILES instead of making a page.", "--tally")
    ] = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Make one page that asks people which of two results is better, or count their choices."""
    if not tally:
        _make_page(places, page, quiet=quiet, as_json=as_json)
        return
    if page.output is not None or page.input is not None:
        raise UsageError("--tally counts choices", "leave --output and --input out")
    _tally(places, quiet=quiet, as_json=as_json)


def _make_page(folders: Sequence[Path], page: Page, *, quiet: bool, as_json: bool) -> None:
    from coser_cli.cli.page_files import write_page
    from coser_cli.pages.study import study_page

    output = page.output
    if output is None or output.suffix.lower() not in (".html", ".htm"):
        raise UsageError("a study is an HTML page", "give --output FILE.html, or --tally")
    if output.exists() and not page.overwrite:
        raise UsageError(f"{shown(output)} exists", "give another name, or --overwrite")
    pictures, notes = _pictures(folders, page.input)
    for note in () if quiet else notes:
        typer.echo(f"note: {note}", err=True)
    study = study_page(pictures, page.question, page.max_side)
    write_page(output, study.html)
    if as_json:
        facts = {"target": str(output), "study": study.identity, "pairs": study.pairs}
        print_record("study", facts)
        return
    typer.echo(str(output))
    if not quiet:
        pairs = "1 pair" if study.pairs == 1 else f"{study.pairs} pairs"
        typer.echo(f"{pairs}; study {study.identity}", err=True)


def _pictures(
    folders: Sequence[Path], source: Path | None
) -> tuple[list[StudyPicture], tuple[str, ...]]:
    """Pictures that at least two methods have, and notes on the others."""
    from coser_cli.evaluation.pairs import left_out
    from coser_cli.pages.study import StudyPicture

    if len(folders) < 2:
        raise UsageError("a study compares at least two folders of results")
    names = [folder.absolute().name for folder in folders]
    if len(set(names)) < len(names):
        raise UsageError("two folders have the same name", "methods are called after their folders")
    pictures, alone = list[StudyPicture](), list[str]()
    for anchor, results in _results(dict(zip(names, folders, strict=True)), source):
        if len(results) > 1:
            original = None if source is None else anchor
            pictures.append(StudyPicture(anchor.stem, results, original))
        else:
            alone.append(anchor.stem)
    if not pictures:
        raise UsageError(
            "no picture is in two of the folders", "files belong together by their names"
        )
    return pictures, left_out(alone, "fewer than two methods have them")


def _results(
    folders: Mapping[str, Path], source: Path | None
) -> list[tuple[Path, dict[str, Path]]]:
    """Each picture, by its file in `source` or in the first folder that has it, with the results
    of all methods."""
    from coser_cli.evaluation.pairs import match, pictures_in

    anchors = [] if source is None else pictures_in(source)
    results: dict[Path, dict[str, Path]] = {anchor: {} for anchor in anchors}
    for name, folder in folders.items():
        files = pictures_in(folder)
        matches = match(list(results), files)
        for anchor, file in matches.items():
            results[anchor][name] = file
        for file in set(files) - set(matches.values()) if source is None else ():
            results[file] = {name: file}
    return sorted(results.items(), key=lambda each: each[0].stem)


def _tally(files: Sequence[Path], *, quiet: bool, as_json: bool) -> None:
    from coser_cli.evaluation.preference import read_sessions
    from coser_cli.evaluation.preference import tally as count

    sessions = read_sessions(files)
    tallies = count(sessions)
    if as_json:
        for each in tallies:
            print_record("tally", {"sessions": len(sessions), **asdict(each)})
        return
    rows = [("method", "preferred to", "votes", "against", "equal", "share", "95 % interval")]
    for each in tallies:
        share = "" if each.share is None else f"{100 * each.share:.1f} %"
        interval = (
            ""
            if each.interval is None
            else "{:.1f} to {:.1f} %".format(*(100 * side for side in each.interval))
        )
        counts = (str(each.wins), str(each.losses), str(each.equal))
        rows.append((each.first, each.second, *counts, share, interval))
    typer.echo(plain_columns(rows))
    people = "1 session" if len(sessions) == 1 else f"{len(sessions)} sessions"
    if not quiet:
        typer.echo(f"{people}; intervals take all votes as independent", err=True)
