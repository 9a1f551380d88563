"""Expansion of templates by a seeded context-free grammar.

A rule is a string of alternatives separated by ``|``. In an alternative, ``{name}`` stands for an
expansion of the rule ``name``, ``{name?}`` for one in half of the cases, and ``{@name}`` for one
that stays the same within a :class:`Scope` (the friend, shop or phone number of a conversation).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")

_SLOT = re.compile(r"\{([^{}]+)\}")

Scope = dict[str, str]
"""The expansions of the remembered symbols of one conversation."""


def chance(random: Random, probability: float) -> bool:
    """True with the given probability.

    Only ``Random.random()`` is guaranteed to give the same numbers in every version of Python, so
    this package uses no other method.
    """
    return random.random() < probability


def choose(random: Random, items: Sequence[T]) -> T:
    """One of ``items``, each as likely as the others."""
    return items[int(random.random() * len(items))]


class Grammar:
    """Rules by name, compiled once."""

    def __init__(self, *rule_books: Mapping[str, str]) -> None:
        """Compile the rules.

        Raises:
            ValueError: a rule stands twice, or names one that does not exist.
        """
        self._rules: dict[str, tuple[tuple[str, ...], ...]] = {}
        for rules in rule_books:
            for name, alternatives in rules.items():
                if name in self._rules:
                    raise ValueError(f"the rule {name!r} stands in two rule books")
                self._rules[name] = tuple(
                    tuple(_SLOT.split(alternative)) for alternative in alternatives.split("|")
                )
        self._check_references()

    def expand(self, name: str, random: Random, scope: Scope) -> str:
        """Expand the rule ``name``; remembered symbols are looked up and kept in ``scope``."""
        parts = choose(random, self._rules[name])
        if len(parts) == 1:
            return parts[0]
        return "".join(self._fill(parts, random, scope))

    def _fill(self, parts: Sequence[str], random: Random, scope: Scope) -> Iterable[str]:
        for index, part in enumerate(parts):
            if index % 2 == 0:
                yield part
            elif part.startswith("@"):
                if part not in scope:
                    scope[part] = self.expand(part[1:], random, scope)
                yield scope[part]
            elif not part.endswith("?"):
                yield self.expand(part, random, scope)
            elif chance(random, 0.5):
                yield self.expand(part[:-1], random, scope)

    def _check_references(self) -> None:
        for name, alternatives in self._rules.items():
            for parts in alternatives:
                for slot in parts[1::2]:
                    if slot.strip("@?") not in self._rules:
                        raise ValueError(f"the rule {name!r} names {slot!r}, which does not exist")
