"""What the digest of an object tells apart, and what it does not."""

from __future__ import annotations

import cmath
import enum
import functools
import math
import mmap
import os
import re
import subprocess
import sys
import tempfile
import threading
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clsbench.fastpath.contents import UnknowableError, content_digest


class Word(str):
    """Text with attributes of its own."""


class One:
    """Without attributes."""


class Other:
    """Without attributes, too."""


class Slotted:
    __slots__ = ("word",)

    def __init__(self, word: str) -> None:
        self.word = word


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def word_with(weight: float) -> Word:
    word = Word("word")
    word.weight = weight  # type: ignore[attr-defined]
    return word


def closing_over(value: object) -> Callable[[], object]:
    return lambda: value


def holding(value: object) -> nn.Module:
    module = nn.Linear(2, 2, bias=False)
    module.held = value  # type: ignore[assignment]
    return module


def context(value: str) -> ContextVar[str]:
    variable = ContextVar("test", default="none")
    variable.set(value)
    return variable


def mapped(content: bytes) -> mmap.mmap:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return mmap.mmap(file.fileno(), 0)


def made(code: str) -> Any:
    """What ``it`` is in some code."""
    names: dict[str, Any] = {"functools": functools, "nn": nn}
    exec(code, names)
    return names["it"]


def of_a_class(value: object, how: str) -> nn.Module:
    """A module whose class takes something from the function around it."""

    class Helper:
        def get(self) -> object:
            return value

    class By(nn.Module):
        def method(self) -> object:
            return value

        def default(self, given: object = value) -> object:
            return given

        @property
        def seen(self) -> object:
            return value

        @functools.cached_property
        def once(self) -> object:
            return value

        @staticmethod
        def still() -> object:
            return value

        def by_another(self) -> object:
            return Helper().get()

        partly = functools.partialmethod(lambda self, given: given, value)
        attribute = value

    for name in ("method", "default", "seen", "once", "still", "by_another", "partly", "attribute"):
        if name != how:
            delattr(By, name)
    return By()


class Mangled(dict[str, int]):
    __slots__ = ("__word",)

    def __init__(self, word: str) -> None:
        self.__word = word


class SlottedModule(nn.Module):
    __slots__ = ("word",)

    def __init__(self, word: str) -> None:
        super().__init__()
        self.word = word


class SlottedAgain(Slotted):
    """A slot of the same name, over its parent's."""

    __slots__ = ("word",)


LARGE = np.zeros(2**18)
LARGE_TOO = LARGE.copy()
LARGE_TOO[-1] = 1

DIFFERENT = {
    "grouping": ([[1, 2], [3]], [[1], [2, 3]]),
    "kinds": (1, True),
    "kinds of sequences": ([1], (1,)),
    "keys": (OrderedDict(a=1), OrderedDict(b=1)),
    "order": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "a view": (MappingProxyType({"a": 1}), MappingProxyType({"b": 1})),
    "views": ({"a": 1}.keys(), {"b": 1}.keys()),
    "a default": (defaultdict(int), defaultdict(float)),
    "counts": (Counter("aab"), Counter("abb")),
    "a limit": (deque([1], 1), deque([1], 2)),
    "a set": ({"a", "b"}, {"a", "c"}),
    "a set of sets": ({frozenset("ab")}, {frozenset("ac")}),
    "tensors": ({1: torch.zeros(2)}, {1: torch.ones(2)}),
    "shapes": (torch.zeros(2, 3), torch.zeros(3, 2)),
    "dtypes": (np.zeros(2, np.int32), np.zeros(1, np.int64)),
    "large arrays": (LARGE, LARGE_TOO),
    "arrays of objects": (np.array(["a", None]), np.array(["b", None])),
    "a pattern": (re.compile("a"), re.compile("b")),
    "flags": (re.compile("a"), re.compile("a", re.I)),
    "code": (lambda x: x + 1, lambda x: x + 2),
    "code inside": (lambda: lambda x: x + 1, lambda: lambda x: x + 2),
    "names": (lambda x: x.a, lambda x: x.b),
    "a closure": (closing_over(1), closing_over(2)),
    "defaults": (lambda x=1: x, lambda x=2: x),
    "classes": (One, Other),
    "objects": (One(), Other()),
    "text with attributes": (word_with(1.0), word_with(2.0)),
    "text of a class": (Word("a"), Word("b")),
    "slots": (Slotted("a"), Slotted("b")),
    "slots over others": (SlottedAgain("a"), SlottedAgain("b")),
    "an enumeration": (Colour.RED, Colour.BLUE),
    "bytes": (bytearray(b"a" * 2**21), bytearray(b"b" * 2**21)),
    "a view of bytes": (memoryview(b"a"), memoryview(b"b")),
    "a mapped file": (mapped(b"a"), mapped(b"b")),
    "a path": (Path("a"), Path("b")),
    "a context": (context("a"), context("b")),
    "an iterator": (iter([1, 2]), iter([1, 3])),
    "a bound method": ({"a": 1}.get, {"b": 1}.get),
    "what a module holds": (holding(["a"]), holding(["b"])),
    "not a number": (float("nan"), 0.0),
    "long numbers": (10**5000, 10**5001),
    "arrays of other numbers": (array("i", [0]), array("f", [0.0])),
    "views of other shapes": (memoryview(b"ab"), memoryview(b"ab").cast("B", (2, 1))),
    "the order of parameters": (made("it = lambda a, b: a - b"), made("it = lambda b, a: a - b")),
    "how many parameters": (made("it = lambda x: x"), made("it = lambda *x: x")),
    "functions of other modules": (math.log, cmath.log),
    "slots of a dictionary": (Mangled("a"), Mangled("b")),
    "slots of a module": (SlottedModule("a"), SlottedModule("b")),
    "kinds in general": (list[int], list[str]),
    "code of a class": tuple(
        made(f"class A(nn.Module):\n  def forward(self, x): return x * {n}\nit = A()")
        for n in (2, 3)
    ),
    **{
        f"{how} of a class": (of_a_class(1, how), of_a_class(2, how))
        for how in ("method", "default", "seen", "once", "still", "by_another", "partly",
                    "attribute")
    },
}  # fmt: skip


