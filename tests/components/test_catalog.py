"""The catalog: built-in and named plugins, names of axes and components."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.plugin_files import GOOD, HEADS, complaint, plugin

from clsbench.components.axes import AXES, Head
from clsbench.components.catalog import Catalog, axis_named, load_catalog
from clsbench.errors import UsageError
from clsbench.schema.experiment import ExperimentSpec


def test_built_ins_come_in_by_entry_points() -> None:
    catalog = load_catalog()
    assert catalog.failures == ()
    assert set(catalog.entries) == {axis.name for axis in AXES}
    entry = catalog.entry("poolings", "last-token")
    assert entry.distribution == "clsbench"
    assert entry.version
    assert (
        entry.summary == "The last position of the padded text, padding included, as in the book."
    )


def test_a_plugin_file_brings_its_components(write: Callable[..., str]) -> None:
    path = write(GOOD, "my-plugin.py")
    catalog = load_catalog([path])
    entry = catalog.entry("freezing_strategies", "attention-only")
    assert entry.distribution == "my-plugin.py"
    assert entry.version is None
    assert entry.source_sha256 is not None
    assert isinstance(entry.component, type)
    assert entry.component().blocks == 4  # type: ignore[union-attr]
    assert "attention-only" not in load_catalog().entries["freezing_strategies"]


def test_a_plugin_may_be_named_twice(write: Callable[..., str], tmp_path: Path) -> None:
    path = write(GOOD)
    other_spelling = str(tmp_path / ".." / tmp_path.name / "my_plugin.py")
    catalog = load_catalog([path, path, other_spelling])
    assert "attention-only" in catalog.entries["freezing_strategies"]


def test_two_files_of_the_same_name_are_two_plugins(tmp_path: Path) -> None:
    for folder, name in (("a", "head-a"), ("b", "head-b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "plugin.py").write_text(plugin(HEADS, f'{{"{name}": Wide}}'))
    catalog = load_catalog([str(tmp_path / folder / "plugin.py") for folder in "ab"])
    assert {"head-a", "head-b"} <= set(catalog.entries["heads"])


def test_a_module_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "named_plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    catalog = load_catalog(["named_plugin"])
    monkeypatch.delitem(sys.modules, "named_plugin")
    assert catalog.entry("freezing_strategies", "attention-only").distribution == "named_plugin"


def test_an_experiment_gets_the_name_it_is_registered_by(write: Callable[..., str]) -> None:
    source = plugin(
        "clsbench_register_experiments",
        '{"mine": clsbench.ExperimentSpec(dataset="synthetic-sms", backbone="gpt2-nano")}',
    )
    spec = load_catalog([write(source)]).spec(ExperimentSpec, "mine")
    assert isinstance(spec, ExperimentSpec)
    assert spec.name == "mine"


def test_the_catalog_cannot_be_changed() -> None:
    catalog = load_catalog()
    with pytest.raises(TypeError):
        catalog.entries["heads"] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        catalog.entries["heads"]["linear"] = None  # type: ignore[index]


@pytest.mark.parametrize("name", ["nowhere.py", "no/such/place", "./nowhere"])
def test_a_plugin_file_that_is_not_there(name: str) -> None:
    assert "file not found" in complaint(name)


def test_a_file_that_is_no_python(write: Callable[..., str]) -> None:
    assert "not a Python file" in complaint(write("hello", "notes.txt"))


def test_a_module_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No module named 'nowhere_at_all'" in complaint("nowhere_at_all")
    (tmp_path / "nowhere_at_all.py").write_text(GOOD)
    assert "use --plugin nowhere_at_all.py" in complaint("nowhere_at_all")


@pytest.mark.parametrize(
    "name", ["freezing_strategies", "freezing-strategy", "Freezing-Strategies", "freezing"]
)
def test_an_axis_has_several_names(name: str) -> None:
    assert axis_named(name).name == "freezing_strategies"


def test_an_unknown_axis_is_reported_with_the_close_match() -> None:
    with pytest.raises(UsageError, match="did you mean 'poolings'"):
        axis_named("polings")


@pytest.mark.parametrize(
    ("axis", "name", "said"),
    [
        ("freezing_strategies", "last-block", "unknown freezing strategy 'last-block'; did you"),
        ("heads", "transformer", "choose from: linear, mlp"),
        ("experiments", "gpt2-sms-span", "did you mean 'gpt2-sms-spam'?"),
    ],
)
def test_an_unknown_component_is_reported_with_the_close_match(
    axis: str, name: str, said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        load_catalog().entry(axis, name)
    assert said in str(caught.value)


def test_catalog_component_of_a_distribution_not_installed_error_names_it() -> None:
    without = Catalog(entries={"executors": {}}, plugins={}, failures=())
    with pytest.raises(UsageError, match=r"'ray'; install it: pip install clsbench-ray$"):
        without.entry("executors", "ray")


def test_loading_the_catalog_imports_nothing_heavy() -> None:
    code = (
        "import sys; from clsbench.components.catalog import load_catalog; "
        "catalog = load_catalog(); "
        "assert not catalog.failures, catalog.failures; "
        "heavy = {'torch', 'numpy', 'pandas', 'sklearn', 'transformers'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_component_class_is_what_its_author_wrote(write: Callable[..., str]) -> None:
    entry = load_catalog([write(plugin(HEADS, '{"wide": Wide}'))]).entry("heads", "wide")
    assert isinstance(entry.component, type)
    assert issubclass(entry.component, Head)
    assert entry.component().build(3, 2).out_features == 2  # type: ignore[union-attr]
