"""`coser download-weights`: fetch, import, verify and install weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from coser_cli.cli.consent import Consent, confirm_matches, is_interactive
from coser_cli.cli.options import common as options
from coser_cli.cli.options import weights as weights_options
from coser_cli.cli.output.weights import WeightsReporter, list_all
from coser_cli.cli.output.weights_plan import announce, show_plan
from coser_cli.errors import Exit, UsageError, WeightsError, shown, writing
from coser_cli.paths import weights_dir

if TYPE_CHECKING:
    from coser_cli.weights.install.inventory import Inventory
    from coser_cli.weights.install.plan import Choice


@dataclass(frozen=True)
class Request:
    """The options, as far as the work itself looks at them."""

    sets: Sequence[str]
    imports: Sequence[tuple[Path, str]]
    from_dir: Path | None
    dtype: str
    keep_originals: bool
    mirror: str | None
    offline: bool
    strict: bool
    yes: bool
    pin: Path | None


def download_weights(
    sets: weights_options.Sets = None,
    list_: weights_options.ListAll = False,
    dry_run: weights_options.DryRun = False,
    verify: weights_options.Verify = False,
    print_pins: weights_options.PrintPins = False,
    pin: weights_options.Pin = None,
    accept_license: weights_options.AcceptLicense = None,
    trust_first_use: weights_options.TrustFirstUse = False,
    yes: weights_options.Yes = False,
    strict: weights_options.Strict = False,
    import_: weights_options.ImportFile = None,
    as_: weights_options.ImportAs = None,
    from_dir: weights_options.FromDir = None,
    dest: weights_options.Dest = None,
    keep_originals: weights_options.KeepOriginals = False,
    dtype: weights_options.StoredDtype = "float32",
    manifest: weights_options.ManifestFile = None,
    mirror: weights_options.Mirror = None,
    offline: weights_options.Offline = False,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Fetch the weights of a model, or import them, and install it.

    Interrupted, the same command goes on where it was.
    """
    with WeightsReporter(as_json=as_json, quiet=quiet) as reporter:
        modes = {"--list": list_, "--dry-run": dry_run, "--verify": verify}
        modes |= {"--print-pins": print_pins, "--pin": pin is not None}
        chosen = [name for name, on in modes.items() if on]
        if len(chosen) > 1:
            raise UsageError(f"{' and '.join(chosen)} do not go together", "leave one out")
        files, names = import_ or [], as_ or []
        if len(files) != len(names):
            raise UsageError("every --import needs its --as", "write --import FILE --as ID")
        from coser_cli.weights.fetch.hosts import is_offline
        from coser_cli.weights.install.inventory import Inventory
        from coser_cli.weights.manifest import load_manifest

        request = Request(
            sets or [],
            list(zip(files, names, strict=True)),
            from_dir,
            dtype,
            keep_originals,
            mirror,
            offline or is_offline(),
            strict,
            yes,
            pin,
        )
        inventory = Inventory(load_manifest(manifest), dest or weights_dir())
        consent = Consent(inventory.manifest, accept_license or [], trust=trust_first_use)
        try:
            _act(chosen[0] if chosen else "", reporter, inventory, request, consent)
        except (KeyboardInterrupt, typer.Abort):
            reporter.interrupted()
            raise typer.Exit(Exit.INTERRUPTED) from None


def _act(
    mode: str, reporter: WeightsReporter, inventory: Inventory, request: Request, consent: Consent
) -> None:
    """Do what the options say, and end with the exit code."""
    if mode == "--list":
        list_all(reporter, inventory)
    elif mode == "--verify":
        _verify(reporter, inventory, request)
    elif mode == "--print-pins":
        _print_pins(reporter, inventory, request)
    elif mode == "--pin":
        _write_pins(reporter, inventory, request)
    else:
        choice = _choice(inventory, request)
        imports = _imports(reporter, inventory, request, asking=mode != "--dry-run")
        if mode == "--dry-run":
            from coser_cli.weights.install.plan import make_plan

            files = dict(imports)
            plan = make_plan(inventory, choice, coming=files)
            dtype, keep = request.dtype, request.keep_originals
            show_plan(reporter, inventory, plan, files, dtype=dtype, keep_originals=keep)
        else:
            _install(reporter, inventory, request, consent, choice, imports)
    raise typer.Exit(reporter.end())


def _choice(inventory: Inventory, request: Request) -> Choice:
    """What SET means; nothing where only files are imported."""
    from coser_cli.weights.install.plan import Choice, choose

    if not request.sets and (request.imports or request.from_dir):
        return Choice(())
    return choose(inventory.manifest, request.sets)


def _imports(
    reporter: WeightsReporter, inventory: Inventory, request: Request, *, asking: bool
) -> list[tuple[str, Path]]:
    """Ids and files to import. Raises UsageError for an id that the manifest does not have, and
    WeightsError where there is nothing to import, nor anything else to do.
    """
    from coser_cli.weights.install.discover import discover

    files: dict[str, Path] = {}
    if request.from_dir is not None:
        label = f"looking at {request.from_dir}"
        matches = discover(
            inventory,
            request.from_dir,
            lambda done, total: reporter.transfer(label, done, total),
            reporter.message,
        )
        named = {name for _, name in request.imports}
        matches = {name: match for name, match in matches.items() if name not in named}
        if not matches and not request.imports and not request.sets:
            raise WeightsError(
                f"nothing in {shown(request.from_dir)} can be imported",
                "name a file: --import FILE --as ID; --list shows the ids",
            )
        recognised = {name: match for name, match in matches.items() if match.description}
        confirm_matches(reporter, recognised, asking=asking and not request.yes)
        files = {name: match.path for name, match in matches.items()}
    for path, name in request.imports:
        if name not in inventory.manifest.files:
            known = ", ".join(inventory.manifest.files)
            raise UsageError(f"--as: there is no file {name!r}", f"known are {known}")
        if inventory.file(name).parts and not path.is_dir():
            raise UsageError(f"--as {name}: {shown(path)} is no folder", "give the folder")
        files |= inventory.sources_in(name, path)
    return list(files.items())


