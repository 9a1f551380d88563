"""Observers: their hooks are called, their state is separate, invalid ones are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType

import msgspec
import pytest

from clsbench.components.catalog import load_catalog
from clsbench.components.hookspecs import hookimpl
from clsbench.errors import PluginError, UsageError


def test_plugin_with_only_an_observer_is_called(write: Callable[..., str]) -> None:
    source = "import clsbench\nseen = []\n@clsbench.hookimpl\ndef clsbench_phase_started(phase):\n"
    catalog = load_catalog([write(source + "    seen.append(phase)\n")])
    catalog.lifecycle().clsbench_phase_started(phase="data")
    (module,) = [m for m in catalog.plugins.values() if m.__name__.startswith("clsbench_plugin_")]
    assert module.seen == ["data"]


def test_lifecycle_failing_observer_is_named(write: Callable[..., str]) -> None:
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
        """Never called with an entry."""


class UnknownParameter:
    @hookimpl
    def clsbench_epoch_finished(self, epoch: int) -> None:
        """Never called: the hook has no such argument."""


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
        (UnknownParameter(), "epoch"),
        (Watching, r"observer Watching is a class; .* Watching\(\)"),
    ],
)
def test_lifecycle_observer_without_valid_hooks_is_refused(observer: object, said: str) -> None:
    with pytest.raises(PluginError, match=f"(?s){said}"):
        load_catalog().lifecycle([observer])


def test_lifecycle_observer_given_twice_is_refused() -> None:
    observer = Watching()
    with pytest.raises(PluginError, match=r"Watching at .* failed in clsbench_epoch_finished"):
        load_catalog().lifecycle([observer]).clsbench_epoch_finished(entry=None)
    with pytest.raises(PluginError, match=r"observer Watching at .* is given twice"):
        load_catalog().lifecycle([observer, observer])


@dataclass
class Counting:
    """Unhashable, and equal to every other instance with the same state."""

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
    """Has a slot without a value."""

    __slots__ = ("seen", "started")

    def __init__(self) -> None:
        self.seen: list[object] = []

    @hookimpl
    def clsbench_epoch_finished(self, entry: object) -> None:
        self.seen.append(entry)


class WithClient(Counting):
    """Holds an object whose attributes all raise, and a hook set on the instance."""

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
def test_lifecycle_observers_with_state_are_called_separately(kind: type[Counting]) -> None:
    first, second = kind(), kind()
    load_catalog().lifecycle([first, second]).clsbench_epoch_finished(entry=1)
    assert first.seen == second.seen == [1]


class Flagged(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.clsbench_epoch_finished = False  # type: ignore[method-assign,assignment]


def test_lifecycle_attribute_named_like_a_hook_is_refused() -> None:
    with pytest.raises(PluginError, match="clsbench_epoch_finished is the name of a hook, but"):
        load_catalog().lifecycle([Flagged()])


def test_lifecycle_observer_outside_a_list_is_refused() -> None:
    with pytest.raises(PluginError, match=r"observers is of type Counting, expected a list"):
        load_catalog().lifecycle(Counting())  # type: ignore[arg-type]
