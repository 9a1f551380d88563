"""Who observes a run: checked beforehand, and named when one of them fails."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import pluggy

from clsbench.errors import ClsbenchError, PluginError, closest_match_hint
from clsbench.hookspecs import PROJECT, LifecycleHooks, RegistrationHooks


class Relay:
    """Calls a lifecycle hook of every plugin and observer; what one of them raises names it."""

    def __init__(self, plugins: Mapping[str, object], observers: Iterable[object]) -> None:
        """Take in the plugins by name, and the observers.

        Raises:
            PluginError: an observer has no hook, or one that would never be called.
        """
        manager = pluggy.PluginManager(PROJECT)
        manager.add_hookspecs(LifecycleHooks)
        for name, plugin in plugins.items():
            manager.register(plugin, name)
        for observer in observers:
            name = f"{type(observer).__qualname__} at {id(observer):#x}"
            _register(manager, observer, name)
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


def _register(manager: pluggy.PluginManager, observer: object, name: str) -> None:
    if isinstance(observer, type):
        raise PluginError(
            f"observer {observer.__qualname__} is a class: hand over an instance of it, "
            f"{observer.__name__}()"
        )
    refuse_unknown_hooks(f"observer {name}", observer)
    if not set(hook_names(observer)) & set(vars(LifecycleHooks)):
        raise PluginError(
            f"observer {name} observes nothing: write @clsbench.hookimpl over a method named like "
            "clsbench_run_finished"
        )
    try:
        manager.register(observer, name)
    except (pluggy.PluginValidationError, ValueError) as error:  # the latter: handed over twice
        raise PluginError(f"observer {name}: {error}") from error


def hook_names(plugin: object) -> list[str]:
    """The names of what the decorator marks as a hook, whether there is such a hook or not."""
    return [name for name, value in _attributes(plugin).items() if _is_marked(value)]


def refuse_unknown_hooks(label: str, plugin: object) -> None:
    """Pluggy lets a misspelt hook through; so does a forgotten decorator. Neither helps anybody.

    Raises:
        PluginError: naming the plugin by ``label``, and the hook that would never be called.
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
        if name in known and callable(value) and not _is_marked(value):
            raise PluginError(f"{label}: {name} lacks the decorator @clsbench.hookimpl")
        if name in known and callable(value):
            _refuse_defaults(label, name, value)


def _attributes(plugin: object) -> dict[str, object]:
    """What ``plugin`` consists of, by name; no property is evaluated for it."""
    found = {name: inspect.getattr_static(plugin, name, None) for name in dir(plugin)}
    return {name: getattr(value, "__func__", value) for name, value in found.items()}


def _is_marked(value: object) -> bool:
    return inspect.isroutine(value) and hasattr(value, f"{PROJECT}_impl")


def _refuse_defaults(label: str, hook: str, function: Callable[..., object]) -> None:
    """Pluggy hands nothing to a parameter that has a default; the plugin would never notice."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.default is not parameter.empty:
            raise PluginError(
                f"{label}: {hook} gives its parameter {parameter.name!r} a default, "
                "and would be handed nothing for it; leave the default out"
            )
