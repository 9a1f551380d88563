"""Work that the runs of one process do once: data, plan, classifier, checks and baselines.

The trials of a tuned row differ in little. A run with shared work gives the same history, weights
and predictions as one in a process of its own. What cannot be proven unchanged is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from clsbench.components.catalog import Catalog, load_catalog
from clsbench.components.resolve import Experiment
from clsbench.experiment.baselines import ScoredOrProblem
from clsbench.experiment.planning import Planned, plan_run
from clsbench.experiment.preparation import PreparedData, prepare_data
from clsbench.fastpath.kept_rows import KnownPrefixes
from clsbench.fastpath.safety.contract import CacheFacts, OutsideContractError, module_facts
from clsbench.fastpath.safety.copies import checksums
from clsbench.fastpath.shortcuts import cache_facts_of
from clsbench.model.checkpoint import frozen_sha256
from clsbench.model.classifier import Classifier
from clsbench.schema.experiment import fingerprint
from clsbench.schema.options import RunOptions, plain_options
from clsbench.schema.record import Estimate, RunRecord
from clsbench.training.recipe import recipe_of

_OF_THE_OPTIMIZER = ("lr", "weight_decay")
"""The settings of training that affect neither the plan nor what is computed before training."""

_CLASSIFIER = ("backbone", "pooling", "head", "adapter", "seed")

_LARGEST_SHARE = 0.25
"""The largest share of the parameters of which a copy of the initial values is kept."""


class SharedWork:
    """Work of earlier runs in this process."""

    def __init__(self) -> None:
        self.prefixes = KnownPrefixes({}, set())
        self.checked: set[str] = set()
        """The keys of classifiers and plans for which fast path and plain path are equal."""
        self._baselines: dict[str, dict[str, ScoredOrProblem]] = {}
        self.estimates: dict[str, Estimate] = {}
        self._catalogs: dict[tuple[str, ...], Catalog] = {}
        self._data: dict[str, PreparedData] = {}
        self._plans: dict[str, tuple[RunRecord, Planned]] = {}
        self._frozen: dict[str, str] = {}
        self._kept: _KeptClassifier | None = None

    def catalog(self, plugins: Sequence[str]) -> Catalog:
        """The catalog with these plugins."""
        key = tuple(plugins)
        if key not in self._catalogs:
            self._catalogs[key] = load_catalog(key)
        return self._catalogs[key]

    def data(self, experiment: Experiment, files: Mapping[str, Path]) -> PreparedData:
        """The prepared data (:func:`prepare_data`); only the latest is kept."""
        tree = experiment.tree
        train = experiment.spec.train
        key = fingerprint(
            [
                [tree[name] for name in ("dataset", "data", "backbone")],
                [train.batch_size, train.ignore_index],
                sorted((name, str(path)) for name, path in files.items()),
            ]
        )
        if key not in self._data:
            self._data = {key: prepare_data(experiment, files)}
        return self._data[key]

    def plan(
        self,
        experiment: Experiment,
        options: RunOptions,
        device: torch.device,
        data: PreparedData,
        record: RunRecord,
    ) -> Planned:
        """The plan of the run (:func:`plan_run`)."""
        key = plan_key(experiment, options, data)
        if key not in self._plans:
            self._plans[key] = (record, plan_run(experiment, options, device, data, record))
            return self._plans[key][1]
        before, planned = self._plans[key]
        added = {
            name: value
            for name in RunRecord.__struct_fields__
            if (value := getattr(planned.record, name)) != getattr(before, name)
        }
        return planned._replace(
            recipe=recipe_of(experiment, data.facts),
            record=msgspec.structs.replace(record, **added),
        )

    def baselines(
        self, experiment: Experiment, options: RunOptions, data: PreparedData
    ) -> dict[str, ScoredOrProblem]:
        """The scored baselines by label, for runs with equal computations before training."""
        return self._baselines.setdefault(plan_key(experiment, options, data), {})

    def classifier(
        self,
        experiment: Experiment,
        options: RunOptions,
        trained: Callable[[Classifier], frozenset[str]],
        build: Callable[[], Classifier],
    ) -> Classifier:
        """The classifier with its initial weights: that of the last run, or a new one.

        ``trained`` returns the names of the parameters that a run trains.
        """
        tree = experiment.tree
        parts = {name: tree.get(name) for name in _CLASSIFIER}
        key = fingerprint([parts, plain_options(options)])
        kept, self._kept = self._kept, None
        if kept is not None and kept.key == key and kept.restore(trained(kept.classifier)):
            self._kept = kept
            return kept.classifier
        del kept
        self.prefixes.digests.clear()
        classifier = build()
        self._kept = _keep(key, classifier, trained(classifier), cache_facts_of(experiment))
        return classifier

    def frozen_sha256(self, classifier: nn.Module, stored: Set[str]) -> str:
        """As :func:`~clsbench.model.checkpoint.frozen_sha256`; known for parameters whose checksums
        are those of an earlier run."""
        assert isinstance(classifier, Classifier)
        sums = _checksums(classifier, stored)
        if sums.keys() != {name for name, _ in classifier.named_parameters()} - stored:
            return frozen_sha256(classifier, stored)
        key = fingerprint([sorted(stored), sums])
        if key not in self._frozen:
            self._frozen = {key: frozen_sha256(classifier, stored)}
        return self._frozen[key]


def plan_key(experiment: Experiment, options: RunOptions, data: PreparedData) -> str:
    """Equal for runs with equal plans and equal computations before training."""
    tree: dict[str, Any] = {
        key: value
        for key, value in experiment.tree.items()
        if key not in ("name", "description", "published")
    }
    tree["train"] = {k: v for k, v in tree["train"].items() if k not in _OF_THE_OPTIMIZER}
    return fingerprint([tree, plain_options(options), data.facts.sha256, data.facts.max_length])


class _KeptClassifier(NamedTuple):
    """A classifier, and what restores its initial state.

    ``rest`` holds checksums of the parameters that do not train, ``facts`` the plain values in its
    modules, ``modes`` whether each module is in training mode.
    """

    key: str
    classifier: Classifier
    initial: dict[str, Tensor]
    buffers: dict[str, Tensor]
    rest: dict[str, int]
    facts: list[object]
    facts_of: CacheFacts
    modes: dict[str, bool]

    def restore(self, trained: frozenset[str]) -> bool:
        """Restore the initial state; whether nothing else than it has changed."""
        parameters = dict(self.classifier.named_parameters())
        buffers = dict(self.classifier.named_buffers())
        rest = _checksums(self.classifier, self.initial)
        same = (
            trained == self.initial.keys()
            and rest == self.rest
            and parameters.keys() == self.initial.keys() | self.rest.keys()
            and buffers.keys() == self.buffers.keys()
            and _facts(self.classifier, self.facts_of) == self.facts
        )
        if not same:
            return False
        with torch.no_grad():
            for name, value in self.initial.items():
                parameters[name].copy_(value)
            for name, value in self.buffers.items():
                buffers[name].copy_(value)
        for parameter in parameters.values():
            parameter.grad = None
        for name, module in self.classifier.named_modules():
            module.training = self.modes[name]
        return True


def _keep(
    key: str, classifier: Classifier, trained: frozenset[str], facts_of: CacheFacts
) -> _KeptClassifier | None:
    """What restores the classifier; ``None`` if it would take much memory, or cannot be proven."""
    parameters = dict(classifier.named_parameters())
    total = sum(each.nbytes for each in parameters.values())
    copied = sum(parameters[name].nbytes for name in trained)
    copied += sum(buffer.nbytes for buffer in classifier.buffers())
    facts = _facts(classifier, facts_of)
    rest = _checksums(classifier, trained)
    if facts is None or copied > _LARGEST_SHARE * total:
        return None
    if rest.keys() | trained != parameters.keys():
        return None
    return _KeptClassifier(
        key,
        classifier,
        {name: parameters[name].detach().clone() for name in sorted(trained)},
        {name: buffer.detach().clone() for name, buffer in classifier.named_buffers()},
        rest,
        facts,
        facts_of,
        {name: module.training for name, module in classifier.named_modules()},
    )


def _checksums(classifier: Classifier, trained: Container[str]) -> dict[str, int]:
    return {name: found for name, found in checksums(classifier).items() if name not in trained}


def _facts(classifier: Classifier, facts_of: CacheFacts) -> list[object] | None:
    """The plain values that the modules hold; ``None`` if they hold other objects."""
    try:
        return [module_facts(classifier, name, facts_of) for name, _ in classifier.named_children()]
    except OutsideContractError:
        return None
