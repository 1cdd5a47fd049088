"""`coser evaluate`: methods measured on pictures whose truth is known."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from coser_cli.cli.evaluate_metrics import AcceptLicense, Overwrite, metrics
from coser_cli.cli.evaluate_pairs import make_pairs
from coser_cli.cli.evaluate_study import study
from coser_cli.cli.options import common as options
from coser_cli.cli.options import sampling
from coser_cli.cli.options.command import Command, Group
from coser_cli.cli.options.compute import ModelOptions
from coser_cli.cli.options.declare import options_of
from coser_cli.cli.options.groups import with_groups
from coser_cli.errors import UsageError, shown
from coser_cli.settings import DEFAULT_SEED, Settings

if TYPE_CHECKING:
    from coser_cli.evaluation.methods import Method
    from coser_cli.evaluation.pairs import PictureSet
    from coser_cli.evaluation.protocols import Protocol

measured_option = options_of("What is measured")
DEFAULT_ROWS = "bicubic,everything"
DEFAULT_METRICS = "psnr_y,st_lpips"
SCORE_SUFFIXES = (".csv", ".jsonl")


class MeasureByDefault(Group):
    """`coser evaluate SETS…` means `coser evaluate measure SETS…`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the command's name in front of what is none."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["measure", *args]
        return super().parse_args(ctx, args)  # type: ignore[arg-type]


evaluate = typer.Typer(name="evaluate", cls=MeasureByDefault)


@evaluate.callback()
def root() -> None:
    """Measure models and other tools; `coser evaluate SETS` means `coser evaluate measure SETS`.

    A folder that has the name of one of the commands below is written ./NAME.
    """


@dataclass(frozen=True)
class Data:
    """The values of the options about pictures and methods."""

    results: Annotated[
        list[Path] | None,
        measured_option(
            "Measure the results in this folder, of any tool; repeat it for several.", metavar="DIR"
        ),
    ] = None
    reference: Annotated[
        Path | None, measured_option("Folder with the true pictures.", metavar="DIR")
    ] = None
    input: Annotated[
        Path | None,
        measured_option(
            "Folder with the low-resolution pictures; --rows enlarges them.", metavar="DIR"
        ),
    ] = None
    rows: Annotated[
        str | None,
        measured_option(
            "Also measure these methods, by commas, or `all`: bicubic, realesrgan, srresnet, "
            "no-diffusion, white-noise, no-reference, no-cognition, everything. Default: none "
            f"with --results, else {DEFAULT_ROWS}.",
            metavar="NAMES",
        ),
    ] = None
    metrics: Annotated[
        str | None,
        measured_option(
            "Metrics, by commas; `paper` and `all` stand for several. `coser evaluate metrics`"
            f" lists them. Default: those of --protocol, else {DEFAULT_METRICS}.",
            metavar="NAMES",
        ),
    ] = None
    protocol: Annotated[
        str | None,
        measured_option(
            "Measure as published figures were: imagenet-test2000, realsr, drealsr.", metavar="NAME"
        ),
    ] = None
    against: Annotated[
        str | None,
        measured_option(
            "Compare all others with this method, picture by picture. Default: the first.",
            metavar="METHOD",
        ),
    ] = None
    accept_license: AcceptLicense = None


