"""Hash the source code of a component: its module and the modules of the user that it imports.

Imports are found in the source (statements anywhere in it, and ``import_module`` with a literal
name), so that modules imported later, inside a function, are included. Modules of the plugin's own
folder or distribution, and others that are not installed, are followed. The standard library,
clsbench, installed distributions, and imports that cannot be resolved are left out.
"""

from __future__ import annotations

import ast
import csv
import functools
import hashlib
import importlib.util
import json
import linecache
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from clsbench.errors import PluginError

FILE_MODULE_PREFIX = "clsbench_plugin_"
"""The prefix of the name of a module loaded from a file; the rest identifies the file's path."""

_SEEN = "_clsbench_sha256"

_OUTSIDE = ("clsbench", "__main__")


def source_sha256(module: ModuleType, component: type) -> str:
    """A hash of the source of ``module``, which registers the class, of the module that defines the
    class, and of what they import. It does not depend on the paths of the files.

    Raises:
        PluginError: the source cannot be read, or has changed since this process imported it.
    """
    root = _root(module, component)
    search = _Search(root)
    found: dict[str, str] = {}
    around = root.name.rpartition(".")[0]  # the packages that are imported before it
    elsewhere = component.__module__ if component.__module__ != module.__name__ else ""
    pending = [root, *search.modules(_with_packages([around, elsewhere]))]
    while pending:
        source = pending.pop()
        if source.name not in found:
            imported = list(search.modules(_imports(source)))
            contents = {each.name: _sha256(each) for each in (source, *imported)}
            _refuse_stale(source.name, contents)
            found[source.name] = contents[source.name]
            pending += imported
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def is_installed_as_recorded(distribution: str, module: ModuleType) -> bool:
    """Whether the distribution's version identifies the content of the module: it is not an
    editable install, and the module is a file that the distribution installed."""
    try:
        installed = metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    record, file = installed.read_text("RECORD"), getattr(module, "__file__", None)
    if not installed.version or record is None or file is None or _editable_project(installed):
        return False
    place = os.path.relpath(file, str(installed.locate_file("")))
    return any(row and Path(row[0]) == Path(place) for row in csv.reader(record.splitlines()))


class _Source(NamedTuple):
    """The source of a module. ``name`` is its import name (empty for a plugin loaded from a file),
    ``package`` the package of its relative imports, ``home`` the folder it is imported from."""

    name: str
    package: str
    content: bytes
    home: Path | None = None


def _root(module: ModuleType, component: type) -> _Source:
    spec, file = module.__spec__, getattr(module, "__file__", None)
    content = _read(spec) if spec is not None else None
    if content is None and file is not None and os.path.isfile(file):  # a script that is run
        content = Path(file).read_bytes()
    content = content or _typed_in(component)
    if not content:
        raise PluginError(
            f"the source of {component.__module__}.{component.__qualname__} cannot be found, so "
            "changes in it could not be detected; define the class in a Python file"
        )
    name = module.__name__
    if name == "__main__" or name.startswith(FILE_MODULE_PREFIX):
        name = spec.name if name == "__main__" and spec is not None else ""
    home = None
    if file is not None:
        folders = Path(os.path.abspath(file)).parents
        depth = name.count(".") + hasattr(module, "__path__")
        home = folders[min(depth, len(folders) - 1)].resolve()
    return _Source(name, (module.__package__ or "") if name else "", content, home)


def _sha256(source: _Source) -> str:
    return hashlib.sha256(source.content).hexdigest()


def _refuse_stale(name: str, contents: Mapping[str, str]) -> None:
    """Refuse a module if its source, or one that it imports, has changed since it was imported.

    The old code would run: a reload of an imported module does not change what was taken from it.
    ``contents`` are the hashes of its source and of those that it imports. The first are noted at
    the module's spec, which a reload replaces.
    """
    spec = getattr(sys.modules.get(name), "__spec__", None)
    if spec is None:
        return
    seen = vars(spec).setdefault(_SEEN, contents)
    changed = next((each for each in contents if contents[each] != seen.get(each)), name)
    if seen != contents:
        imported, reload = ("it", "it") if changed == name else (name, f"{changed}, then {name}")
        raise PluginError(
            f"the source of {changed} has changed since this process imported {imported}, so the "
            f"old code would run; restart Python, or reload {reload} (importlib.reload)"
        )


