"""Load plugins and validate their registrations into one immutable catalog."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple, TypeVar

import msgspec
import pluggy

from clsbench.components.axes import AXES, Axis
from clsbench.components.component import Component
from clsbench.components.hookspecs import PROJECT, LifecycleHooks, RegistrationHooks
from clsbench.components.observers import HookCaller, hook_names, refuse_unknown_hooks
from clsbench.components.registration import registration_problem
from clsbench.components.sources import FILE_MODULE_PREFIX, is_installed_as_recorded, source_sha256
from clsbench.errors import PluginError, UsageError, closest_match_hint
from clsbench.schema.experiment import ExperimentSpec, Method
from clsbench.schema.suite import SuiteSpec

ENTRY_POINT_GROUP = "clsbench"

_OF_OTHER_DISTRIBUTIONS = {
    ("adapters", "peft"): "clsbench-peft",
    ("backbones", "hf"): "clsbench-transformers",
    ("executors", "ray"): "clsbench-ray",
    ("suites", "imdb-backbones"): "clsbench-transformers",
    ("suites", "sms-spam-backbones"): "clsbench-transformers",
    ("suites", "peft-methods"): "clsbench-peft",
    ("exporters", "transformers"): "clsbench-transformers",
}
"""Known components that other distributions provide, for the error if they are not installed."""


class Entry(NamedTuple):
    """One registered component class, method, experiment or suite, and where it comes from.

    ``source_sha256`` is :func:`~clsbench.components.sources.source_sha256`, set if ``version`` does
    not identify the code.
    """

    axis: str
    name: str
    component: type[Component] | Method | ExperimentSpec | SuiteSpec
    distribution: str
    version: str | None
    source_sha256: str | None = None

    @property
    def summary(self) -> str:
        """The first line of its documentation."""
        if isinstance(self.component, Method | ExperimentSpec | SuiteSpec):
            return self.component.description
        return (self.component.__doc__ or "").strip().partition("\n")[0]


class Failure(NamedTuple):
    """A skipped plugin: the reason, and the components that it would have registered."""

    plugin: str
    reason: str
    claims: frozenset[tuple[str, str]]


class _Source(NamedTuple):
    """A plugin before it is loaded."""

    label: str
    module: str
    path: Path | None
    distribution: str
    version: str | None


_Spec = TypeVar("_Spec", ExperimentSpec, SuiteSpec, Method)


class Catalog(NamedTuple):
    """All components by axis and name, the plugins in use, and the plugins that failed."""

    entries: Mapping[str, Mapping[str, Entry]]
    plugins: Mapping[str, ModuleType]
    failures: tuple[Failure, ...]

    def entry(self, axis: str, name: str) -> Entry:
        """The component registered as ``name``.

        Raises:
            UsageError: it is not registered; the message names the closest match.
            PluginError: a plugin that failed to load claims that name.
        """
        for failure in self.failures:
            if (axis, name) in failure.claims:
                raise PluginError(
                    f"{_singular(axis)} {name!r} is claimed by the plugin {failure.plugin}, "
                    f"which cannot be used: {failure.reason}"
                )
        known = self.entries[axis]
        if name not in known:
            hint = closest_match_hint(name, known)
            if (axis, name) in _OF_OTHER_DISTRIBUTIONS:
                hint = f"; install it: pip install {_OF_OTHER_DISTRIBUTIONS[axis, name]}"
            failed = "".join(f"\n  plugin {f.plugin} failed: {f.reason}" for f in self.failures)
            raise UsageError(f"unknown {_singular(axis)} {name!r}{hint}{failed}")
        return known[name]

    def spec(self, kind: type[_Spec], name: str) -> _Spec:
        """The experiment, suite or method registered as ``name``, by its class ``kind``.

        Raises:
            UsageError: it is not registered.
        """
        axis = next(axis for axis in AXES if axis.kind is kind)
        spec = self.entry(axis.name, name).component
        assert isinstance(spec, kind)
        return spec

    def lifecycle(self, observers: Iterable[object] = ()) -> HookCaller:
        """The caller of the lifecycle hooks of all plugins and ``observers``.

        An exception in a hook becomes a :class:`PluginError` that names its plugin.

        Raises:
            PluginError: an observer has no hook, or an unknown one.
        """
        return HookCaller(self.plugins, observers)


def axis_named(name: str) -> Axis:
    """The axis by its plural, singular or spec key, with hyphens or underscores.

    Raises:
        UsageError: the axis does not exist.
    """
    wanted = name.replace("-", "_").lower()
    for axis in AXES:
        if wanted in (axis.name, axis.singular, axis.spec_key):
            return axis
    choices = [axis.name.replace("_", "-") for axis in AXES]
    raise UsageError(f"unknown axis {name!r}{closest_match_hint(name, choices)}")


def load_catalog(plugins: Sequence[str] = (), skip_failed: bool = False) -> Catalog:
    """Load every installed plugin (entry points) and those named by file or module.

    Built-ins are loaded by entry points, too. An installed plugin that cannot be used is skipped
    and listed in ``failures``. With ``skip_failed`` that also holds for named plugins, whose
    failure is an error otherwise.

    Raises:
        PluginError: a plugin in ``plugins`` cannot be loaded or breaks its contract.
    """
    entries: dict[str, dict[str, Entry]] = {axis.name: {} for axis in AXES}
    loaded: dict[str, ModuleType] = {}
    failures: list[Failure] = []

    hooks = pluggy.PluginManager(PROJECT)
    hooks.add_hookspecs(RegistrationHooks)
    hooks.add_hookspecs(LifecycleHooks)

    def use(source: _Source, named: bool) -> None:
        found: list[Entry] = []
        try:
            module = _load(source)
            if named and module in loaded.values():  # installed, or named twice
                return
            _collect(source, module, found, hooks)
            _refuse_taken(source, found, entries)
        except PluginError as error:
            if named and not skip_failed:
                raise
            claims = frozenset((entry.axis, entry.name) for entry in found)
            failures.append(Failure(source.label, str(error), claims))
        else:
            _add(source, module, found, entries, loaded)

    for source in _installed():
        use(source, named=False)
    named: dict[str, _Source] = {}
    for name in plugins:
        try:
            source = _named(name)
        except PluginError as error:
            if not skip_failed:
                raise
            failures.append(Failure(name, str(error), frozenset()))
        else:
            named[source.module] = source
    for source in named.values():
        use(source, named=True)
    return Catalog(
        MappingProxyType({axis: MappingProxyType(names) for axis, names in entries.items()}),
        MappingProxyType(loaded),
        tuple(failures),
    )


def _installed() -> list[_Source]:
    points = metadata.entry_points(group=ENTRY_POINT_GROUP)
    # Each access to a name or version parses the distribution's metadata.
    versions = {
        dist: (dist.name, dist.version) for dist in {point.dist for point in points} if dist
    }
    sources = []
    for point in points:
        name, version = versions[point.dist] if point.dist else (None, None)
        label = f"{point.name} ({name or 'unknown distribution'})"
        sources.append(_Source(label, point.value, None, name or "unknown", version))
    # Our own distribution first, so that the error for a duplicate name names the other plugin.
    return sorted(set(sources), key=lambda s: (s.distribution != PROJECT, s.distribution, s.label))


def _named(name: str) -> _Source:
    path = Path(name)
    if name.endswith(".py") or os.sep in name or os.path.isfile(path):
        if not os.path.isfile(path):
            raise PluginError(f"plugin {name}: file not found")
        resolved = path.resolve()
        digest = hashlib.sha256(str(resolved).encode()).hexdigest()[:8]
        module = f"{FILE_MODULE_PREFIX}{resolved.stem.replace('-', '_')}_{digest}"
        return _Source(name, module, resolved, str(path.name), None)
    return _Source(name, name, None, name.partition(".")[0], None)


def _load(source: _Source) -> ModuleType:
    """Import the plugin's module; an exception becomes a :class:`PluginError` that names it."""
    try:
        if source.path is None:
            return importlib.import_module(source.module)
        spec = importlib.util.spec_from_file_location(source.module, source.path)
        if spec is None or spec.loader is None:
            raise PluginError(f"plugin {source.label}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        # msgspec resolves postponed annotations through sys.modules.
        sys.modules[source.module] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[source.module]
            raise
        return module
    except PluginError:
        raise
    except (Exception, SystemExit) as error:  # a script that is not a plugin may call sys.exit()
        beside = Path(f"{source.module}.py")
        hint = (
            f"; for the file in this folder use --plugin {beside}" if os.path.isfile(beside) else ""
        )
        raise PluginError(
            f"plugin {source.label} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error


def _collect(
    source: _Source, module: ModuleType, found: list[Entry], manager: pluggy.PluginManager
) -> None:
    """Call the plugin's registering hooks; ``found`` grows even if a later one fails."""
    refuse_unknown_hooks(f"plugin {source.label}", module)
    try:
        manager.register(module, source.label)
        _call_hooks(source, found, manager.hook)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"plugin {source.label}: {error}") from error
    finally:
        if manager.is_registered(module):  # pluggy's versions differ after a failure
            manager.unregister(module)
    if not found and not hook_names(module):
        raise PluginError(
            f"plugin {source.label} has no hooks; decorate a function such as {AXES[0].hook} "
            "with @clsbench.hookimpl"
        )
    if source.distribution != PROJECT and not (
        source.version and is_installed_as_recorded(source.distribution, module)
    ):
        found[:] = [_with_source(source, module, entry) for entry in found]


def _call_hooks(source: _Source, found: list[Entry], hook: Any) -> None:
    problems = []
    for axis in AXES:
        try:
            results = getattr(hook, axis.hook)()
        except Exception as error:
            raise PluginError(
                f"plugin {source.label}: {axis.hook} failed: {type(error).__name__}: {error}"
            ) from error
        for registered in results:
            if not isinstance(registered, Mapping):
                raise PluginError(
                    f"plugin {source.label}: {axis.hook} returned {type(registered).__name__}, "
                    "expected a mapping from name to component"
                )
            for name, component in registered.items():
                found.append(Entry(axis.name, name, component, source.distribution, source.version))
                problem = registration_problem(axis, name, component)
                if problem:
                    problems.append(f"{axis.hook} registers {name!r}: {problem}")
    if problems:
        raise PluginError(f"plugin {source.label}: " + "; ".join(problems))


def _with_source(source: _Source, module: ModuleType, entry: Entry) -> Entry:
    if not isinstance(entry.component, type):
        return entry
    try:
        return entry._replace(source_sha256=source_sha256(module, entry.component))
    except PluginError as error:
        raise PluginError(f"plugin {source.label}: {error}") from error


def _refuse_taken(
    source: _Source, found: Iterable[Entry], entries: Mapping[str, Mapping[str, Entry]]
) -> None:
    for entry in found:
        other = entries[entry.axis].get(entry.name)
        if other is not None:
            raise PluginError(
                f"plugin {source.label}: the {_singular(entry.axis)} name {entry.name!r} is "
                f"already taken by {other.distribution}; choose another"
            )


def _add(
    source: _Source,
    module: ModuleType,
    found: Iterable[Entry],
    entries: dict[str, dict[str, Entry]],
    loaded: dict[str, ModuleType],
) -> None:
    for entry in found:
        if isinstance(entry.component, ExperimentSpec | SuiteSpec):
            named = msgspec.structs.replace(entry.component, name=entry.name)
            entry = entry._replace(component=named)
        entries[entry.axis][entry.name] = entry
    loaded[source.label] = module


def _singular(axis: str) -> str:
    return axis_named(axis).singular.replace("_", " ")
