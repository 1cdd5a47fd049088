"""HTML templates of the package, and the filling of their places; everything is escaped."""

from __future__ import annotations

import html
import os
import re
from importlib import resources
from pathlib import Path
from urllib.parse import quote

_PLACE = re.compile(r"\{\{(\w+)\}\}")


class Markup(str):
    """Text that is HTML already, and is put into a template as it is."""

    __slots__ = ()


def fill(template: str, **values: object) -> Markup:
    """`template` with every `{{name}}` replaced by its value, escaped unless it is `Markup`.

    Raises KeyError for a place without a value.
    """
    return Markup(_PLACE.sub(lambda place: _escaped(values[place[1]]), template))


def read_template(name: str) -> str:
    """A file of `coser_cli/assets/pages`."""
    return (resources.files("coser_cli") / "assets" / "pages" / name).read_text(encoding="utf-8")


def page(name: str, **values: object) -> bytes:
    """A whole page, `NAME.html` in the common frame with `NAME.css` and `NAME.js`, as UTF-8."""
    body = fill(read_template(f"{name}.html"), **values)
    style = read_template("common.css") + read_template(f"{name}.css")
    script = Markup(read_template(f"{name}.js"))
    title = values["title"]
    frame = read_template("frame.html")
    whole = fill(frame, title=title, style=Markup(style), body=body, script=script)
    return whole.encode("utf-8", "backslashreplace")


def name_text(path: Path | str) -> str:
    """A path as text that can be shown: bytes that are none, and control characters, escaped."""
    return "".join(each if each.isprintable() else _code(ord(each)) for each in str(path))


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


def _escaped(value: object) -> str:
    return value if isinstance(value, Markup) else html.escape(str(value), quote=True)
