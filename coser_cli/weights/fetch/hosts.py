"""Where a manifest's sources are on the network, which host gets a token, how patient to be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from coser_cli.errors import UsageError
from coser_cli.weights.manifest import Source
from coser_cli.weights.urls import display_url, is_allowed, origin

HUB = "https://huggingface.co"
MODELSCOPE = "https://modelscope.cn"
DRIVE = "https://drive.usercontent.google.com"
_OFF = {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class Hosts:
    """Addresses of the file hosts. `token` is Hugging Face's, for the origins in `trusted` only."""

    hub: str = HUB
    modelscope: str = MODELSCOPE
    drive: str = DRIVE
    token: str | None = None
    trusted: tuple[str, ...] = (HUB,)

    def address(self, source: Source) -> str:
        """The address that a source's file is read from."""
        if source.type == "https":
            return source.url
        if source.type == "gdrive":
            query = {"id": source.id, "export": "download", "confirm": "t"}
            return f"{self.drive}/download?{urlencode(query)}"
        base = self.hub if source.type == "hf" else f"{self.modelscope}/models"
        revision = source.revision or "master"  # ModelScope's name of the newest
        return f"{base}/{source.repo}/resolve/{revision}/{quote(source.path)}"

    def token_for(self, url: str) -> str | None:
        """The token if `url` is on a host that it belongs to, else None."""
        if self.token is None:
            return None
        return self.token if origin(url) in map(origin, self.trusted) else None


@dataclass(frozen=True)
class Patience:
    """Retries per source in a row without progress, seconds before the first, of silence."""

    retries: int = 5
    backoff: float = 1.0
    timeout: float = 60.0
    longest_wait: float = 300.0


def hosts_from(environment: Mapping[str, str] = os.environ, mirror: str | None = None) -> Hosts:
    """Hosts as `HF_ENDPOINT`, `HF_TOKEN` and `--mirror` say; a mirror gets no token.

    Raises UsageError for an address that may not be asked.
    """
    endpoint = environment.get("HF_ENDPOINT", "").rstrip("/") or None
    hub = (mirror or endpoint or HUB).rstrip("/")
    for name, address in (("HF_ENDPOINT", endpoint), ("--mirror", mirror)):
        if address is not None and not is_allowed(address):
            problem = f"{name} must be an https address, not {display_url(address)}"
            raise UsageError(problem, "plain http is for this computer only")
    token = environment.get("HF_TOKEN", "").strip() or None
    return Hosts(hub, token=token, trusted=(HUB, endpoint) if endpoint else (HUB,))


def patience_from(environment: Mapping[str, str] = os.environ) -> Patience:
    """`COSER_DOWNLOAD_RETRIES`, `_BACKOFF` and `_TIMEOUT` (seconds). Raises UsageError."""
    usual = Patience()
    return Patience(
        int(_number(environment, "COSER_DOWNLOAD_RETRIES", usual.retries)),
        _number(environment, "COSER_DOWNLOAD_BACKOFF", usual.backoff),
        _number(environment, "COSER_DOWNLOAD_TIMEOUT", usual.timeout, least=0.001),
    )


def _number(
    environment: Mapping[str, str], name: str, default: float, *, least: float = 0
) -> float:
    text = environment.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < 1e6:
        raise UsageError(f"{name} must be a number from {least:g}, not {text!r}")
    return value


def is_offline(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether `COSER_OFFLINE` or `HF_HUB_OFFLINE` forbids every request."""
    names = ("COSER_OFFLINE", "HF_HUB_OFFLINE")
    return any(environment.get(name, "").strip().lower() not in _OFF for name in names)
