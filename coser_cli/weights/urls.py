"""Which addresses may be asked, and what of an address may be shown."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


def is_loopback(host: str) -> bool:
    """Whether a host name means this computer."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def is_allowed(url: str) -> bool:
    """HTTPS to anywhere; plain HTTP to this computer only."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a token may be sent to. Raises ValueError for no address."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        raise ValueError(f"no address: {url!r}")
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme, 0)


def display_url(url: str) -> str:
    """An address for a message: without password, and without a query, which may be a signature."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return repr(url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{host}{port}{parts.path}"


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises where it is no number)
    except ValueError:
        return None
    return parts
