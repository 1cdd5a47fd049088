"""HTML pages from the package's templates; every value is escaped."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup


def page(name: str, **values: object) -> bytes:
    """A whole page, `NAME.html` in the common frame with `NAME.css` and `NAME.js`, as UTF-8.

    Raises `jinja2.UndefinedError` for a name in the template that has no value.
    """
    html = jinja().get_template(f"{name}.html").render(page=name, **values)
    return html.encode("utf-8", "backslashreplace")


@cache
def jinja() -> Environment:
    """Jinja with the templates of `coser_cli/assets/pages`."""
    environment = Environment(
        loader=PackageLoader("coser_cli", "assets/pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["asset"] = _asset
    return environment


def _asset(name: str) -> Markup:
    """A style sheet or a script, which goes into the page as it is."""
    file = resources.files("coser_cli") / "assets" / "pages" / name
    return Markup(file.read_text(encoding="utf-8"))


def _printable(value: object) -> object:
    """Each value of a template; names may hold control characters and undecodable bytes."""
    return value if isinstance(value, Markup) else name_text(str(value))


def name_text(text: str) -> str:
    """Text that can be shown: bytes that are no text, and control characters, escaped."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _code(ord(each)) for each in text)


def _code(point: int) -> str:
    """What cannot be shown, as in Python; Python keeps undecodable bytes at U+DC80 to U+DCFF."""
    point = point - 0xDC00 if 0xDC80 <= point <= 0xDCFF else point
    return f"\\x{point:02x}" if point < 256 else f"\\u{point:04x}"


def href(target: Path, page_path: Path) -> str:
    """The address of a file, relative to the page's folder, percent-encoded.

    A first step with a colon would read as a scheme, hence `./`.
    """
    target_path, folder = os.path.abspath(target), os.path.abspath(page_path.parent)
    try:
        relative = os.path.relpath(target_path, folder)
    except ValueError:  # another drive
        return Path(target_path).as_uri()
    return "./" + quote(os.fsencode(relative.replace(os.sep, "/")))
