"""HTTP on httpx: redirects followed one by one, so that each address is checked and a token never
leaves its own host; what goes wrong becomes `SourceError` or `Transient`.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import httpx

from coser_cli.errors import SourceError, WeightsError
from coser_cli.version import __version__
from coser_cli.weights.fetch.hosts import Hosts, Patience
from coser_cli.weights.urls import display_url, is_allowed

MAX_REDIRECTS = 10
REDIRECTS = {301, 302, 303, 307, 308}
_CONNECT_SECONDS = 20.0
GONE = {401, 403, 404, 410}
LATER = {408, 425, 429, 500, 502, 503, 504}
PAGE_BYTES = 1 << 20
_REASONS = {
    401: "asks for a login (HF_TOKEN is for Hugging Face)",
    403: "refuses access",
    404: "does not have the file",
    410: "no longer has the file",
}


class Transient(Exception):  # noqa: N818 (no error yet: it is tried again)
    """Something that may pass: tried again after `wait` seconds, or after a while of its own."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class HeadResponse:
    """The result of a HEAD request: final status, and headers of all hops, earlier ones first."""

    status: int
    headers: Mapping[str, str]


class Web:
    """A connection to the file hosts; a context manager."""

    def __init__(self, hosts: Hosts, patience: Patience) -> None:
        self._hosts = hosts
        timeout = httpx.Timeout(patience.timeout, connect=min(patience.timeout, _CONNECT_SECONDS))
        # A body in a content encoding has other bytes and another length than the file.
        headers = {"User-Agent": f"coser/{__version__}", "Accept-Encoding": "identity"}
        try:
            self._client = httpx.Client(timeout=timeout, headers=headers)
        except (ImportError, ValueError) as error:  # a proxy that httpx cannot use
            hint = "check HTTPS_PROXY, ALL_PROXY and NO_PROXY"
            raise WeightsError(f"the proxy settings cannot be used ({error})", hint) from error

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    @contextmanager
    def get(self, url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        """The response to a GET, its body not read yet, after redirects.

        Network trouble, also while the body is read inside the block, becomes `Transient`; an
        address that may not be asked, or a certificate that is not valid, `SourceError`.
        """
        try:
            response = self._follow("GET", url, headers)[-1]
            try:
                yield response
            finally:
                response.close()
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _translated(error, url) from error

    def head(self, url: str) -> HeadResponse:
        """HEAD requests along the redirects, up to a hop that has a linked file's hash."""
        try:
            hops = self._follow("HEAD", url, {})
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _translated(error, url) from error
        headers: dict[str, str] = {}
        for hop in reversed(hops):  # what an earlier hop says of the file itself counts more
            headers |= dict(hop.headers)
        for name in ("etag", "content-length"):  # of these the last hop knows best
            headers.pop(name, None)
            if name in hops[-1].headers:
                headers[name] = hops[-1].headers[name]
        return HeadResponse(hops[-1].status_code, headers)

    def _follow(self, method: str, url: str, headers: Mapping[str, str]) -> list[httpx.Response]:
        """All responses on the way, the last one open."""
        hops: list[httpx.Response] = []
        while len(hops) <= MAX_REDIRECTS:
            response = self._send(method, url, headers)
            hops.append(response)
            location = response.headers.get("location")
            linked = method == "HEAD" and "x-linked-etag" in response.headers
            if response.status_code not in REDIRECTS or location is None or linked:
                return hops
            response.close()
            url = _next_address(url, location)
        raise SourceError(f"more than {MAX_REDIRECTS} redirects")

    def _send(self, method: str, url: str, headers: Mapping[str, str]) -> httpx.Response:
        if not is_allowed(url):
            raise SourceError(f"{display_url(url)} is not https")
        token = self._hosts.token_for(url)
        own = {"Authorization": f"Bearer {token}"} if token else {}
        request = self._client.build_request(method, url, headers=dict(headers) | own)
        return self._client.send(request, stream=True, follow_redirects=False)


def _next_address(url: str, location: str) -> str:
    """Where a redirect leads. Raises SourceError where it must not be followed."""
    target = urljoin(url, location)
    downgraded = urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https"
    if downgraded or not is_allowed(target):
        raise SourceError(f"redirected to {display_url(target)}, which is not https")
    return target


def _translated(error: Exception, url: str) -> SourceError | Transient:
    reason = str(error) or type(error).__name__
    final = isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL)
    if final or "CERTIFICATE_VERIFY_FAILED" in reason:
        return SourceError(f"{display_url(url)}: {reason}")
    if isinstance(error, httpx.TimeoutException):
        return Transient("no answer in time")
    if isinstance(error, httpx.ConnectError):
        return Transient(f"no connection ({reason})")
    return Transient(f"the connection broke ({reason})")


def page_of(response: httpx.Response) -> str | None:
    """The text of an answer that is an HTML page, else None."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    quota = response.status_code == 403 and kind == "application/json"
    if kind not in ("text/html", "application/xhtml+xml") and not quota:
        return None
    if response.status_code in LATER or response.status_code in GONE - {403}:
        return None  # the status says it all
    body = b""
    for chunk in response.iter_raw():
        body += chunk
        if len(body) > PAGE_BYTES:
            break
    text = body.decode("utf-8", "replace")
    if response.status_code == 403 and "quota" not in text.lower():
        return None
    return text


def refuse_status(response: httpx.Response) -> None:
    """Raise what a status other than 200, 206 and 416 stands for."""
    status = response.status_code
    if status in GONE:
        raise SourceError(f"{status}, the host {_REASONS[status]}")
    if status in LATER:
        raise Transient(f"the host answered {status}", retry_after(response))
    if status not in (200, 206, 416):
        raise SourceError(f"unexpected answer {status}")


def validator(response: httpx.Response) -> str:
    """What If-Range accepts (RFC 9110 13.1.5): a strong ETag, else the date of the last change."""
    etag = str(response.headers.get("etag", ""))
    if etag and not etag.startswith("W/"):
        return etag
    return str(response.headers.get("last-modified", ""))


def content_range(response: httpx.Response) -> tuple[int, int | None]:
    """First byte and total of a 206. Raises SourceError if they are missing."""
    text = response.headers.get("content-range", "")
    unit, _, rest = text.partition(" ")
    span, _, total = rest.partition("/")
    start = span.partition("-")[0]
    if unit != "bytes" or not start.isdigit() or not (total.isdigit() or total == "*"):
        raise SourceError(f"a partial answer without its place (Content-Range {text!r})")
    return int(start), int(total) if total.isdigit() else None


def retry_after(response: httpx.Response) -> float | None:
    """Seconds that a server asks to wait: `Retry-After` as a number or a date (RFC 9110 10.2.3)."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())
