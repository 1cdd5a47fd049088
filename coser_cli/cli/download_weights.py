"""`coser download-weights`: fetch, import, verify and install weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from coser_cli.cli.consent import Consent, at_a_terminal
from coser_cli.cli.options import common as options
from coser_cli.cli.output.weights import (
    WeightsReporter,
    amount_text,
    license_lines,
    list_all,
    show_plan,
)
from coser_cli.errors import Exit, UsageError, shown

if TYPE_CHECKING:
    from coser_cli.weights.install.inventory import Stock
    from coser_cli.weights.install.plan import Choice, Plan

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
    _value("--accept-license", CONSENT, "ID", "Accept this licence; may be given several times."),
]
TrustFirstUse = Annotated[
    bool,
    _flag(
        "--trust-first-use",
        CONSENT,
        "Take what arrives first for a file that has no published hash, and hold it to that.",
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
    _value("--from-dir", FILES, "DIR", "Import all files in DIR that are known by name or hash."),
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


@dataclass(frozen=True)
class Asked:
    """The options, as far as the work itself looks at them."""

    sets: Sequence[str]
    imports: Sequence[tuple[Path, str]]
    from_dir: Path | None
    dtype: str
    keep_originals: bool
    mirror: str | None
    offline: bool


def download_weights(
    sets: Sets = None,
    list_: ListAll = False,
    dry_run: DryRun = False,
    verify: Verify = False,
    print_pins: PrintPins = False,
    accept_license: AcceptLicense = None,
    trust_first_use: TrustFirstUse = False,
    import_: ImportFile = None,
    as_: ImportAs = None,
    from_dir: FromDir = None,
    dest: Dest = None,
    keep_originals: KeepOriginals = False,
    dtype: StoredDtype = "float32",
    manifest: ManifestFile = None,
    mirror: Mirror = None,
    offline: Offline = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Fetch the weights of a model, or import them, and install it.

    Interrupted, the same command goes on where it was.
    """
    with WeightsReporter(as_json=as_json, quiet=quiet) as reporter:
        modes = {"--list": list_, "--dry-run": dry_run, "--verify": verify}
        modes["--print-pins"] = print_pins
        chosen = [name for name, on in modes.items() if on]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} do not go together", "leave one out")
        files, names = import_ or [], as_ or []
        if len(files) != len(names):
            raise UsageError("every --import needs its --as", "write --import FILE --as ID")
        from coser_cli.weights.fetch.hosts import is_offline

        pairs = list(zip(files, names, strict=True))
        no_network = offline or is_offline()
        asked = Asked(sets or [], pairs, from_dir, dtype, keep_originals, mirror, no_network)
        stock = _stock(manifest, dest)
        consent = Consent(stock.manifest, accept_license or [], trust=trust_first_use)
        try:
            _act(chosen[0] if chosen else "", reporter, stock, asked, consent)
        except (KeyboardInterrupt, typer.Abort):
            reporter.interrupted()
            raise typer.Exit(Exit.INTERRUPTED) from None


def _stock(manifest: Path | None, dest: Path | None) -> Stock:
    from coser_cli.paths import weights_dir
    from coser_cli.weights.install.inventory import Stock
    from coser_cli.weights.manifest import load_manifest

    return Stock(load_manifest(manifest), dest or weights_dir())


def _act(
    mode: str, reporter: WeightsReporter, stock: Stock, asked: Asked, consent: Consent
) -> None:
    """Do what the options say, and end with the exit code."""
    if mode == "--list":
        list_all(reporter, stock)
    elif mode == "--verify":
        _verify(reporter, stock, asked)
    elif mode == "--print-pins":
        _print_pins(reporter, stock, asked)
    else:
        choice = _choice(stock, asked)
        imports = _imports(reporter, stock, asked)
        if mode == "--dry-run":
            _dry_run(reporter, stock, asked, choice, [name for name, _ in imports])
        else:
            _supply(reporter, stock, asked, consent, choice, imports)
    raise typer.Exit(reporter.end())


def _choice(stock: Stock, asked: Asked) -> Choice:
    """What SET means; nothing where only files are imported."""
    from coser_cli.weights.install.plan import Choice, choose

    if not asked.sets and (asked.imports or asked.from_dir):
        return Choice(())
    return choose(stock.manifest, asked.sets)


def _imports(reporter: WeightsReporter, stock: Stock, asked: Asked) -> list[tuple[str, Path]]:
    """Ids and files to import. Raises UsageError for an id that the manifest does not have."""
    from coser_cli.weights.install.local_files import discover

    found: dict[str, Path] = {}
    if asked.from_dir is not None:
        label = f"looking at {asked.from_dir}"
        found = discover(
            stock,
            asked.from_dir,
            lambda done, total: reporter.progress(label, done, total),
            reporter.say,
        )
        if not found:
            reporter.say(f"nothing in {shown(asked.from_dir)} is in the manifest")
    for path, name in asked.imports:
        if name not in stock.manifest.files:
            known = ", ".join(stock.manifest.files)
            raise UsageError(f"--as: there is no file {name!r}", f"known are {known}")
        if stock.file(name).parts and not path.is_dir():
            raise UsageError(f"--as {name}: {shown(path)} is no folder", "give the folder")
        found |= stock.sources_in(name, path)
    return list(found.items())


