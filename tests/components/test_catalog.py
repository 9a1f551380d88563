"""The catalog: built-in and named plugins, names of axes and components."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from plugin_files import GOOD, HEADS, complaint, plugin

from clsbench.components.axes import AXES, Head
from clsbench.components.catalog import Catalog, axis_named, load_catalog
from clsbench.errors import UsageError
from clsbench.schema.experiment import ExperimentSpec


def test_load_catalog_contains_built_ins() -> None:
    catalog = load_catalog()
    assert catalog.failures == ()
    assert set(catalog.entries) == {axis.name for axis in AXES}
    entry = catalog.entry("poolings", "last-token")
    assert entry.distribution == "clsbench"
    assert entry.version
    assert (
        entry.summary == "The last position of the padded text, padding included, as in the book."
    )


def test_load_catalog_plugin_file_adds_its_components(write: Callable[..., str]) -> None:
    path = write(GOOD, "my-plugin.py")
    catalog = load_catalog([path])
    entry = catalog.entry("freezing_strategies", "attention-only")
    assert entry.distribution == "my-plugin.py"
    assert entry.version is None
    assert entry.source_sha256 is not None
    assert isinstance(entry.component, type)
    assert entry.component().blocks == 4  # type: ignore[union-attr]
    assert "attention-only" not in load_catalog().entries["freezing_strategies"]


def test_load_catalog_plugin_named_twice_is_loaded_once(
    write: Callable[..., str], tmp_path: Path
) -> None:
    path = write(GOOD)
    other_spelling = str(tmp_path / ".." / tmp_path.name / "my_plugin.py")
    catalog = load_catalog([path, path, other_spelling])
    assert "attention-only" in catalog.entries["freezing_strategies"]


def test_load_catalog_files_of_the_same_name_are_separate_plugins(tmp_path: Path) -> None:
    for folder, name in (("a", "head-a"), ("b", "head-b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plugin.py").write_text(plugin(HEADS, f'{{"{name}": Wide}}'))
    catalog = load_catalog([str(tmp_path / folder / "plugin.py") for folder in "ab"])
    assert {"head-a", "head-b"} <= set(catalog.entries["heads"])


def test_load_catalog_module_name_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named_plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    catalog = load_catalog(["named_plugin"])
    monkeypatch.delitem(sys.modules, "named_plugin")
    assert catalog.entry("freezing_strategies", "attention-only").distribution == "named_plugin"


def test_load_catalog_experiment_gets_its_registered_name(write: Callable[..., str]) -> None:
    source = plugin(
        "clsbench_register_experiments",
        '{"mine": clsbench.ExperimentSpec(dataset="synthetic-sms", backbone="gpt2-nano")}',
    )
    spec = load_catalog([write(source)]).spec(ExperimentSpec, "mine")
    assert isinstance(spec, ExperimentSpec)
    assert spec.name == "mine"


def test_catalog_entries_are_read_only() -> None:
    catalog = load_catalog()
    with pytest.raises(TypeError):
        catalog.entries["heads"] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        catalog.entries["heads"]["linear"] = None  # type: ignore[index]


@pytest.mark.parametrize("name", ["nowhere.py", "no/such/place", "./nowhere"])
def test_load_catalog_missing_plugin_file_is_refused(name: str) -> None:
    assert "file not found" in complaint(name)


def test_load_catalog_file_that_is_not_python_is_refused(write: Callable[..., str]) -> None:
    assert "not a Python file" in complaint(write("hello", "notes.txt"))


def test_load_catalog_missing_module_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No module named 'nowhere_at_all'" in complaint("nowhere_at_all")
    (tmp_path / "nowhere_at_all.py").write_text(GOOD)
    assert "use --plugin nowhere_at_all.py" in complaint("nowhere_at_all")


@pytest.mark.parametrize(
    "name", ["freezing_strategies", "freezing-strategy", "Freezing-Strategies", "freezing"]
)
def test_axis_named_accepts_spellings_of_the_axis(name: str) -> None:
    assert axis_named(name).name == "freezing_strategies"


def test_axis_named_unknown_axis_error_has_a_close_match() -> None:
    with pytest.raises(UsageError, match="did you mean 'poolings'"):
        axis_named("polings")


@pytest.mark.parametrize(
    ("axis", "name", "said"),
    [
        ("freezing_strategies", "last-block", "unknown freezing strategy 'last-block'; did you"),
        ("heads", "transformer", "unknown head 'transformer'; choose from: "),
        ("experiments", "gpt2-sms-span", "did you mean 'gpt2-sms-spam'?"),
    ],
)
def test_catalog_unknown_component_error_has_a_close_match(axis: str, name: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_catalog().entry(axis, name)
    assert said in str(caught.value)


def test_catalog_component_not_installed_error_names_its_package() -> None:
    without = Catalog(entries={"executors": {}}, plugins={}, failures=())
    with pytest.raises(UsageError, match=r"'ray'; install it: pip install clsbench-ray$"):
        without.entry("executors", "ray")


def test_load_catalog_imports_no_heavy_libraries() -> None:
    code = (
        "import sys; from clsbench.components.catalog import load_catalog; "
        "catalog = load_catalog(); "
        "assert not catalog.failures, catalog.failures; "
        "heavy = {'torch', 'numpy', 'pandas', 'sklearn', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_load_catalog_component_class_is_unchanged(write: Callable[..., str]) -> None:
    entry = load_catalog([write(plugin(HEADS, '{"wide": Wide}'))]).entry("heads", "wide")
    assert isinstance(entry.component, type)
    assert issubclass(entry.component, Head)
    assert entry.component().build(3, 2).out_features == 2  # type: ignore[union-attr]
