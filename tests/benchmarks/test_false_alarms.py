"""``benchmarks/false_alarms.py`` resumes from its stored verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import rich_click as click

from false_alarms import earlier_verdicts

CONDITIONS: dict[str, Any] = {"pairs": 8, "load": False}


def test_earlier_verdicts_same_conditions_are_resumed(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.json"
    assert earlier_verdicts(file, CONDITIONS, [0.0, 0.1]) == {0.0: [], 0.1: []}
    kept = [[0.0, [{"a": 1}, {"a": 2}]], [0.1, [{"a": 3}]]]
    file.write_text(json.dumps({**CONDITIONS, "verdicts": kept}))
    found = earlier_verdicts(file, CONDITIONS, [0.0, 0.1])
    assert found == {0.0: [{"a": 1}], 0.1: [{"a": 3}]}, "an incomplete round is dropped"


def test_earlier_verdicts_other_conditions_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "verdicts.json"
    file.write_text(json.dumps({**CONDITIONS, "verdicts": [[0.0, []]]}))
    for conditions, slow_downs in ((CONDITIONS, [0.1]), ({**CONDITIONS, "load": True}, [0.0])):
        with pytest.raises(click.UsageError, match="holds verdicts under other conditions"):
            earlier_verdicts(file, conditions, slow_downs)
