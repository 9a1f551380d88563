from __future__ import annotations

import random

import pytest
from tools.stand_ins.expansion import Grammar


@pytest.mark.parametrize(
    "rules", [{"a": "x {b}"}, {"a": "x {@b}"}, {"a": "{b?}"}], ids=["plain", "remembered", "maybe"]
)
def test_grammar_refuses_a_symbol_without_a_rule(rules: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="b"):
        Grammar(rules)


def test_grammar_refuses_a_rule_twice() -> None:
    with pytest.raises(ValueError, match="'a'"):
        Grammar({"a": "x"}, {"a": "y"})


def test_grammar_remembers_within_a_scope() -> None:
    grammar = Grammar({"pair": "{@n}{@n}", "n": "0|1|2|3|4|5|6|7|8|9"})
    pairs = {grammar.expand("pair", random.Random(seed), {}) for seed in range(30)}
    assert len(pairs) > 3
    assert all(pair[0] == pair[1] for pair in pairs)