def _read(spec: ModuleSpec) -> bytes | None:
    """The content of a module's file, read by its loader; ``None`` if that is not possible."""
    loader: Any = spec.loader
    if not spec.has_location or spec.origin is None:
        return None
    try:
        content: bytes = loader.get_data(spec.origin)
    except (AttributeError, OSError):
        return None
    return content


def _typed_in(component: type) -> bytes:
    """The notebook cells, or the lines of an interactive session, that define the class."""
    functions = [each for each in vars(component).values() if isinstance(each, FunctionType)]
    names = dict.fromkeys(function.__code__.co_filename for function in functions)
    return "".join(line for name in names for line in linecache.getlines(name)).encode()


class _Search:
    """Finds the modules to hash among those that a component's source imports."""

    def __init__(self, root: _Source) -> None:
        self._own = root.name.partition(".")[0]
        self._home = root.home
        self._specs: dict[str, ModuleSpec | None] = {}

    def modules(self, names: Iterable[str]) -> Iterator[_Source]:
        """The source of each module that is to be hashed; nothing is imported."""
        for name in names:
            spec = self._find(name)
            content = _read(spec) if spec is not None else None
            if spec is not None and content is not None:
                is_package = spec.submodule_search_locations is not None
                yield _Source(name, name if is_package else name.rpartition(".")[0], content)

    def _find(self, name: str) -> ModuleSpec | None:
        """The module's spec, found without importing its parent packages."""
        if name not in self._specs:
            package, _, last = name.rpartition(".")
            if not package:
                self._specs[name] = self._find_top(name)
            else:
                parent = self._find(package)
                places = parent.submodule_search_locations if parent is not None else None
                self._specs[name] = PathFinder.find_spec(last, list(places)) if places else None
        return self._specs[name]

    def _find_top(self, name: str) -> ModuleSpec | None:
        if name != self._own and (name in sys.stdlib_module_names or name in _OUTSIDE):
            return None
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            spec = None
        if spec is None and self._home is not None:
            spec = PathFinder.find_spec(name, [str(self._home)])
        if spec is None or name == self._own:
            return spec
        places = spec.submodule_search_locations
        place = next(iter(places), None) if places is not None else spec.origin
        if place is None or self._is_installed(name, Path(place).resolve().parent):
            return None
        return spec

    def _is_installed(self, name: str, folder: Path) -> bool:
        if folder.name in ("site-packages", "dist-packages"):
            return True
        for project in self._editable_projects:
            if folder.is_relative_to(project):
                return self._home is None or not self._home.is_relative_to(project)
        return any(
            line.startswith((f"{name}/", f"{name}."))
            for record in folder.glob("*.dist-info/RECORD")
            for line in record.read_text(encoding="utf-8", errors="replace").splitlines()
        )

    @functools.cached_property
    def _editable_projects(self) -> list[Path]:
        found = (_editable_project(each) for each in metadata.distributions())
        return [folder for folder in found if folder is not None]


def _imports(source: _Source) -> set[str]:
    """The names of all modules that the source may import."""
    try:
        tree = ast.parse(source.content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # not Python source
        return set()
    named: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), source.package)
            named |= {base} | {f"{base}.{alias.name}" for alias in node.names} if base else set()
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", None))
            if called in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                named.add(_absolute(node.args[0].value, source.package))
    return _with_packages(named)


def _with_packages(names: Iterable[str]) -> set[str]:
    """The dotted names and those of their parent packages; empty names are left out."""
    parts = [name.split(".") for name in names if name]
    return {".".join(each[:end]) for each in parts for end in range(1, len(each) + 1)}


def _absolute(name: str, package: str) -> str:
    try:
        return importlib.util.resolve_name(name, package)
    except (ImportError, ValueError):  # a relative import outside a package
        return ""


def _editable_project(distribution: metadata.Distribution) -> Path | None:
    """The project's folder if the distribution is an editable install (PEP 610), else ``None``."""
    text = distribution.read_text("direct_url.json")
    if text is None:
        return None
    from urllib.request import url2pathname  # imports http and ssl

    try:
        found = json.loads(text)
        if found["dir_info"]["editable"]:
            return Path(url2pathname(urlsplit(found["url"]).path)).resolve()
    except (KeyError, TypeError, ValueError):  # not installed from a folder
        pass
    return None
