"""What `coser download-weights` is about to do, and what that takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from coser_cli.cli.output.weights import (
    WeightsReporter,
    amount_text,
    license_lines,
    size_text,
)
from coser_cli.errors import shown

if TYPE_CHECKING:
    from coser_cli.weights.install.inventory import Inventory
    from coser_cli.weights.install.plan import Plan


def announce(
    reporter: WeightsReporter,
    inventory: Inventory,
    plan: Plan,
    imports: Mapping[str, Path],
    *,
    dtype: str,
    keep_originals: bool,
    with_licenses: bool,
) -> None:
    """Three lines: what will be done, how much that is, under which licences."""
    from coser_cli.weights.install.plan import download_bytes, free_bytes

    plan, coming, conversion, copies = _amounts(inventory, plan, imports, dtype, keep_originals)
    models = [variant.name for variant in plan.variants]
    steps = {"import": list(imports), "fetch": plan.fetch, "install": models}
    todo = "; ".join(f"{step} {', '.join(names)}" for step, names in steps.items() if names)
    if not todo:
        reporter.message(f"there is nothing to do: everything is in {shown(inventory.root)}")
        return
    fetched = download_bytes(inventory, plan.fetch)
    sizes = [f"{size_text(sum(coming.values()))} to import"] if coming else []
    sizes += [f"{amount_text(fetched)} to fetch"] if plan.fetch else []
    if not fetched.unknown:
        sizes.append(f"{size_text(fetched.bytes + conversion + copies)} on disk meanwhile")
    names = [*plan.fetch, *imports]
    licenses = inventory.manifest.licenses_of(names)
    reporter.message(f"to do: {todo} in {shown(inventory.root)}")
    reporter.message(f"size: {', '.join(sizes)}; {size_text(free_bytes(inventory.root))} are free")
    needed = [name for name in names if name not in plan.optional]
    ids = [each.id for each in inventory.manifest.licenses_of(needed)]
    more = [f"{each.id} (can be left out)" for each in licenses if each.id not in ids]
    reporter.message(f"licences: {', '.join([*ids, *more])}")
    if with_licenses:
        reporter.message("\n".join(license_lines(licenses)))


def _amounts(
    inventory: Inventory,
    plan: Plan,
    imports: Mapping[str, Path],
    dtype: str,
    keep_originals: bool,
) -> tuple[Plan, dict[str, int], int, int]:
    """The plan with the models that imported files complete; bytes of these files by id, those of
    the conversion, and of copies.
    """
    from coser_cli.weights.install.plan import conversion_bytes, copied_bytes, with_models_of

    files = {name: path for name, path in imports.items() if path.is_file()}
    plan = with_models_of(inventory, plan, files)
    coming = {name: path.stat().st_size for name, path in files.items()}
    conversion = conversion_bytes(inventory, plan, dtype, coming=coming)
    return plan, coming, conversion, copied_bytes(inventory, files, keep=keep_originals)


def show_plan(
    reporter: WeightsReporter,
    inventory: Inventory,
    plan: Plan,
    imports: Mapping[str, Path],
    *,
    dtype: str,
    keep_originals: bool,
) -> None:
    """`--dry-run`: what would be imported, fetched and installed, and what that takes."""
    from coser_cli.weights.install.plan import download_bytes, free_bytes

    plan, coming, conversion, copies = _amounts(inventory, plan, imports, dtype, keep_originals)
    amount = download_bytes(inventory, plan.fetch)
    needed, free = amount.bytes + conversion + copies, free_bytes(inventory.root)
    licenses = inventory.manifest.licenses_of(plan.fetch)
    if reporter.as_json:
        reporter.record(
            "plan",
            {
                "present": list(plan.there),
                "import": list(coming),
                "fetch": list(plan.fetch),
                "install": [variant.name for variant in plan.variants],
                "download_bytes": amount.bytes,
                "estimated_sizes": list(amount.estimated),
                "unknown_sizes": list(amount.unknown),
                "disk_bytes": needed,
                "free_bytes": free,
                "licenses": [each.id for each in licenses],
            },
        )
        return
    for name in plan.there:
        if name not in coming:
            typer.echo(f"there: {name}")
    for name, size in coming.items():
        typer.echo(f"would import: {name}, {size_text(size)}")
    for name in plan.fetch:
        typer.echo(f"would fetch: {name}, {amount_text(download_bytes(inventory, [name]))}")
    for variant in plan.variants:
        typer.echo(f"would install: {variant.name} in {inventory.folder(variant)}")
    typer.echo(f"download: {amount_text(amount)}")
    typer.echo(f"disk: {size_text(needed)}, of it {size_text(conversion)} for conversion")
    typer.echo(f"free: {size_text(free)} in {inventory.root}")
    if licenses:
        typer.echo("licences:")
        typer.echo("\n".join(license_lines(licenses)))
