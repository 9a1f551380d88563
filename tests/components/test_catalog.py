"""Discovery: real plugin files, and real distributions installed by pip."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import msgspec
import pytest
from plugin_wheels import install

from clsbench.components.axes import AXES, Head
from clsbench.components.catalog import Catalog, axis_named, load_catalog
from clsbench.components.hookspecs import hookimpl
from clsbench.errors import PluginError, UsageError
from clsbench.schema.experiment import ExperimentSpec

REPOSITORY = Path(__file__).resolve().parents[2]

GOOD = '''
"""A plugin with postponed annotations, which msgspec must resolve."""
from __future__ import annotations
from collections.abc import Sequence
from typing import Annotated
from msgspec import Meta
import clsbench


class AttentionOnly(clsbench.FreezingStrategy):
    """Train the attention of the last blocks; leave every MLP frozen."""

    blocks: Annotated[int, Meta(ge=1)] = 4
    names: tuple[str, ...] = (".att.",)

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        stages = clsbench.last_blocks(parameters, self.blocks)
        return [p.name for p in parameters if p.stage in stages and ".att." in p.name]


@clsbench.hookimpl
def clsbench_register_freezing_strategies():
    return {"attention-only": AttentionOnly}
'''


def plugin(hook: str, returned: str, before: str = "") -> str:
    return f'''
import clsbench, msgspec
{before}

class Wide(clsbench.Head):
    """A head."""

    def build(self, hidden_size, num_classes):
        from torch import nn
        return nn.Linear(hidden_size, num_classes)


@clsbench.hookimpl
def {hook}():
    return {returned}
'''


HEADS = "clsbench_register_heads"


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Callable[[str, str], str]]:
    """Writes a plugin file; what was imported from there is forgotten afterwards."""
    before = set(sys.modules)

    def make(source: str, name: str = "my_plugin.py") -> str:
        path = tmp_path / name
        path.write_text(source, encoding="utf-8")
        return str(path)

    yield make  # type: ignore[misc]
    for name in set(sys.modules) - before:
        if name.startswith("clsbench_plugin_"):
            del sys.modules[name]


def complaint(path: str) -> str:
    """What loading the plugin by name ends in; the message names it."""
    with pytest.raises(PluginError) as caught:
        load_catalog([path])
    assert caught.value.exit_code == 2
    assert path in str(caught.value)
    return str(caught.value)


# --- a plugin that works --------------------------------------------------------------------------


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
    spec = load_catalog([write(source)]).experiment("mine")
    assert isinstance(spec, ExperimentSpec)
    assert spec.name == "mine"


def test_the_catalog_cannot_be_changed() -> None:
    catalog = load_catalog()
    with pytest.raises(TypeError):
        catalog.entries["heads"] = {}  # type: ignore[index]
    with pytest.raises(TypeError):
        catalog.entries["heads"]["linear"] = None  # type: ignore[index]


def test_an_observer_alone_is_a_plugin(write: Callable[..., str]) -> None:
    source = "import clsbench\nseen = []\n@clsbench.hookimpl\ndef clsbench_phase_started(phase):\n"
    catalog = load_catalog([write(source + "    seen.append(phase)\n")])
    catalog.lifecycle().clsbench_phase_started(phase="data")
    (module,) = [m for m in catalog.plugins.values() if m.__name__.startswith("clsbench_plugin_")]
    assert module.seen == ["data"]


def test_an_observer_that_fails_is_named(write: Callable[..., str]) -> None:
    source = "import clsbench\n@clsbench.hookimpl\ndef clsbench_phase_started(phase):\n    1 / 0\n"
    catalog = load_catalog([write(source)])
    with pytest.raises(
        PluginError, match="failed in clsbench_phase_started: ZeroDivision"
    ) as reported:
        catalog.lifecycle().clsbench_phase_started(phase="data")
    (name,) = [
        name for name, m in catalog.plugins.items() if m.__name__.startswith("clsbench_plug")
    ]
    assert name in str(reported.value)

    class Observer:
        @hookimpl
        def clsbench_epoch_finished(self, entry: object) -> None:
            raise UsageError("its own words")

        @hookimpl
        def clsbench_evaluated(self, entry: object) -> None:
            raise RuntimeError("bad luck")

    hook = load_catalog().lifecycle([Observer()])
    with pytest.raises(UsageError, match="its own words"):
        hook.clsbench_epoch_finished(entry=None)
    with pytest.raises(PluginError, match=r"Observer at .* failed in clsbench_evaluated: Runtime"):
        hook.clsbench_evaluated(entry=None)


class Misspelt:
    @hookimpl
    def clsbench_epoch_finish(self, entry: object) -> None:
        """Never called."""


class Undecorated:
    def clsbench_epoch_finished(self, entry: object) -> None:
        """Never called."""


class Defaulting:
    @hookimpl
    def clsbench_epoch_finished(self, entry: object = None) -> None:
        """Never handed an entry."""


class Asking:
    @hookimpl
    def clsbench_epoch_finished(self, epoch: int) -> None:
        """Never handed what the hook does not have."""


class Watching:
    @property
    def costly(self) -> None:
        raise AssertionError("this property must not be evaluated")

    @hookimpl
    def clsbench_epoch_finished(self, entry: object) -> None:
        raise RuntimeError("bad luck")


@pytest.mark.parametrize(
    ("observer", "said"),
    [
        (3, "observer int at .* has no hooks"),
        (ModuleType("observer"), "observer module at .* has no hooks"),
        (Misspelt(), "Misspelt at .*unknown hook .* did you mean 'clsbench_epoch_finished'"),
        (Undecorated(), "clsbench_epoch_finished lacks the decorator @clsbench.hookimpl"),
        (Defaulting(), "gives its parameter 'entry' a default"),
        (Asking(), "epoch"),
        (Watching, r"observer Watching is a class; .* Watching\(\)"),
    ],
)
def test_an_observer_that_would_observe_nothing_is_refused(observer: object, said: str) -> None:
    with pytest.raises(PluginError, match=f"(?s){said}"):
        load_catalog().lifecycle([observer])


def test_an_observer_that_is_sound_is_called_and_refused_twice_over() -> None:
    observer = Watching()
    with pytest.raises(PluginError, match=r"Watching at .* failed in clsbench_epoch_finished"):
        load_catalog().lifecycle([observer]).clsbench_epoch_finished(entry=None)
    with pytest.raises(PluginError, match=r"observer Watching at .* is given twice"):
        load_catalog().lifecycle([observer, observer])


@dataclass
class Counting:
    """Unhashable, and equal to any other of its kind."""

    seen: list[object] = field(default_factory=list)

    @hookimpl
    def clsbench_epoch_finished(self, entry: object) -> None:
        self.seen.append(entry)


class CountingStruct(msgspec.Struct):
    seen: list[object] = []

    @hookimpl
    def clsbench_epoch_finished(self, entry: object) -> None:
        self.seen.append(entry)


class Incomparable(Counting):
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("never compared")


class WithSlots:
    """Has an attribute that cannot be read yet."""

    __slots__ = ("seen", "started")

    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    def clsbench_epoch_finished(self, entry: object) -> None:
        self.seen.append(entry)


class WithClient(Counting):
    """Holds an object that answers every question with an error, and a hook made for it alone."""

    class Client:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError("not connected")

    def __init__(self) -> None:
        super().__init__()
        self.client = self.Client()
        self.clsbench_evaluated = hookimpl(lambda entry: self.seen.append(entry))

    def __getattr__(self, name: str) -> object:
        raise RuntimeError("not asked for")


@pytest.mark.parametrize(
    "kind",
    [Counting, CountingStruct, Incomparable, WithSlots, WithClient],
    ids=lambda k: k.__name__,
)
def test_relay_observers_with_state_are_called_separately(kind: type[Counting]) -> None:
    first, second = kind(), kind()
    load_catalog().lifecycle([first, second]).clsbench_epoch_finished(entry=1)
    assert first.seen == second.seen == [1]


class Flagged(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.clsbench_epoch_finished = False  # type: ignore[method-assign,assignment]


def test_observer_attribute_with_the_name_of_a_hook_is_refused() -> None:
    with pytest.raises(PluginError, match="clsbench_epoch_finished is the name of a hook, but"):
        load_catalog().lifecycle([Flagged()])


def test_relay_observer_outside_a_list_is_refused() -> None:
    with pytest.raises(PluginError, match=r"observers is of type Counting, expected a list"):
        load_catalog().lifecycle(Counting())  # type: ignore[arg-type]


# --- one that does not, named by --plugin ---------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_library_anywhere", "ModuleNotFoundError: No module named 'no_such_lib"),
        ("def broken(:\n    pass", "SyntaxError"),
        ("raise RuntimeError('out of luck')", "cannot be imported: RuntimeError: out of luck"),
        ("import sys; sys.exit(3)", "cannot be imported: SystemExit: 3"),
        ("x = 1", "has no hooks; decorate a function such as"),
        (
            plugin("clsbench_register_head", '{"wide": Wide}'),
            "unknown hook 'clsbench_register_head'; did you mean 'clsbench_register_heads'?",
        ),
        (plugin("wholly_unknown", "{}"), "unknown hook 'wholly_unknown'"),
        (
            plugin(HEADS, '{"wide": Wide}').replace("@clsbench.hookimpl", ""),
            "clsbench_register_heads lacks the decorator @clsbench.hookimpl",
        ),
        (plugin(HEADS, "[Wide]"), "returned list, expected a mapping"),
        (plugin(HEADS, "1 / 0"), "clsbench_register_heads failed: ZeroDivisionError"),
        (plugin(HEADS, '{"linear": Wide}'), "the head name 'linear' is already taken by clsbench"),
        (
            plugin(HEADS, '{"wide": Wide()}'),
            "expected a class derived from clsbench.Head, got Wide",
        ),
        (plugin(HEADS, '{"wide": int}'), "got the class int"),
        (
            plugin("clsbench_register_poolings", '{"wide": Wide}'),
            "expected a class derived from clsbench.Pooling, got the class Wide",
        ),
        (
            plugin("clsbench_register_experiments", '{"wide": {"dataset": "x"}}'),
            "expected a clsbench.ExperimentSpec, got dict",
        ),
        (
            plugin("clsbench_register_methods", '{"wide": {"freezing": "all"}}'),
            "expected a clsbench.Method, got dict",
        ),
        (
            plugin("clsbench_register_methods", '{"wide": clsbench.Method(freezing={"n": 1})}'),
            "freezing = {'n': 1}: expected NAME, NAME:OPTION=VALUE or such a table",
        ),
        (
            plugin("clsbench_register_methods", '{"w": clsbench.Method(freezing="", adapter=3)}'),
            "adapter = 3: expected",
        ),
        (plugin(HEADS, '{"a wide one": Wide}'), "a name is text without spaces"),
        (plugin(HEADS, '{"a:b": Wide}'), "a name is text without spaces"),
        (plugin(HEADS, "{7: Wide}"), "a name is text without spaces"),
        (
            plugin(
                HEADS, '{"wide": Nameless}', "class Nameless(clsbench.Head):\n    name: str = ''"
            ),
            "an option cannot be named 'name'",
        ),
        (
            plugin(HEADS, '{"wide": Undocumented}', "class Undocumented(clsbench.Head): ..."),
            "no docstring",
        ),
        (
            plugin(
                HEADS,
                '{"wide": Lost}',
                "class Lost(clsbench.Head):\n    'A head.'\n    width: 'NoSuchType' = 1",
            ),
            "its options cannot be read: NameError",
        ),
        (
            plugin(
                HEADS,
                '{"wide": Odd}',
                "from pathlib import Path\n"
                "class Odd(clsbench.Head):\n    'A head.'\n    path: Path | None = None",
            ),
            "the option 'path' has a type that TOML cannot hold",
        ),
        (
            plugin(
                "clsbench_register_baselines",
                '{"seedless": Seedless}',
                "class Seedless(clsbench.Baseline):\n    'A baseline.'\n    def build(self): ...",
            ),
            "'seedless': its method build() does not accept the required arguments; "
            "expected def build(self, seed)",
        ),
        (
            plugin(
                HEADS,
                '{"narrow": Narrow}',
                "class Narrow(clsbench.Head):\n    'A head.'\n    def build(self, size): ...",
            ),
            "expected def build(self, hidden_size, num_classes)",
        ),
        (
            plugin(
                HEADS,
                '{"wide": Odd}',
                "class Odd(clsbench.Head):\n    'A head.'\n    n: list[int] | set[int] = []",
            ),
            "its options cannot be read: TypeError",
        ),
        (
            "import clsbench\n@clsbench.hookimpl\ndef clsbench_phase_started(fase): ...",
            "fase",
        ),
        (
            "import clsbench\n@clsbench.hookimpl\ndef clsbench_phase_started(phase=None): ...",
            "gives its parameter 'phase' a default",
        ),
    ],
)
def test_a_bad_plugin_that_is_named_is_an_error(
    source: str, said: str, write: Callable[..., str]
) -> None:
    assert said in complaint(write(source))


def test_every_problem_of_a_plugin_is_reported_at_once(write: Callable[..., str]) -> None:
    message = complaint(write(plugin(HEADS, '{"a b": Wide, "c": int}')))
    assert "a name is text" in message
    assert "got the class int" in message


def test_a_plugin_that_failed_leaves_nothing_behind(write: Callable[..., str]) -> None:
    modules = set(sys.modules)
    complaint(write("import clsbench\nraise RuntimeError"))
    assert set(sys.modules) == modules
    assert load_catalog().failures == ()


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


# --- an installed one, found by its entry point -----------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on ``sys.path`` to install into; its modules are forgotten afterwards."""
    folder = tmp_path / "site"
    folder.mkdir()
    before = set(sys.modules)
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in set(sys.modules) - before:
        if name.startswith("dist_"):
            del sys.modules[name]


