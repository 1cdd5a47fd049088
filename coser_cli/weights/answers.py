"""What an HTTP answer says of the file behind it: status, place, validator, or a page."""

from __future__ import annotations

import email.utils
import time

import httpx

from coser_cli.weights.web import SourceError, Transient

GONE = {401, 403, 404, 410}
LATER = {408, 425, 429, 500, 502, 503, 504}
PAGE_BYTES = 1 << 20
_REASONS = {
    401: "asks for a login (HF_TOKEN is for Hugging Face)",
    403: "refuses access",
    404: "does not have the file",
    410: "no longer has the file",
}


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
    """First byte and total of a 206. Raises SourceError if they are not told."""
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
