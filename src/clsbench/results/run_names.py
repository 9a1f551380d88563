"""Name runs that are shown together by the settings that distinguish them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from clsbench.results.store import StoredRun
from clsbench.schema.changes import short_component
from clsbench.schema.experiment import COMPONENT_KEYS

_NOT_IN_NAMES = ("seed", "name", "description", "published", "baselines", "metrics")


def names_of(runs: Sequence[StoredRun]) -> list[str]:
    """Name each run by the settings that distinguish it, or by its directory if that is ambiguous.

    Settings that most runs share are omitted. A run without other settings is named after its
    experiment if that is unmodified, else by all settings in which the runs differ.
    """
    settings = [_flat_settings(run.record.spec) for run in runs]
    # Components first, including those that only some runs have.
    keys = sorted({key: None for each in settings for key in each}, key=lambda key: "." in key)
    usual: dict[str, str | None] = {}
    varying = []
    for key in keys:
        [(value, count), *others] = Counter(each.get(key) for each in settings).most_common()
        if others:
            varying.append(key)
        if count > len(settings) / 2:
            usual[key] = value
    names = []
    for run, each in zip(runs, settings, strict=True):
        chosen = [key for key in varying if key not in usual or each.get(key) != usual[key]]
        if not chosen and run.record.modified:
            chosen = varying
        names.append(", ".join(_setting_text(key, each) for key in chosen))
    names = [name or run.record.experiment for name, run in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        return [run.path.name for run in runs]
    return names


def _setting_text(key: str, settings: Mapping[str, str]) -> str:
    """A setting in a name: ``head-only``, ``lr=0.001``, ``no adapter``."""
    value = settings.get(key)
    if "." in key:
        return f"{key.rpartition('.')[2]}={value}"
    return f"no {key}" if value is None else value


def _flat_settings(spec: Mapping[str, Any]) -> dict[str, str]:
    """The components and settings of an experiment as text, by dotted key."""
    found: dict[str, str] = {}
    for key, value in spec.items():
        if key in _NOT_IN_NAMES or value is None:
            continue
        settings = {key: value}
        if isinstance(value, Mapping) and key not in COMPONENT_KEYS:
            settings = {f"{key}.{name}": each for name, each in value.items()}
        for name, each in settings.items():
            found[name] = short_component(each) if name in COMPONENT_KEYS else str(each)
    return found
