from __future__ import annotations

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from record_examples import make_record
from safetensors.numpy import save

from clsbench.errors import UsageError
from clsbench.results.baseline_states import (
    ARRAYS_FILE,
    VALUES_FILE,
    read_state,
    state_problem,
    stored_baselines,
    write_states,
)
from clsbench.results.store import StoredRun

STATE: dict[str, Any] = {
    "coefficients": np.arange(6.0).reshape(2, 3),
    "classes": np.array([0, 1]),
    "nothing": np.zeros((2, 0)),
    "flags": np.array([True, False]),
    "number": 3,
    "weight": 0.1,
    "vocabulary": ["a", "", "好", "😀", 'quote"', "\x00"],
    "nested": {"x": [1, None, True]},
}
STATES = {"one:n=1": STATE, "one:n=2": {"label": 1}, "two": {"array": np.ones(2, np.float32)}}


@pytest.fixture
def run(tmp_path: Path) -> StoredRun:
    write_states(tmp_path, STATES)
    return StoredRun(tmp_path, make_record())


def test_read_state_returns_what_was_written(run: StoredRun) -> None:
    assert stored_baselines(run) == list(STATES)
    for component, state in STATES.items():
        found = read_state(run, component)
        assert found.component == component
        assert found.state.keys() == state.keys()
        for key, value in state.items():
            if isinstance(value, np.ndarray):
                assert found.state[key].dtype == value.dtype
                assert np.array_equal(found.state[key], value)
            else:
                assert found.state[key] == value
    assert read_state(run, "two").component == "two"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one", "has several: one:n=1, one:n=2; include the options"),
        ("three", "has no such baseline; stored baselines: one:n=1, one:n=2, two"),
        ("majority", "did not store the state of this baseline; stored baselines: one:n=1"),
    ],
)
def test_read_state_of_an_unknown_baseline_lists_the_stored_ones(
    run: StoredRun, name: str, said: str
) -> None:
    with pytest.raises(UsageError) as error:
        read_state(run, name)
    assert said in str(error.value)


def test_read_state_run_without_states_is_refused(tmp_path: Path) -> None:
    write_states(tmp_path, {})
    run = StoredRun(tmp_path, make_record())
    assert stored_baselines(run) == []
    with pytest.raises(UsageError, match="stored baselines: none"):
        read_state(run, "two")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ([1], "returns list, expected a mapping"),
        ({1: 2}, "expected a mapping with text as keys"),
        ({"x": math.nan}, "'x', a value that JSON cannot represent"),
        ({"x": (1, 2)}, "'x', a value that JSON cannot represent"),
        ({"x": object()}, "'x', a value that JSON cannot represent"),
        ({"x": functools.reduce(lambda inner, _: [inner], range(99), 1)}, "'x', a value that"),
        ({"x": np.array(["a"])}, "'x', an array of <U1, expected numbers"),
        ({"x": np.array([1, None])}, "'x', an array of object, expected numbers"),
        ({"x": np.ones(2, ">f8")}, "'x', an array of >f8, expected numbers"),
        ({"x": np.array([1.0, np.inf])}, "'x', an array with numbers that are not finite"),
    ],
)
def test_state_problem_names_what_cannot_be_stored(state: object, said: str) -> None:
    assert said in (state_problem(state) or "")
    assert state_problem(STATE) is None


def other_arrays(folder: Path, arrays: dict[str, Any]) -> None:
    (folder / ARRAYS_FILE).write_bytes(save(arrays))


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (lambda folder: (folder / VALUES_FILE).write_text("{"), VALUES_FILE),
        (lambda folder: (folder / VALUES_FILE).write_text('{"a":' * 100_000), VALUES_FILE),
        (lambda folder: (folder / VALUES_FILE).write_bytes(b'{"\xff'), VALUES_FILE),
        (lambda folder: (folder / VALUES_FILE).write_text('{"baselines": 3}'), VALUES_FILE),
        (lambda folder: (folder / ARRAYS_FILE).unlink(), ARRAYS_FILE),
        (lambda folder: (folder / ARRAYS_FILE).write_bytes(b"x" * 40), ARRAYS_FILE),
        (lambda folder: other_arrays(folder, {}), ARRAYS_FILE),
        (lambda folder: other_arrays(folder, {"2.array": np.ones(3, np.float32)}), ARRAYS_FILE),
        (lambda folder: other_arrays(folder, {"2.array": np.ones(2)}), ARRAYS_FILE),
        (
            lambda folder: other_arrays(folder, {"2.array": np.full(2, np.nan, np.float32)}),
            ARRAYS_FILE,
        ),
    ],
)
def test_read_state_damaged_file_is_refused_by_name(
    run: StoredRun, damage: Callable[[Path], object], file: str
) -> None:
    damage(run.path)
    with pytest.raises(UsageError, match=file):
        read_state(run, "two")