def _install(
    reporter: WeightsReporter,
    inventory: Inventory,
    request: Request,
    consent: Consent,
    choice: Choice,
    imports: list[tuple[str, Path]],
) -> None:
    from coser_cli.weights.fetch.hosts import hosts_from, patience_from
    from coser_cli.weights.install.plan import make_plan, require_space
    from coser_cli.weights.install.run import Callbacks, Installer, require_network

    hosts, patience = hosts_from(mirror=request.mirror), patience_from()
    coming = [name for name, _ in imports]
    check = partial(_is_intact, reporter, inventory)
    plan = make_plan(inventory, choice, coming=coming, check=check)
    absent = [name for name in plan.fetch if request.offline and name in plan.optional]
    plan = plan.without(absent)
    require_network(plan, offline=request.offline)
    for name in absent:
        reporter.message(f"{name} is left out: it is not there, and no request may be made")
    is_asked = is_interactive() and bool(plan.fetch)  # a prompt shows each licence
    announce(
        reporter,
        inventory,
        plan,
        dict(imports),
        dtype=request.dtype,
        keep_originals=request.keep_originals,
        with_licenses=not is_asked,
    )
    plan, left_out = consent.reduce(plan, inventory)
    for name in left_out:
        _report_left_out(reporter, inventory, name)
    left_out += absent
    require_space(inventory, plan, request.dtype)
    callbacks = Callbacks(
        reporter.message, reporter.transfer, lambda names: consent.require(names, inventory)
    )
    installer = Installer(
        inventory,
        hosts,
        patience,
        callbacks,
        dtype=request.dtype,
        offline=request.offline,
        keep_originals=request.keep_originals,
        strict=request.strict,
    )
    with ExitStack() as stack:
        if plan.fetch or imports or plan.variants:
            stack.enter_context(inventory.locked(reporter.message))
            plan = make_plan(inventory, choice, coming=coming, check=check).without(left_out)
        for outcome in installer.work(plan, imports):
            reporter.outcome(outcome)


def _is_intact(reporter: WeightsReporter, inventory: Inventory, name: str) -> bool:
    """Whether a file that is there has its known hash."""
    intact = inventory.check(
        name, lambda done, total: reporter.transfer(f"checking {name}", done, total)
    )
    if not intact:
        path = shown(inventory.path(name))
        reporter.message(f"{path} is damaged or another file; fetching it anew")
    return intact


def _report_left_out(reporter: WeightsReporter, inventory: Inventory, name: str) -> None:
    flags = " ".join(f"--accept-license {each}" for each in inventory.file(name).licenses)
    uses = "; ".join(each.commercial for each in inventory.manifest.licenses_of([name]))
    reporter.message(
        f"{name} is left out, as its licences are not accepted (commercial use: {uses}); "
        f"the model works without it; to have it, add {flags}"
    )


def _all_or(inventory: Inventory, request: Request) -> list[str]:
    """Single files of the sets that were named; without one, all of the manifest."""
    from coser_cli.weights.install.plan import choose

    if request.sets:
        return list(choose(inventory.manifest, request.sets).files)
    return [name for name, file in inventory.manifest.files.items() if not file.parts]


def _verify(reporter: WeightsReporter, inventory: Inventory, request: Request) -> None:
    from coser_cli.weights.install.plan import Choice, choose
    from coser_cli.weights.install.run import Callbacks
    from coser_cli.weights.install.verify import verify

    callbacks = Callbacks(reporter.message, reporter.transfer, lambda names: None)
    choice = choose(inventory.manifest, request.sets) if request.sets else Choice(())
    required = set(choice.files) - choice.optional
    for outcome in verify(inventory, _all_or(inventory, request), callbacks, required):
        reporter.outcome(outcome)
    if not reporter.has_done_anything:
        reporter.message(f"nothing of it is in {shown(inventory.root)}")


def _print_pins(reporter: WeightsReporter, inventory: Inventory, request: Request) -> None:
    from coser_cli.weights.fetch.hosts import hosts_from, patience_from
    from coser_cli.weights.install.verify import pins

    if request.offline:
        raise WeightsError("offline: --print-pins asks the hosts", "allow the network")
    hosts = hosts_from(mirror=request.mirror)
    for pin in pins(inventory, _all_or(inventory, request), hosts, patience_from()):
        reporter.pin(pin)


def _write_pins(reporter: WeightsReporter, inventory: Inventory, request: Request) -> None:
    """Write the manifest in use with the hashes of what was installed; nothing is overwritten."""
    from coser_cli.weights.install.pin import pinned_manifest

    text, names = pinned_manifest(inventory)
    if str(request.pin) == "-":
        typer.echo(text, nl=False)
    else:
        assert request.pin is not None
        hint = "name another file"
        with (
            writing(request.pin, UsageError, hint),
            request.pin.open("x", encoding="utf-8") as file,
        ):
            file.write(text)
        reporter.file(request.pin)
    reporter.message(f"pinned: {', '.join(names)}; to use it: --manifest FILE")
