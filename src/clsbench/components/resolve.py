"""Resolve a spec to components; finds all errors that can be detected without assets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from clsbench.components.axes import (
    AXES,
    METHOD,
    Adapter,
    Axis,
    Backbone,
    Baseline,
    Dataset,
    FreezingStrategy,
    Head,
    Pooling,
)
from clsbench.components.catalog import Catalog
from clsbench.components.chosen import ChosenComponent, choose, table_of
from clsbench.components.component import Component
from clsbench.components.labels import Task
from clsbench.components.metric import Metric, metric_label
from clsbench.components.training_axes import Loss, Optimizer, Schedule
from clsbench.errors import UsageError
from clsbench.schema.decoding import DecodingError, decode_utf8, read_bytes
from clsbench.schema.experiment import (
    ExperimentSpec,
    Method,
    format_component,
    from_tree,
    identity_of,
    metric_selects,
    override,
    parse_toml,
    to_tree,
    toml_tree,
    value_at,
    with_value,
    without_stand_ins,
)
from clsbench.schema.suite import SuiteSpec, parse_suite
from clsbench.schema.tasks import TASK_DEFAULTS


class Experiment(NamedTuple):
    """A spec with every default written out, and the components that it names.

    ``tree`` is the spec as plain values. ``components`` are in the order of the spec, baselines
    last, then the primary metric if it selects a model. ``modified`` is true if the spec differs
    from the registered experiment whose published figures it carries, or else from the experiment
    (or file) of its name; the published figures then belong to another experiment. ``metrics`` are
    those of the spec by their text, the primary one included.
    """

    spec: ExperimentSpec
    tree: Mapping[str, Any]
    components: tuple[ChosenComponent, ...]
    dataset: Dataset
    backbone: Backbone
    pooling: Pooling
    head: Head
    freezing: FreezingStrategy
    adapter: Adapter | None
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    baselines: tuple[Baseline, ...]
    metrics: Mapping[str, Metric]
    modified: bool

    @property
    def primary(self) -> str:
        """The primary metric."""
        return str(self.tree["metric"])

    def identity(self) -> dict[str, Any]:
        """What decides the result, seed included: all but names and published figures."""
        return identity_of(self.tree)

    def label(self, axis: str) -> str:
        """The label of the component on an axis other than that of the baselines."""
        return next(each.label for each in self.components if each.axis == axis)


def find_spec(name_or_file: str | Path, catalog: Catalog) -> ExperimentSpec:
    """A registered experiment by name, or a spec from a TOML file.

    Raises:
        UsageError: neither exists, or the file is not a valid spec.
    """
    text = _file_text(name_or_file, "experiments", catalog)
    if text is not None:
        return parse_toml(text, str(name_or_file))
    return catalog.spec(ExperimentSpec, str(name_or_file))


def find_suite(name_or_file: str | Path, catalog: Catalog) -> SuiteSpec:
    """A registered suite by name, or one from a TOML file.

    Raises:
        UsageError: neither exists, or the file is not a valid suite.
    """
    text = _file_text(name_or_file, "suites", catalog)
    if text is not None:
        suite = parse_suite(text, str(name_or_file))
        try:
            find_spec(suite.base, catalog)
        except UsageError as error:
            raise UsageError(f"{name_or_file}: base = {suite.base!r}: {error}") from None
        return suite
    return catalog.spec(SuiteSpec, str(name_or_file))


def is_suite(name_or_file: str, catalog: Catalog) -> bool:
    """Whether a name or a TOML file is that of a suite, rather than of an experiment.

    Raises:
        UsageError: the file cannot be read, or is not valid TOML.
    """
    if name_or_file in catalog.entries["experiments"]:
        return False
    text = _file_text(name_or_file, "suites", catalog)
    if text is None:
        return name_or_file in catalog.entries["suites"]
    return "rows" in toml_tree(text, name_or_file)


def _file_text(name_or_file: str | Path, axis: str, catalog: Catalog) -> str | None:
    """The content of the named file; ``None`` for a registered name."""
    path = Path(name_or_file)
    if str(name_or_file) in catalog.entries[axis]:
        return None
    if path.suffix != ".toml" and not os.path.isfile(path):  # Path.is_file raises for some names
        return None
    try:
        return decode_utf8(read_bytes(path))
    except (OSError, ValueError, DecodingError) as error:
        raise UsageError(f"the {axis.rstrip('s')} file {path} cannot be read: {error}") from None


def resolve(base: ExperimentSpec, changes: Mapping[str, Any], catalog: Catalog) -> Experiment:
    """Apply ``changes`` (dotted keys, components also as instances) and make the components.

    Published figures are left out with another data set, since they say nothing about its texts,
    and the description with another data set, backbone or freezing strategy.

    Raises:
        UsageError: an unknown component or option, or a value out of range.
    """
    changes = expand_method(changes, catalog)
    plain = {key: _as_plain(key, value, catalog) for key, value in changes.items()}
    experiment = _build(override(base, plain) if plain else base, catalog)
    _check_consistent(experiment.spec)
    identity = experiment.identity()
    references = [_build(each, catalog) for each in _references(experiment.spec, base, catalog)]
    modified = all(each.identity() != identity for each in references)
    dataset = experiment.tree["dataset"]["name"]
    if all(each.tree["dataset"]["name"] != dataset for each in references):
        experiment = _without_figures(experiment)
    if all(_describes_another(each, experiment) for each in references):
        experiment = _with_description(experiment, "")
    return experiment._replace(modified=modified)


def expand_method(changes: Mapping[str, Any], catalog: Catalog) -> Mapping[str, Any]:
    """``changes`` with the freezing strategy and the adapter of the method that they name.

    Raises:
        UsageError: the method is unknown, or one of the two is also set.
    """
    if METHOD not in changes:
        return changes
    name = changes[METHOD]
    if not isinstance(name, str):
        raise UsageError(f"method = {name!r}: expected a name (clsbench list methods)")
    plain_name, colon, _ = name.partition(":")
    method = catalog.spec(Method, plain_name)
    parts = method.changes()
    meant = " ".join(f"--{key} {format_component(choice)}" for key, choice in parts.items())
    if colon:
        raise UsageError(
            f"method {name!r}: a method has no options; set those of its parts: {meant}"
        )
    rest = {key: value for key, value in changes.items() if key != METHOD}
    for key in rest:
        if key.partition(".")[0] in parts:
            raise UsageError(
                f"{key} cannot be combined with method = {name!r}, which stands for {meant}: use "
                "either the method or its parts"
            )
    return {**rest, **parts}


def expand_methods(suite: SuiteSpec, catalog: Catalog) -> SuiteSpec:
    """The suite with the freezing strategies and adapters of the methods that it names.

    Raises:
        UsageError: see :func:`expand_method`; the row is named.
    """
    rows = []
    for row in suite.rows:
        try:
            changes = dict(expand_method(row.changes, catalog))
        except UsageError as error:
            raise type(error)(f"row {row.label}: {error}") from None
        rows.append(msgspec.structs.replace(row, changes=changes))
    changes = dict(expand_method(suite.changes, catalog))
    return msgspec.structs.replace(suite, changes=changes, rows=tuple(rows))


def substitute(
    experiment: Experiment, axis_key: str, stand_in: Component, catalog: Catalog
) -> Experiment:
    """The experiment with a stand-in on one axis, without published figures."""
    table = table_of(stand_in, _axis_of_key(axis_key), catalog)
    tree = with_value(_without_figures(experiment).tree, axis_key, table)
    tree = without_stand_ins(tree, {axis_key})
    return _build(from_tree(tree, "the stand-in"), catalog)._replace(modified=True)


def _without_figures(experiment: Experiment) -> Experiment:
    tree = {key: value for key, value in experiment.tree.items() if key != "published"}
    spec = msgspec.structs.replace(experiment.spec, published=None)
    return experiment._replace(spec=spec, tree=tree)


_DESCRIBED = ("dataset", "backbone", "freezing")
"""The components that the description of an experiment names."""


def _describes_another(reference: Experiment, experiment: Experiment) -> bool:
    return reference.spec.description == experiment.spec.description and any(
        reference.tree[key] != experiment.tree[key] for key in _DESCRIBED
    )


def _with_description(experiment: Experiment, text: str) -> Experiment:
    spec = msgspec.structs.replace(experiment.spec, description=text)
    return experiment._replace(spec=spec, tree={**experiment.tree, "description": text})


def _references(
    spec: ExperimentSpec, base: ExperimentSpec, catalog: Catalog
) -> list[ExperimentSpec]:
    """The registered specs that ``spec`` may belong to: a new name makes no new experiment."""
    registered = catalog.entries["experiments"]
    specs = [e.component for e in registered.values() if isinstance(e.component, ExperimentSpec)]
    of_the_figures = [s for s in specs if spec.published and s.published == spec.published]
    if of_the_figures:
        return of_the_figures
    return [catalog.spec(ExperimentSpec, spec.name) if spec.name in registered else base]


def _build(spec: ExperimentSpec, catalog: Catalog) -> Experiment:
    tree = to_tree(spec)
    dataset = choose(tree["dataset"], _DATASETS, catalog).component
    assert isinstance(dataset, Dataset)
    defaults = TASK_DEFAULTS[dataset.task()]
    tree = {"metrics": defaults.metrics, "metric": defaults.metric, **tree}
    tree["train"] = {"loss": {"name": defaults.loss}, **tree["train"]}
    single = {
        axis.spec_key: choose(choice, axis, catalog)
        for axis in AXES
        if axis.spec_key and (choice := value_at(tree, axis.spec_key)) is not None
    }
    baselines = [choose(table, _BASELINES, catalog) for table in tree["baselines"]]
    components: dict[str, Any] = {"adapter": None}
    components |= {key.rpartition(".")[2]: each.component for key, each in single.items()}
    components["baselines"] = tuple(each.component for each in baselines)
    for key, each in single.items():
        tree = with_value(tree, key, each.table)
    metrics = dict(make_metric(text, catalog) for text in tree["metrics"])
    primary, metric = make_metric(tree["metric"], catalog)
    components["metrics"] = MappingProxyType({**metrics, primary: metric})
    for each in (single["train.loss"], *baselines):
        _check_task(each.quoted_name, each.component, dataset.task())
    for text, component in components["metrics"].items():
        _check_task(f"metric {text!r}", component, dataset.task())
    selecting = [choose(tree["metric"], _METRICS, catalog)] if metric_selects(tree) else []
    tree |= {"metrics": list(metrics), "metric": primary}
    tree["baselines"] = [each.table for each in baselines]
    tree["data"] = _completed(tree["data"], components["dataset"])
    complete = from_tree(tree, "the experiment")
    return Experiment(
        spec=complete,
        tree=to_tree(complete),
        components=(*single.values(), *baselines, *selecting),
        **components,
        modified=False,
    )


def _completed(data: Mapping[str, Any], dataset: Dataset) -> dict[str, Any]:
    """The data settings, with the data set's defaults for what the experiment does not set."""
    split = {"name": dataset.default_split(), **data["split"]}
    return {"balance": dataset.default_balance(), **data, "split": split}