def _supply(
    reporter: WeightsReporter,
    stock: Stock,
    asked: Asked,
    consent: Consent,
    choice: Choice,
    imports: list[tuple[str, Path]],
) -> None:
    """Import, fetch, convert, install."""
    from coser_cli.weights.fetch.hosts import hosts_from, patience_from
    from coser_cli.weights.install.plan import make_plan, require_space
    from coser_cli.weights.install.run import Supply, Told, require_network

    hosts, patience = hosts_from(mirror=asked.mirror), patience_from()
    coming = [name for name, _ in imports]

    def check(name: str) -> bool:
        right = stock.check(
            name, lambda done, total: reporter.progress(f"checking {name}", done, total)
        )
        if not right:
            reporter.say(f"{shown(stock.path(name))} is damaged or another file; fetching it anew")
        return right

    plan = make_plan(stock, choice, coming=coming, check=check)
    require_network(plan, offline=asked.offline)
    _announce(reporter, stock, plan, [name for name, _ in imports])
    plan, left_out = consent.reduce(plan, stock)
    for name in left_out:
        _say_left_out(reporter, stock, name)
    require_space(stock, plan, asked.dtype)
    told = Told(reporter.say, reporter.progress, lambda names: consent.require(names, stock))
    supply = Supply(
        stock,
        hosts,
        patience,
        told,
        dtype=asked.dtype,
        offline=asked.offline,
        keep_originals=asked.keep_originals,
    )
    if plan.fetch or imports or plan.variants or supply.has_to_convert(plan.there):
        with stock.locked(reporter.say):
            plan = make_plan(stock, choice, coming=coming, check=check).without(left_out)
            for outcome in supply.work(plan, imports):
                reporter.outcome(outcome)
    else:
        for outcome in supply.work(plan, imports):
            reporter.outcome(outcome)


def _announce(reporter: WeightsReporter, stock: Stock, plan: Plan, imported: Sequence[str]) -> None:
    """Say what will be fetched, how much that is, and under which licences."""
    from coser_cli.weights.install.plan import download_bytes

    if plan.fetch:
        names, amount = ", ".join(plan.fetch), download_bytes(stock, plan.fetch)
        reporter.say(f"to fetch: {names} ({amount_text(amount)}) into {shown(stock.root)}")
    asked = [] if at_a_terminal() else plan.fetch  # a prompt shows each licence
    licenses = stock.manifest.licenses_of([*asked, *imported])
    if licenses:
        reporter.say("\n".join(["licences:", *license_lines(licenses)]))


def _say_left_out(reporter: WeightsReporter, stock: Stock, name: str) -> None:
    flags = " ".join(f"--accept-license {each}" for each in stock.file(name).licenses)
    uses = "; ".join(each.commercial for each in stock.manifest.licenses_of([name]))
    reporter.say(
        f"{name} is left out, as its licences are not accepted (commercial use: {uses}); "
        f"the model works without it; to have it, add {flags}"
    )


def _dry_run(
    reporter: WeightsReporter, stock: Stock, asked: Asked, choice: Choice, coming: list[str]
) -> None:
    from coser_cli.weights.install import plan as planning

    plan = planning.make_plan(stock, choice, coming=coming)
    conversion = planning.conversion_bytes(stock, plan, asked.dtype)
    needed = planning.download_bytes(stock, plan.fetch).bytes + conversion
    free = planning.free_bytes(stock.root)
    show_plan(reporter, stock, plan, needed=needed, conversion=conversion, free=free)


def _all_or(stock: Stock, asked: Asked) -> list[str]:
    """Single files of the sets that were named; without one, all of the manifest."""
    from coser_cli.weights.install.plan import choose

    if asked.sets:
        return list(choose(stock.manifest, asked.sets).files)
    return [name for name, file in stock.manifest.files.items() if not file.parts]


def _verify(reporter: WeightsReporter, stock: Stock, asked: Asked) -> None:
    from coser_cli.weights.install.plan import Choice, choose
    from coser_cli.weights.install.run import Told
    from coser_cli.weights.install.verify import verify

    told = Told(reporter.say, reporter.progress, lambda names: None)
    choice = choose(stock.manifest, asked.sets) if asked.sets else Choice(())
    required = set(choice.files) - choice.optional
    for outcome in verify(stock, _all_or(stock, asked), told, required):
        reporter.outcome(outcome)


def _print_pins(reporter: WeightsReporter, stock: Stock, asked: Asked) -> None:
    from coser_cli.errors import WeightsError
    from coser_cli.weights.fetch.hosts import hosts_from, patience_from
    from coser_cli.weights.install.verify import pins

    if asked.offline:
        raise WeightsError("offline: --print-pins asks the hosts", "allow the network")
    hosts = hosts_from(mirror=asked.mirror)
    for pin in pins(stock, _all_or(stock, asked), hosts, patience_from()):
        reporter.pin(pin)
