"""The page as one HTML file without external resources."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from clsbench.report.page.content import Page
from clsbench.system.printable import printable


def render(page: Page) -> str:
    """The HTML of a page, with style, script and drawings inline and all text escaped.

    Its content security policy allows only the page's own script and no requests.
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
    """``value`` with control characters escaped if it is text; markup is returned unchanged."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return printable(value)