def _check_task(name: str, component: Any, task: Task) -> None:
    """Check that a component fits the data set's labels.

    Raises:
        UsageError: it does not.
    """
    if task in component.tasks:
        return
    advice = "choose another, or leave it out"
    if isinstance(component, Loss):
        advice = f"use --loss {TASK_DEFAULTS[task].loss}"
    raise UsageError(
        f"{name} is for {' and '.join(component.tasks)} data, but the data set is {task}: its "
        f"texts have {'one class each' if task == 'single-label' else 'any number of classes'}; "
        f"{advice}"
    )


_DATASETS = next(axis for axis in AXES if axis.kind is Dataset)
_BASELINES = next(axis for axis in AXES if axis.kind is Baseline)
_METRICS = next(axis for axis in AXES if axis.kind is Metric)


def make_metric(text: str, catalog: Catalog) -> tuple[str, Metric]:
    """A metric and its text without the options that are the defaults.

    Raises:
        UsageError: it does not exist, or an option is invalid.
    """
    chosen = choose(text, _METRICS, catalog)
    assert isinstance(chosen.component, Metric)
    return metric_label(chosen.entry.name, chosen.component), chosen.component


def _as_plain(key: str, value: Any, catalog: Catalog) -> Any:
    """Components made in Python are written out, so that they are validated like all others."""
    if isinstance(value, list | tuple):
        return [_as_plain(key, item, catalog) for item in value]
    if not isinstance(value, Component):
        return value
    table = table_of(value, _axis_of_key(key), catalog)
    return format_component(table) if isinstance(value, Metric) else table


def _axis_of_key(key: str) -> Axis:
    for axis in AXES:
        if key in (axis.spec_key, axis.change_key, axis.name):
            return axis
    raise UsageError(f"{key} does not hold a component")


def _check_consistent(spec: ExperimentSpec) -> None:
    """Check constraints between fields."""
    split = spec.data.split
    if split.train + split.validation > 1 + 1e-9:
        raise UsageError(
            f"data.split: train {split.train} plus validation {split.validation} must be less than "
            "1; the rest is the test split"
        )
    if spec.data.padding == "none" and spec.train.batch_size != 1:
        raise UsageError(
            f"data.padding=none requires train.batch_size=1 (it is {spec.train.batch_size}), since "
            "texts of different lengths cannot be batched; train.accumulation=8 keeps the number "
            "of texts per optimizer step"
        )
