"""The hash of a component's source: which edited modules change it."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clsbench.components.catalog import Entry, load_catalog
from clsbench.errors import PluginError

HEAD = """
import clsbench
{imports}

class Own(clsbench.Head):
    '''A head.'''

    def build(self, hidden_size, num_classes):
        {within}
        import torch
        return torch.nn.Linear(hidden_size, num_classes)


@clsbench.hookimpl
def clsbench_register_heads():
    return {{"own": Own}}
"""


def head(imports: str = "", within: str = "pass") -> str:
    return HEAD.format(imports=imports, within=within)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path; its modules are removed from ``sys.modules`` afterwards."""
    folder = tmp_path / "plugins"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder
    forget()


def write(folder: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    importlib.invalidate_caches()


def forget() -> None:
    for name in [n for n in sys.modules if n.startswith(("my_", "dist_", "clsbench_plugin_"))]:
        del sys.modules[name]


def entry_of(*plugins: str) -> Entry:
    forget()  # as in another process
    return load_catalog(plugins).entry("heads", "own")


def source_of(*plugins: str) -> str:
    found = entry_of(*plugins).source_sha256
    assert found is not None
    return found


FILES = {
    "my_plugin.py": head("import my_helper", "from my_package.late import width"),
    "my_helper.py": "from my_second import depth\nimport numpy\n",
    "my_second.py": "depth = 1\n",
    "my_package/__init__.py": "",
    "my_package/late.py": "from . import beside\nwidth = 1\n",
    "my_package/beside.py": "",
    "my_package/unrelated.py": "",
    "my_unrelated.py": "",
}


@pytest.mark.parametrize("by", ["file", "module"])
@pytest.mark.parametrize(
    ("edited", "counts"),
    [
        ("my_plugin.py", True),
        ("my_helper.py", True),
        ("my_second.py", True),
        ("my_package/__init__.py", True),
        ("my_package/late.py", True),
        ("my_package/beside.py", True),
        ("my_package/unrelated.py", False),
        ("my_unrelated.py", False),
    ],
)
def test_source_hash_changes_with_imported_modules_only(
    folder: Path, by: str, edited: str, counts: bool
) -> None:
    write(folder, FILES)
    plugin = str(folder / "my_plugin.py") if by == "file" else "my_plugin"
    before = source_of(plugin)
    assert source_of(plugin) == before
    with (folder / edited).open("a") as file:
        file.write("\n# edited\n")
    assert (source_of(plugin) != before) is counts


@pytest.mark.parametrize(
    "statement",
    [
        "import my_helper as other",
        "from my_helper import *",
        "import importlib; importlib.import_module('my_helper')",
        "__import__('my_helper')",
        "try:\n    import my_helper\nexcept ImportError:\n    pass",
    ],
)
def test_source_follows_every_form_of_import(folder: Path, statement: str) -> None:
    write(folder, {"my_plugin.py": head(statement), "my_helper.py": "a = 1\n"})
    before = source_of("my_plugin")
    write(folder, {"my_helper.py": "a = 2\n"})
    assert source_of("my_plugin") != before


def test_source_of_a_package_follows_relative_imports(folder: Path) -> None:
    files = {
        "my_pack/__init__.py": "",
        "my_pack/parts/__init__.py": "",
        "my_pack/parts/plugin.py": head("from ..nets import wide\nfrom .near import x"),
        "my_pack/parts/near.py": "x = 1\n",
        "my_pack/nets/wide.py": "",  # a folder without __init__.py
        "my_pack/nets/other.py": "",
    }
    write(folder, files)
    before = source_of("my_pack.parts.plugin")
    for name, counts in [
        ("my_pack/__init__.py", True),
        ("my_pack/parts/__init__.py", True),
        ("my_pack/parts/near.py", True),
        ("my_pack/nets/wide.py", True),
        ("my_pack/nets/other.py", False),
    ]:
        write(folder, {**files, name: "x = 2\n"})
        assert (source_of("my_pack.parts.plugin") != before) is counts, name


def test_source_of_a_class_defined_elsewhere_includes_the_plugin(folder: Path) -> None:
    registering = "import clsbench\n@clsbench.hookimpl\ndef clsbench_register_heads():\n    "
    registering += "module = __import__('my_' + 'heads')\n    return {'own': module.Own}\n"
    write(folder, {"my_plugin.py": registering, "my_heads.py": head()})
    before = source_of("my_plugin")
    write(folder, {"my_heads.py": head("a = 2")})
    assert source_of("my_plugin") != before


def test_source_does_not_depend_on_the_path_of_a_file(folder: Path) -> None:
    for place in ("one/my_plugin.py", "two/renamed.py"):
        write(folder, {place: head("import my_helper"), "my_helper.py": ""})
    found = {source_of(str(folder / p)) for p in ("one/my_plugin.py", "two/renamed.py")}
    assert len(found) == 1


def test_source_of_a_plugin_excludes_installed_modules(folder: Path, tmp_path: Path) -> None:
    """One library is a file of a distribution in the folder, the other an editable install."""
    write(folder, {"my_plugin.py": head("import dist_lib\nimport my_edited"), "dist_lib.py": ""})
    project = tmp_path / "project"
    write(project, {"my_edited.py": ""})
    distribution(folder, "dist-lib", ["dist_lib.py"])
    distribution(folder, "my-edited", [], project)
    sys.path.append(str(project))
    try:
        before = source_of("my_plugin")
        write(folder, {"dist_lib.py": "x = 2\n"})
        write(project, {"my_edited.py": "x = 2\n"})
        assert source_of("my_plugin") == before
    finally:
        sys.path.remove(str(project))


def distribution(site: Path, name: str, files: list[str], project: Path | None = None) -> None:
    """The metadata of an installed distribution, as pip writes it."""
    info = f"{name.replace('-', '_')}-1.2.3.dist-info"
    module = name.replace("-", "_")
    contents = {
        "METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n",
        "RECORD": "".join(f"{file},,\n" for file in [*files, f"{info}/METADATA"]),
        "entry_points.txt": f"[clsbench]\n{module} = {module}\n" if name == "dist-own" else "",
    }
    if project is not None:
        facts = {"url": project.as_uri(), "dir_info": {"editable": True}}
        contents["direct_url.json"] = json.dumps(facts)
    write(site / info, contents)


def test_source_of_an_installed_plugin_is_not_hashed(folder: Path) -> None:
    write(folder, {"dist_own.py": head()})
    distribution(folder, "dist-own", ["dist_own.py"])
    entry = entry_of()
    assert (entry.distribution, entry.version) == ("dist-own", "1.2.3")
    assert entry.source_sha256 is None


@pytest.mark.parametrize("kind", ["editable", "not as recorded"])
def test_source_of_an_editable_install_is_part_of_its_identity(
    folder: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    source = folder if kind == "not as recorded" else project / "src"
    write(source, {"dist_own.py": head("import dist_helper"), "dist_helper.py": ""})
    distribution(folder, "dist-own", [], project if kind == "editable" else None)
    monkeypatch.syspath_prepend(source)
    before = entry_of()
    assert before.version == "1.2.3"
    write(source, {"dist_helper.py": "a = 1\n"})
    assert before.source_sha256 is not None
    assert source_of() != before.source_sha256


def test_source_changed_since_import_is_refused_until_reloaded(
    folder: Path,
) -> None:
    write(folder, {"my_plugin.py": head("from my_helper import a"), "my_helper.py": "a = 1\n"})
    entry_of("my_plugin")
    write(folder, {"my_helper.py": "a = 22\n"})
    with pytest.raises(PluginError, match="the source of my_helper has changed since this process"):
        load_catalog(["my_plugin"])
    importlib.reload(sys.modules["my_helper"])  # the plugin still holds the old objects
    with pytest.raises(PluginError, match=r"imported my_plugin.* reload my_helper, then my_plugin"):
        load_catalog(["my_plugin"])
    importlib.reload(sys.modules["my_plugin"])
    assert load_catalog(["my_plugin"]).entry("heads", "own").source_sha256 == source_of("my_plugin")


def test_load_catalog_built_ins_have_a_version_and_no_hash() -> None:
    for entries in load_catalog().entries.values():
        for entry in entries.values():
            if entry.distribution == "clsbench":
                assert entry.version is not None
                assert entry.source_sha256 is None


def test_load_catalog_plugin_without_source_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {"my_maker.py": head()})
    module = importlib.import_module("my_maker")
    monkeypatch.delattr(module, "__file__")
    monkeypatch.setattr(module, "__spec__", None)
    (folder / "my_maker.py").unlink()
    with pytest.raises(PluginError, match=r"plugin my_maker: the source of my_maker\.Own cannot"):
        load_catalog(["my_maker"])


def test_source_hash_is_the_same_in_a_worker_process(
    folder: Path, python: Callable[..., str], tmp_path: Path
) -> None:
    write(folder, FILES)
    code = "import sys; from clsbench.components.catalog import load_catalog; "
    code += "print(load_catalog([sys.argv[1]]).entry('heads', 'own').source_sha256)"
    moved = tmp_path / "elsewhere" / "my_plugin.py"
    write(moved.parent, {"my_plugin.py": FILES["my_plugin.py"]})
    assert python(code, str(moved), PYTHONPATH=str(folder)) == source_of(
        str(folder / "my_plugin.py")
    )


@pytest.fixture
def python() -> Callable[..., str]:
    import os
    import subprocess

    def run(code: str, *arguments: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    return run
