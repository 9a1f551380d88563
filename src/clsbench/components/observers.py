"""Observers of a run: validated first, and named if one of them fails."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MethodType
from typing import Any

import pluggy

from clsbench.components.hookspecs import PROJECT, LifecycleHooks, RegistrationHooks
from clsbench.errors import ClsbenchError, PluginError, closest_match_hint


class HookCaller:
    """Calls the lifecycle hooks of all plugins and observers; exceptions name the observer."""

    def __init__(self, plugins: Mapping[str, object], observers: Iterable[object]) -> None:
        """Register plugins, by name, and observers.

        Raises:
            PluginError: an observer has no hook, or an unknown one.
        """
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(LifecycleHooks)
        for name, plugin in plugins.items():
            manager.register(plugin, name)
        if not isinstance(observers, Iterable):
            raise PluginError(
                f"observers is of type {type(observers).__qualname__}, expected a list: "
                "observers=[…]"
            )
        seen: list[object] = []
        for observer in observers:
            name = f"{type(observer).__qualname__} at {id(observer):#x}"
            if any(observer is other for other in seen):
                raise PluginError(f"observer {name} is given twice; remove one")
            seen.append(observer)
            manager.register(_observing(observer, name), name)
        self._hook = manager.hook

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(self._call, getattr(self._hook, name))

    @staticmethod
    def _call(caller: pluggy.HookCaller, **arguments: Any) -> None:
        try:
            caller(**arguments)
        except ClsbenchError:
            raise
        except Exception as error:
            passed = {frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)}
            for implementation in caller.get_hookimpls():
                if getattr(implementation.function, "__code__", None) in passed:
                    raise PluginError(
                        f"plugin {implementation.plugin_name} failed in {caller.name}: "
                        f"{type(error).__name__}: {error}"
                    ) from error
            raise


class _Hooks:
    """The hooks of an observer, without its state.

    Pluggy compares registered objects and reads their attributes; an observer may compare equal to
    another, or have attributes that cannot be read yet.
    """

    def __init__(self, hooks: Mapping[str, object]) -> None:
        vars(self).update(hooks)


def _observing(observer: object, name: str) -> _Hooks:
    """The object to register with pluggy for ``observer``.

    Raises:
        PluginError: it has no hook, or an unknown one.
    """
    if isinstance(observer, type):
        raise PluginError(
            f"observer {observer.__qualname__} is a class; pass an instance, {observer.__name__}()"
        )
    refuse_unknown_hooks(f"observer {name}", observer)
    lifecycle = [hook for hook in hook_names(observer) if hook in vars(LifecycleHooks)]
    if not lifecycle:
        raise PluginError(
            f"observer {name} has no hooks; decorate a method such as clsbench_run_finished with "
            "@clsbench.hookimpl"
        )
    hooks = _Hooks({hook: getattr(observer, hook) for hook in lifecycle})
    check = pluggy.PluginManager(PROJECT)
    check.add_hookspecs(LifecycleHooks)
    try:
        check.register(hooks)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"observer {name}: {error}") from error
    return hooks


def hook_names(plugin: object) -> list[str]:
    """The names of functions marked as hooks, including unknown hooks."""
    return [name for name, value in _attributes(plugin).items() if _is_marked(value)]


def refuse_unknown_hooks(label: str, plugin: object) -> None:
    """Refuse misspelt hooks and hooks without the decorator, which pluggy ignores silently.

    Raises:
        PluginError: names the plugin by ``label``, and the hook.
    """
    known = {
        name
        for hooks in (RegistrationHooks, LifecycleHooks)
        for name in vars(hooks)
        if name.startswith(f"{PROJECT}_")
    }
    for name, value in _attributes(plugin).items():
        if _is_marked(value) and name not in known:
            raise PluginError(f"{label}: unknown hook {name!r}{closest_match_hint(name, known)}")
        if name in known and not _is_marked(value):
            raise PluginError(
                f"{label}: {name} lacks the decorator @clsbench.hookimpl"
                if callable(value)
                else f"{label}: {name} is the name of a hook, but the attribute is of type "
                f"{type(value).__qualname__}, expected a function; rename the attribute"
            )
        if name in known and callable(value):
            _refuse_defaults(label, name, value)


def _attributes(plugin: object) -> dict[str, object]:
    """The attributes of ``plugin`` by name, without evaluating properties."""
    found = {name: inspect.getattr_static(plugin, name, None) for name in dir(plugin)}
    wrapped = (MethodType, staticmethod, classmethod)
    return {
        name: value.__func__ if isinstance(value, wrapped) else value
        for name, value in found.items()
    }


def _is_marked(value: object) -> bool:
    return inspect.isroutine(value) and hasattr(value, f"{PROJECT}_impl")


def _refuse_defaults(label: str, hook: str, function: Callable[..., object]) -> None:
    """Refuse parameters with defaults, to which pluggy passes no argument."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty:
            raise PluginError(
                f"{label}: {hook} gives its parameter {parameter.name!r} a default, "
                "so it would not receive the argument; remove the default"
            )
