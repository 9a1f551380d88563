"""The page as one HTML file that needs nothing from outside."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clsbench.report.page.content import Page
from clsbench.system.printable import printable


def render(page: Page) -> str:
    """The HTML of a page: style, script and drawings in it, every text from outside escaped.

    The page's own policy lets no script run but the page's own, and nothing be fetched.
    """
    environment = Environment(
        loader=PackageLoader("clsbench.report.page"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sources = {name: _source(environment, f"report.{name}") for name in ("css", "js")}
    digest = hashlib.sha256(sources["js"].encode()).digest()
    html = environment.get_template("report.html").render(
        page=page,
        style=Markup(sources["css"]),
        script=Markup(sources["js"]),
        newline=Markup("\n"),
        script_hash=base64.b64encode(digest).decode(),
    )
    return html.lstrip()


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _visible(value: Any) -> Any:
    """Text without characters that steer what shows it; markup of our own as it stands."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value)
