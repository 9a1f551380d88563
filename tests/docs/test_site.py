"""The built site: no warnings, no requests to other servers, and a search that works offline."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from browser import browser

REPOSITORY = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("mkdocs is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_site_loads_nothing_from_other_servers(site: Path) -> None:
    external = re.compile(r'<(?:script|link|img)[^>]*(?:src|href)="(?:https?:)?//')
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    assert [p.name for p in pages if external.search(p.read_text(encoding="utf-8"))] == []


def test_site_search_works_on_pages_read_from_disk(site: Path, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as page:
        page.open(site / "index.html", 1200, 900)
        page.evaluate("document.querySelector('input.md-search__input').focus()")
        page.type("freezing strategy")
        links = "[...document.querySelectorAll('a.md-search-result__link')].map(a => a.href)"
        deadline = time.monotonic() + 60
        while not (found := page.evaluate(links)) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert any("plugins/freezing.html" in link for link in found)
    assert all(url.startswith(("file:", "data:", "about:")) for url in page.requests)