def test_an_installed_plugin_is_found(site: Path) -> None:
    install(site, "dist-good", {"dist_good.py": GOOD}, {"good": "dist_good"})
    importlib.invalidate_caches()
    catalog = load_catalog()
    entry = catalog.entry("freezing_strategies", "attention-only")
    assert (entry.distribution, entry.version) == ("dist-good", "1.2.3")
    assert entry.source_sha256 is None
    assert catalog.failures == ()
    again = load_catalog(["dist_good"])  # installed, and named as well
    assert "attention-only" in again.entries["freezing_strategies"]


def test_an_installed_plugin_that_fails_is_skipped(site: Path) -> None:
    install(site, "dist-bad", {"dist_bad.py": "import missing_thing"}, {"bad": "dist_bad"})
    install(site, "dist-good", {"dist_good.py": GOOD}, {"good": "dist_good"})
    catalog = load_catalog()
    assert "attention-only" in catalog.entries["freezing_strategies"]
    (failure,) = catalog.failures
    assert failure.plugin == "bad (dist-bad)"
    assert "No module named 'missing_thing'" in failure.reason
    with pytest.raises(UsageError) as caught:
        catalog.entry("heads", "unknown-head")
    assert "bad (dist-bad)" in str(caught.value)  # it may have been the one that was wanted