@pytest.mark.parametrize("one", DIFFERENT)
def test_what_holds_something_else_has_another_digest(one: str) -> None:
    first, second = DIFFERENT[one]
    assert content_digest(first) != content_digest(second)
    assert content_digest([first]) == content_digest([first])


def test_what_is_built_again_has_the_same_digest() -> None:
    def build() -> list[Any]:
        hooked = holding({"a", "b"})
        handle = hooked.register_forward_hook(closing_over([1]))
        itself: list[Any] = []
        itself.append(itself)
        word = word_with(2.0)
        return [hooked, handle, itself, word, Slotted("a"), re.compile("a"), threading.Lock(),
                {"again": word}, torch.arange(3), iter([1, 2]), Path("a"), Colour.RED]  # fmt: skip

    weights = nn.Parameter(torch.ones(2, 2))

    def whole() -> str:
        built = build()
        built[0].weight = weights
        return content_digest(built)

    assert whole() == whole()


def test_what_is_told_elsewhere_is_left_out() -> None:
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert content_digest(one) != content_digest(other)
    apart = [{id(parameter) for parameter in each.parameters()} for each in (one, other)]
    assert content_digest(one, apart[0]) == content_digest(other, apart[1])
    one.weight.words = ["a"]  # type: ignore[attr-defined]
    assert content_digest(one, apart[0]) != content_digest(other, apart[1])


IN_A_PROCESS = """
from pathlib import Path
from clsbench.fastpath.contents import content_digest
path = Path("a/b")
hash(path)
print(content_digest([{"a", "b", "c", frozenset("xyz")}, path, {Path("x"), Path("y")}]))
"""


def test_every_process_finds_the_same() -> None:
    """Texts have another hash in each."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", IN_A_PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


def test_what_cannot_be_looked_into_is_named() -> None:
    def generator() -> Any:
        yield 1

    class Secretive:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise RuntimeError("no")

    for value, name in ((generator(), "builtins.generator"), (Secretive(), "Secretive")):
        with pytest.raises(UnknowableError, match=name):
            content_digest(holding([value]))
    with pytest.raises(UnknowableError, match="MaskedArray"):
        content_digest(np.ma.masked_array([1, 2], [True, False]))  # type: ignore[no-untyped-call]

    class Failing(dict[str, int]):
        def items(self) -> Any:
            raise RuntimeError("nobody may look")

    with pytest.raises(UnknowableError, match="nobody may look"):
        content_digest(Failing())
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(UnknowableError, match="in too long a row"):
        content_digest(nested)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2), inner, max_size=3)
        | st.tuples(inner, inner)
    ),
    max_leaves=8,
)


@given(VALUES, VALUES)
def test_values_have_the_same_digest_if_they_are_written_the_same(one: Any, other: Any) -> None:
    assert (content_digest(one) == content_digest(other)) == (repr(one) == repr(other))
