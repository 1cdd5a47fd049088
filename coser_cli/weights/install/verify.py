"""What is there, hashed again; and what the hosts say of files that are not, for whoever keeps a
manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from coser_cli.errors import SourceError, WeightsError, shown
from coser_cli.weights.fetch.hosts import Hosts, Patience
from coser_cli.weights.fetch.http import Transient, Web
from coser_cli.weights.install.inventory import Inventory, hash_of
from coser_cli.weights.install.run import Callbacks, Outcome
from coser_cli.weights.manifest import Variant
from coser_cli.weights.store import MODEL_FILE
from coser_cli.weights.urls import display_url


@dataclass(frozen=True)
class Pin:
    """Headers of a HEAD request to one source; None where a header is missing."""

    name: str
    url: str
    status: int | None = None
    linked_etag: str | None = None
    linked_size: str | None = None
    etag: str | None = None
    length: str | None = None
    commit: str | None = None
    problem: str | None = None


def pins(
    inventory: Inventory, names: Iterable[str], hosts: Hosts, patience: Patience
) -> Iterator[Pin]:
    """One HEAD request to every source of these files. Hugging Face gives a file's SHA-256 as
    `X-Linked-Etag` and the commit behind a branch as `X-Repo-Commit`.
    """
    with Web(hosts, patience) as web:
        for name in names:
            for source in inventory.file(name).sources:
                yield _pin(web, name, hosts.address(source))


def _pin(web: Web, name: str, url: str) -> Pin:
    try:
        response = web.head(url)
    except SourceError as error:
        return Pin(name, display_url(url), problem=error.message)
    except Transient as error:
        return Pin(name, display_url(url), problem=str(error))
    header = response.headers.get
    failed = None if response.status < 400 else f"the host answered {response.status}"
    return Pin(
        name,
        display_url(url),
        response.status,
        header("x-linked-etag"),
        header("x-linked-size"),
        header("etag"),
        header("content-length"),
        header("x-repo-commit"),
        failed,
    )


def verify(
    inventory: Inventory, names: Iterable[str], callbacks: Callbacks, required: Iterable[str] = ()
) -> Iterator[Outcome]:
    """Hash again what is there of these files, and of all models made of them.

    A file that is not there has the status "absent", or "failed" if it is one of `required` and
    no installed model has taken it up.
    """
    names, required = list(names), set(required)
    models = [each for each in inventory.manifest.variants.values() if not each.bundled]
    for name in names:
        outcome = _verified(inventory, name, callbacks)
        is_installed = any(inventory.is_in(name, variant) for variant in models)
        if outcome.status == "absent" and name in required and not is_installed:
            error = WeightsError(
                f"{name} is not there", f"to fetch it: coser download-weights {name}"
            )
            outcome = replace(outcome, status="failed", error=error)
        yield outcome
    for variant in inventory.manifest.variants.values():
        folder = inventory.folder(variant)
        if variant.bundled or not (folder / MODEL_FILE).is_file():
            continue
        if not {*variant.files, variant.base}.isdisjoint(names):
            yield _verified_model(variant, folder, callbacks)


def _verified(inventory: Inventory, name: str, callbacks: Callbacks) -> Outcome:
    path, known = inventory.path(name), inventory.known_hash(name)
    if not path.is_file():
        return Outcome("file", name, "absent", path)
    sha256 = hash_of(path, lambda done, total: callbacks.progress(f"checking {name}", done, total))
    size = path.stat().st_size
    if known is None:
        callbacks.say(f"{name}: no hash is known to compare with")
        return Outcome("file", name, "unknown", path, size, sha256)
    if sha256 == known:
        return Outcome("file", name, "verified", path, size, sha256)
    error = WeightsError(
        f"{shown(path)} is damaged: its SHA-256 is {sha256}, not {known}",
        "run the command again without --verify to fetch it anew",
    )
    return Outcome("file", name, "failed", path, size, sha256, error=error)


def _verified_model(variant: Variant, folder: Path, callbacks: Callbacks) -> Outcome:
    from coser_cli.weights.install.model import verify_model

    callbacks.say(f"checking {variant.name}")
    problems = verify_model(folder)
    if not problems:
        return Outcome("model", variant.name, "verified", folder)
    again = f"delete {shown(folder)}, then: coser download-weights"
    error = WeightsError(f"{shown(folder)}: {'; '.join(problems)}", again)
    return Outcome("model", variant.name, "failed", folder, error=error)