@dataclass(frozen=True)
class Outputs:
    """The values of the options about what is written."""

    scores: Annotated[
        list[Path] | None,
        options.file_option(
            "Write all scores, picture by picture, to this .csv or .jsonl file; may be given "
            "twice.",
            metavar="FILE",
        ),
    ] = None
    page: Annotated[
        Path | None,
        options.file_option(
            "Write an HTML page with tables, box plots, and the pictures that differ most.",
            metavar="FILE",
        ),
    ] = None
    save: Annotated[
        Path | None,
        options.file_option(
            "Keep the results of --rows as DIR/SET/METHOD/NAME.png.", metavar="DIR"
        ),
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class Sampling:
    """The values of the options about sampling."""

    scale: options.Scale = 4.0
    steps: sampling.Steps = None
    sampler: sampling.Sampler = None
    strength: sampling.Strength = None
    fidelity: sampling.Fidelity = None
    guidance_scale: sampling.GuidanceScale = None
    seed: sampling.Seed = DEFAULT_SEED


@evaluate.command(cls=Command)
@with_groups
def measure(
    data: Data,
    outputs: Outputs,
    model: ModelOptions,
    sampled: Sampling,
    sets: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[SETS]",
            help="Folders with HR/ and LR/ (or LRx4/) pictures; instead of --reference.",
            show_default=False,
            readable=False,
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure models, other methods, and results of other tools, picture by picture."""
    from coser_cli.cli.output.evaluation import Report
    from coser_cli.cli.output.reporter import Reporter
    from coser_cli.cli.page_files import write_page
    from coser_cli.evaluation import metrics as table
    from coser_cli.evaluation.scores import Measurement, require_references

    protocol = _protocol(data.protocol)
    metrics = table.select(data.metrics or (protocol.metrics if protocol else DEFAULT_METRICS))
    _require_new_files(outputs)
    table.require(metrics, data.accept_license or ())
    settings = Settings(**asdict(sampled))
    load = _loader(model)
    with ExitStack() as stack:
        save_dir = outputs.save
        if save_dir is None and outputs.page is not None:
            save_dir = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        reporter = stack.enter_context(Reporter(quiet=quiet))
        report = Report(metrics, data.against, outputs.scores or (), reporter, as_json)
        for pictures in _sets(sets or (), data):
            require_references(pictures, metrics)
            methods = _methods(data, pictures, settings, load, report.note)
            results_dir = None if save_dir is None else save_dir / pictures.name
            measurement = Measurement(pictures, metrics, protocol, results_dir)
            report.begin(measurement, methods)
            for method in methods:
                report.add(measurement.run(method, report.progress))
            report.end()
        if outputs.page is not None:
            write_page(outputs.page, report.page())


def _sets(folders: Sequence[Path], data: Data) -> list[PictureSet]:
    from coser_cli.evaluation.pairs import find_set, set_of_folders

    if folders and (data.reference or data.input):
        raise UsageError("SETS have their own true pictures", "leave --reference and --input out")
    if folders:
        return [find_set(folder) for folder in folders]
    if data.reference or data.input:
        name = (data.reference or data.input or Path()).absolute().name
        return [set_of_folders(name, data.reference, data.input)]
    if data.results:  # metrics that look at results alone: the first folder names the pictures
        return [set_of_folders(data.results[0].absolute().name, None, data.results[0])]
    raise UsageError("there is nothing to measure", "name SETS, or give --results")


def _methods(
    data: Data, pictures: PictureSet, settings: Settings, load: Any, note: Any
) -> list[Method]:
    """Folders of results in the order given, then rows. Raises `UsageError`."""
    from coser_cli.evaluation.methods import ROWS, Folder, computed
    from coser_cli.evaluation.pairs import results_for

    methods: list[Method] = []
    for each in pictures.notes:
        note(each)
    for folder, name in zip(data.results or (), _names(data.results or ()), strict=True):
        files, notes = results_for(pictures, folder)
        methods.append(Folder(name, files))
        for each in notes:
            note(each)
    rows = data.rows or ("" if data.results else DEFAULT_ROWS)
    names = list(ROWS) if rows == "all" else [each.strip() for each in rows.split(",") if each]
    for name in names:
        if name not in ROWS:
            raise UsageError(f"--rows: {name!r} is none of {', '.join(ROWS)}")
        methods.append(computed(name, settings, load))
    repeated = {each.name for each in methods if [m.name for m in methods].count(each.name) > 1}
    if repeated:
        raise UsageError(f"{', '.join(sorted(repeated))} is there twice", "rename the folder")
    return methods


def _names(folders: Sequence[Path]) -> list[str]:
    """What folders are called: their names, with the folder above where these are alike."""
    names = [folder.absolute().name for folder in folders]
    if len(set(names)) == len(names):
        return names
    return [f"{folder.absolute().parent.name}/{folder.absolute().name}" for folder in folders]


def _loader(model: ModelOptions) -> Any:
    """A function that loads the model once, when first asked."""

    @cache
    def load() -> Any:
        from coser_cli.engine.upscaler import Upscaler

        return Upscaler.from_pretrained(**asdict(model))

    return load


def _protocol(name: str | None) -> Protocol | None:
    from coser_cli.evaluation.protocols import PROTOCOLS

    if name is not None and name not in PROTOCOLS:
        raise UsageError(f"--protocol: {name!r} is none of {', '.join(PROTOCOLS)}")
    return None if name is None else PROTOCOLS[name]


def _require_new_files(outputs: Outputs) -> None:
    """Raise `UsageError` for wrong extensions, and for files that would be written over."""
    for path in outputs.scores or ():
        if path.suffix.lower() not in SCORE_SUFFIXES:
            raise UsageError(f"--scores {shown(path)}: use {' or '.join(SCORE_SUFFIXES)}")
    if outputs.page is not None and outputs.page.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--page {shown(outputs.page)}: use .html")
    for path in [*(outputs.scores or ()), *([outputs.page] if outputs.page else ())]:
        if path.exists() and not outputs.overwrite:
            raise UsageError(f"{shown(path)} exists", "give another name, or --overwrite")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {shown(path.parent)}", "make it first")


evaluate.command(name="metrics", cls=Command)(metrics)
evaluate.command(name="make-pairs", cls=Command)(make_pairs)
evaluate.command(name="study", cls=Command)(study)
