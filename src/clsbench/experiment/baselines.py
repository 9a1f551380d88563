"""Fit the baselines of a run and classify its texts with them."""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterator, MutableMapping

from clsbench.components.resolve import Experiment
from clsbench.data.encoding import with_joined_pairs
from clsbench.errors import PluginError
from clsbench.experiment.phases import Phases
from clsbench.experiment.preparation import PreparedData
from clsbench.fastpath.forward import Forward
from clsbench.system.seeding import torch_generators_restored
from clsbench.training.scoring import Features, ScoredBaseline, score_baseline

logger = logging.getLogger(__name__)


def initial_features(
    experiment: Experiment, forward: Forward, phases: Phases, known: Container[str] = ()
) -> Features | None:
    """The pooled features before training, if a baseline needs them that is not ``known``, by
    label.

    They are computed with the frozen prefix, and timed as part of the baselines.
    """
    if all(
        baseline.inputs == "texts" or label in known
        for baseline, label in zip(experiment.baselines, _labels(experiment), strict=True)
    ):
        return None
    with phases.without_prefix("baselines", forward), torch_generators_restored():
        started = time.perf_counter()
        before = forward.prefix_seconds
        batch_size = experiment.spec.train.batch_size
        by_split = {
            split: forward.all_features(split, batch_size).float().numpy()
            for split in forward.splits
        }
        kept = forward.kept()
        earlier = kept.found_seconds if kept is not None else 0.0
        seconds = time.perf_counter() - started + before + (earlier or 0.0)
        return Features(by_split, seconds, cached=earlier is None)


ScoredOrProblem = tuple[ScoredBaseline | None, str | None]
"""A baseline's scores, and a warning if it failed or its state cannot be stored."""


def scored_baselines(
    experiment: Experiment,
    data: PreparedData,
    features: Features | None,
    known: MutableMapping[str, ScoredOrProblem] | None = None,
) -> Iterator[ScoredOrProblem]:
    """Each baseline's scores. ``known`` are those of runs with the same texts, features and seed,
    by label; the others are added."""
    known = {} if known is None else known
    seed = experiment.spec.seed
    splits = with_joined_pairs(data.splits, experiment.spec.data.pair_separator)
    for baseline, label in zip(experiment.baselines, _labels(experiment), strict=True):
        if label in known:
            yield known[label]
            continue
        scored = problem = None
        try:
            scored = score_baseline(
                baseline, label, splits, data.leaked, seed, experiment.metrics, features
            )
            problem = scored.state_problem
        except PluginError as failure:  # the classifier's own scores are complete
            logger.debug("a baseline failed", exc_info=True)
            problem = str(failure)
        if problem is not None:
            logger.warning("%s", problem)
        known[label] = (scored, problem)
        yield scored, problem


def _labels(experiment: Experiment) -> list[str]:
    return [each.label for each in experiment.components if each.axis == "baseline"]
