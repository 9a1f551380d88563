"""Plugins installed as distributions, and plugins on the command line."""

from __future__ import annotations

import importlib
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_files import GOOD, HEADS, clsbench, plugin
from plugin_wheels import install

from clsbench.components.catalog import load_catalog
from clsbench.errors import PluginError, UsageError

REPOSITORY = Path(__file__).resolve().parents[2]


def test_load_catalog_finds_installed_plugins(site: Path) -> None:
    install(site, "dist-good", {"dist_good.py": GOOD}, {"good": "dist_good"})
    importlib.invalidate_caches()
    catalog = load_catalog()
    entry = catalog.entry("freezing_strategies", "attention-only")
    assert (entry.distribution, entry.version) == ("dist-good", "1.2.3")
    assert entry.source_sha256 is None
    assert catalog.failures == ()
    again = load_catalog(["dist_good"])  # installed, and named as well
    assert "attention-only" in again.entries["freezing_strategies"]


def test_load_catalog_failing_installed_plugin_is_skipped(site: Path) -> None:
    install(site, "dist-bad", {"dist_bad.py": "import missing_thing"}, {"bad": "dist_bad"})
    install(site, "dist-good", {"dist_good.py": GOOD}, {"good": "dist_good"})
    catalog = load_catalog()
    assert "attention-only" in catalog.entries["freezing_strategies"]
    (failure,) = catalog.failures
    assert failure.plugin == "bad (dist-bad)"
    assert "No module named 'missing_thing'" in failure.reason
    with pytest.raises(UsageError) as caught:
        catalog.entry("heads", "unknown-head")
    assert "bad (dist-bad)" in str(caught.value)  # the skipped plugin may provide it


def test_catalog_component_of_skipped_plugin_is_refused(site: Path) -> None:
    source = plugin(HEADS, '{"wide": Wide, "wrong": int}')
    install(site, "dist-claims", {"dist_claims.py": source}, {"claims": "dist_claims"})
    catalog = load_catalog()
    (failure,) = catalog.failures
    assert failure.claims == {("heads", "wide"), ("heads", "wrong")}
    assert "wide" not in catalog.entries["heads"]
    with pytest.raises(PluginError, match=r"claimed by the plugin claims \(dist-claims\)"):
        catalog.entry("heads", "wide")
    assert catalog.entry("heads", "linear")


def test_load_catalog_name_of_a_built_in_is_refused(site: Path) -> None:
    source = plugin(HEADS, '{"linear": Wide}')
    install(site, "aaa-first", {"dist_taken.py": source}, {"taken": "dist_taken"})
    catalog = load_catalog()
    assert catalog.entries["heads"]["linear"].distribution == "clsbench"
    (failure,) = catalog.failures
    assert "already taken by clsbench" in failure.reason


def test_example_plugin_entry_points_register_its_strategies(site: Path) -> None:
    folder = REPOSITORY / "plugins" / "clsbench-example-freezing"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    files = {
        str(path.relative_to(folder / "src")): path.read_text()
        for path in (folder / "src").rglob("*.py")
    }
    install(site, project["name"], files, project["entry-points"]["clsbench"])
    catalog = load_catalog()
    assert catalog.failures == ()
    for name in ("top-k-parameters", "surgical"):
        entry = catalog.entry("freezing_strategies", name)
        assert entry.distribution == "clsbench-example-freezing"
        assert entry.version == "1.2.3" or entry.version == project["version"]


def test_list_bad_named_plugin_exits_with_2(write: Callable[..., str]) -> None:
    path = write("import missing_thing")
    done = clsbench("--plugin", path, "list", "heads")
    assert done.returncode == 2
    assert path in done.stderr
    assert "missing_thing" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_list_bad_installed_plugin_warns(site: Path) -> None:
    source = plugin(HEADS, '{"wide": Wide, "wrong": int}')
    install(site, "dist-claims", {"dist_claims.py": source}, {"claims": "dist_claims"})
    done = clsbench("list", "heads", site=site)
    assert done.returncode == 0
    assert "linear" in done.stdout
    assert "dist-claims" in done.stderr
    named = clsbench("show", "gpt2-sms-spam", "--head", "wide", site=site)
    assert named.returncode == 2
    assert "dist-claims" in named.stderr
    assert "Traceback" not in named.stderr


def test_list_and_show_include_a_plugin_file(write: Callable[..., str]) -> None:
    path = write(GOOD)
    done = clsbench("--plugin", path, "list", "freezing-strategies", "--json")
    assert done.returncode == 0, done.stderr
    assert "attention-only" in json.dumps(json.loads(done.stdout))
    shown = clsbench(
        "--plugin", path, "show", "gpt2-sms-spam", "--freezing", "attention-only:blocks=2"
    )
    assert shown.returncode == 0, shown.stderr
    freezing = tomllib.loads(shown.stdout)["freezing"]
    assert freezing == {"name": "attention-only", "blocks": 2, "names": [".att."]}
