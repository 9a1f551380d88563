"""Store the learned state of baselines with a run: arrays as safetensors, other values as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from clsbench.errors import UsageError
from clsbench.results.integrity import check_file
from clsbench.results.store import StoredRun
from clsbench.schema.decoding import DecodingError, decode_json, read_bytes

ARRAYS_FILE = "baselines.safetensors"
VALUES_FILE = "baselines.json"


class _Array(msgspec.Struct, frozen=True):
    """The dtype and shape of an array in the file of arrays."""

    dtype: str
    shape: tuple[int, ...]


class _Entry(msgspec.Struct, frozen=True):
    """A baseline: its plain values, and the dtype and shape of its arrays, by name."""

    values: dict[str, Any]
    arrays: dict[str, _Array]


class _States(msgspec.Struct, frozen=True):
    """The baselines of a run, by component."""

    baselines: dict[str, _Entry]


class BaselineState(NamedTuple):
    """A baseline's component, as in the spec, and the state of its fitted estimator."""

    component: str
    state: Mapping[str, Any]


def state_problem(state: object) -> str | None:
    """Why ``state`` cannot be stored; ``None`` if it can."""
    if not isinstance(state, Mapping) or not all(isinstance(key, str) for key in state):
        return f"state() returns {type(state).__name__}, expected a mapping with text as keys"
    for key, value in state.items():
        if not isinstance(value, np.ndarray):
            stored = _States({"": _Entry({key: value}, {})})
            try:
                same = decode_json(msgspec.json.encode(stored), _States) == stored
            except (TypeError, ValueError, RecursionError, msgspec.MsgspecError, DecodingError):
                same = False
            if not same:
                return f"state() holds {key!r}, a value that JSON cannot represent exactly"
        elif not _is_plain(value.dtype):
            return f"state() holds {key!r}, an array of {value.dtype}, expected numbers"
        elif not np.isfinite(value).all():
            return f"state() holds {key!r}, an array with numbers that are not finite"
    return None


def _is_plain(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biuf" and dtype.itemsize <= 8 and dtype.isnative


def write_states(directory: Path, states: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the states of a run's baselines, by component; write no files if there are none."""
    if not states:
        return
    arrays: dict[str, np.ndarray] = {}
    entries = {}
    for number, (component, state) in enumerate(states.items()):
        own = {key: each for key, each in state.items() if isinstance(each, np.ndarray)}
        arrays |= {f"{number}.{key}": np.ascontiguousarray(each) for key, each in own.items()}
        entries[component] = _Entry(
            {key: each for key, each in state.items() if key not in own},
            {key: _Array(str(each.dtype), each.shape) for key, each in own.items()},
        )
    (directory / ARRAYS_FILE).write_bytes(save(arrays))
    (directory / VALUES_FILE).write_bytes(msgspec.json.encode(_States(entries)) + b"\n")


def stored_baselines(run: StoredRun) -> list[str]:
    """The components of the baselines whose state is stored with the run, in order.

    Raises:
        UsageError: the file of states is damaged.
    """
    states = _read(run)
    return list(states.baselines) if states is not None else []


def read_state(run: StoredRun, name: str) -> BaselineState:
    """Read the state of the baseline ``name``, a component with or without its options.

    Raises:
        UsageError: the state is not stored with the run, or is damaged.
    """
    states = _read(run)
    found = list(states.baselines) if states is not None else []
    component = _named(name, found, run)
    assert states is not None
    check_file(run.path, ARRAYS_FILE, run.record)
    file = run.path / ARRAYS_FILE
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{ARRAYS_FILE} is missing from the run {run.path.name}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    try:
        arrays = load(content)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{file} is damaged: {error}") from None
    number, entry = found.index(component), states.baselines[component]
    state: dict[str, Any] = dict(entry.values)
    for key, form in entry.arrays.items():
        array = arrays.get(f"{number}.{key}")
        if array is None or str(array.dtype) != form.dtype or array.shape != form.shape:
            raise UsageError(
                f"{file} is damaged: the array {key!r} of {component} is missing or not "
                f"{form.dtype} {form.shape}"
            )
        state[key] = array
    problem = state_problem(state)
    if problem is not None:
        raise UsageError(f"{file} is damaged: {problem.removeprefix('state() ')}")
    return BaselineState(component, state)


def _named(name: str, stored: Sequence[str], run: StoredRun) -> str:
    if name in stored:
        return name
    matching = [component for component in stored if component.partition(":")[0] == name]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UsageError(
            f"--baseline {name}: the run {run.path.name} has several: {', '.join(matching)}; "
            "include the options"
        )
    ran = [each.component for each in run.record.baselines]
    if any(name in (component, component.partition(":")[0]) for component in ran):
        reason = "did not store the state of this baseline"
    else:
        reason = "has no such baseline"
    listed = ", ".join(stored) or "none"
    raise UsageError(
        f"--baseline {name}: the run {run.path.name} {reason}; stored baselines: {listed}"
    )


def _read(run: StoredRun) -> _States | None:
    file = run.path / VALUES_FILE
    check_file(run.path, VALUES_FILE, run.record)
    try:
        return decode_json(read_bytes(file), _States)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    except DecodingError as error:
        raise UsageError(f"{file} is damaged: {error}") from None