def test_what_a_skipped_plugin_claims_is_an_error_when_used(site: Path) -> None:
    source = plugin(HEADS, '{"wide": Wide, "wrong": int}')
    install(site, "dist-claims", {"dist_claims.py": source}, {"claims": "dist_claims"})
    catalog = load_catalog()
    (failure,) = catalog.failures
    assert failure.claims == {("heads", "wide"), ("heads", "wrong")}
    assert "wide" not in catalog.entries["heads"]
    with pytest.raises(PluginError, match=r"claimed by the plugin claims \(dist-claims\)"):
        catalog.entry("heads", "wide")
    assert catalog.entry("heads", "linear")


def test_a_name_is_taken_by_the_first_plugin_and_clsbench_comes_first(site: Path) -> None:
    source = plugin(HEADS, '{"linear": Wide}')
    install(site, "aaa-first", {"dist_taken.py": source}, {"taken": "dist_taken"})
    catalog = load_catalog()
    assert catalog.entries["heads"]["linear"].distribution == "clsbench"
    (failure,) = catalog.failures
    assert "already taken by clsbench" in failure.reason


def test_the_example_plugin_as_it_is_packaged(site: Path) -> None:
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


# --- from the command line ------------------------------------------------------------------------


def clsbench(*arguments: str, site: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CLSBENCH_")}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    return subprocess.run(
        [sys.executable, "-m", "clsbench", *arguments],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        timeout=120,
    )


def test_a_bad_plugin_named_ends_the_command_with_2(write: Callable[..., str]) -> None:
    path = write("import missing_thing")
    done = clsbench("--plugin", path, "list", "heads")
    assert done.returncode == 2
    assert path in done.stderr
    assert "missing_thing" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bad_plugin_installed_is_a_warning(site: Path) -> None:
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


def test_a_plugin_file_is_listed_and_shown(write: Callable[..., str]) -> None:
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


# --- names ----------------------------------------------------------------------------------------


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
