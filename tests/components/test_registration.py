"""Registration: every invalid registration of a plugin is an error that names the plugin."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from plugin_files import HEADS, complaint, plugin

from clsbench.components.catalog import load_catalog


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
def test_load_catalog_bad_named_plugin_is_refused(
    source: str, said: str, write: Callable[..., str]
) -> None:
    assert said in complaint(write(source))


def test_load_catalog_reports_all_problems_of_a_plugin(write: Callable[..., str]) -> None:
    message = complaint(write(plugin(HEADS, '{"a b": Wide, "c": int}')))
    assert "a name is text" in message
    assert "got the class int" in message


def test_load_catalog_failed_plugin_is_removed_from_modules(write: Callable[..., str]) -> None:
    modules = set(sys.modules)
    complaint(write("import clsbench\nraise RuntimeError"))
    assert set(sys.modules) == modules
    assert load_catalog().failures == ()
