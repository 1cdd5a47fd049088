"""HTML pages that come instead of weights, Google Drive's among them."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from coser_cli.errors import SourceError

_QUOTA = re.compile(
    r"too many users have viewed or downloaded this file|downloadQuotaExceeded"
    r"|quota exceeded|download quota for this file",
    re.IGNORECASE,
)
_QUOTA_HINT = (
    "Google lifts it within 24 hours; sooner: open the address in a browser, logged in, copy the "
    "file to a Drive of your own or save it, and give it with --import FILE --as ID"
)


class _Page(HTMLParser):
    """Collects Drive's confirmation form and the page's title."""

    def __init__(self) -> None:
        super().__init__()
        self.action: str | None = None
        self.fields: dict[str, str] = {}
        self.title = ""
        self._inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "form" and attributes.get("id") == "download-form":
            self.action, self._inside = attributes.get("action"), "form"
        elif tag == "input" and self._inside == "form" and attributes.get("type") == "hidden":
            self.fields[attributes.get("name", "")] = attributes.get("value", "")
        elif tag == "title":
            self._inside = "title"

    def handle_endtag(self, tag: str) -> None:
        if tag == self._inside:
            self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "title":
            self.title += data


def confirmed(page: str, url: str) -> str | None:
    """The address behind Drive's "cannot scan this file" page, or None if `page` is another.

    The form's hidden inputs become the query. gdown, where it is installed, knows older pages, too.
    """
    parsed = _parsed(page)
    if parsed.action is None:
        return _by_gdown(page)
    parts = urlsplit(urljoin(url, parsed.action))
    query = dict(parse_qsl(parts.query)) | parsed.fields
    return urlunsplit(parts._replace(query=urlencode(query)))


def _by_gdown(page: str) -> str | None:
    try:
        from gdown.download import get_url_from_gdrive_confirmation
    except ImportError:
        return None
    try:
        return str(get_url_from_gdrive_confirmation(page)) or None
    except Exception:
        return None  # it raises where the page holds no address


def refused(page: str) -> SourceError:
    """The error for a page that came instead of weights: quota, or whatever its title says."""
    if _QUOTA.search(page):
        return SourceError("Google Drive's download quota for this file is used up", _QUOTA_HINT)
    title = " ".join(html.unescape(_parsed(page).title).split())
    named = f" ({title[:80]!r})" if title.isprintable() and title else ""
    return SourceError(
        f"an HTML page{named} instead of weights", "open the address in a browser to see it"
    )


def _parsed(page: str) -> _Page:
    parser = _Page()
    parser.feed(page)
    return parser
