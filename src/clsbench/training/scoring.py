"""The final metrics: evaluate the classifier and the baselines on all splits."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from msgspec.structs import replace

from clsbench.analysis.figures import ACCURACY
from clsbench.analysis.metrics import seen_by, split_metrics
from clsbench.analysis.resampling import bootstrap_interval
from clsbench.analysis.thresholds import best_thresholds
from clsbench.components.axes import Baseline
from clsbench.components.labels import are_probabilities, decided, label_array
from clsbench.components.metric import Metric
from clsbench.components.registration import signature_problem
from clsbench.components.values import Splits
from clsbench.errors import ClsbenchError, PluginError
from clsbench.fastpath.forward import Forward
from clsbench.model.outputs import class_probabilities, mean_loss
from clsbench.model.parameters import refuse_non_finite
from clsbench.results.baseline_states import state_problem
from clsbench.schema.record import BaselineResult, Metrics, SplitMetrics
from clsbench.system.seeding import torch_seeded

_REMEDY = "try a smaller learning rate (--set train.lr=…) or --precision fp32"

_MOST_RESTORED = 1_000
"""The maximum number of test texts on which a restored baseline is compared with the original."""

Leaks = Mapping[str, Sequence[bool]]
"""By split name, whether each text also occurs in the training split."""


def import_libraries() -> None:
    """Import what training and scores need, so that timed phases and dry runs do not include it."""
    import sklearn.metrics  # noqa: F401
    import torch._dynamo  # noqa: F401  # by optimizers, for their first step


class Scores(NamedTuple):
    """Class probabilities (N, C) float64 and metrics, by split.

    ``prediction_seconds`` is the time of classifying all texts, without the frozen prefix.
    ``thresholds`` of the classes are chosen on validation, for multi-label data.
    """

    probabilities: dict[str, np.ndarray]
    metrics: Metrics
    prediction_seconds: float
    thresholds: tuple[float, ...] | None = None

    def by_class(self, class_names: Sequence[str]) -> dict[str, float]:
        """The thresholds by class; empty if there are none."""
        return dict(zip(class_names, self.thresholds or (), strict=self.thresholds is not None))


def score_classifier(
    forward: Forward,
    leaks: Leaks,
    num_classes: int,
    batch_size: int,
    metrics: Mapping[str, Metric],
    primary: str,
) -> Scores:
    """Classify all texts of all splits once, and compute ``metrics``.

    The ``primary`` one has an interval on validation and test.

    Raises:
        ClsbenchError: the classifier's parameters or logits are not finite.
    """
    refuse_non_finite(forward.classifier, f"the trained classifier cannot be used, {_REMEDY}")
    probabilities: dict[str, np.ndarray] = {}
    losses: dict[str, float] = {}
    labels = {name: rows.labels.numpy() for name, rows in forward.splits.items()}
    seconds = 0.0
    for name, rows in forward.splits.items():
        started, before = time.perf_counter(), forward.prefix_seconds
        logits = forward.all_logits(name, batch_size).double()
        seconds += time.perf_counter() - started - (forward.prefix_seconds - before)
        if not torch.isfinite(logits).all():
            raise ClsbenchError(
                f"the trained classifier gives logits that are not finite on the {name} split; "
                f"{_REMEDY}"
            )
        probabilities[name] = class_probabilities(logits, rows.labels.ndim == 2).numpy()
        losses[name] = mean_loss(logits, rows.labels).item()
    thresholds = None
    if labels["validation"].ndim == 2:
        thresholds = best_thresholds(labels["validation"], probabilities["validation"])
    figures: dict[str, SplitMetrics] = {}
    for name, given in probabilities.items():
        # From the probabilities as stored, so that readers find the same predictions.
        predicted = decided(given, thresholds)
        figures[name] = split_metrics(
            labels[name],
            predicted,
            num_classes,
            metrics=metrics,
            probabilities=given,
            loss=losses[name],
            leaked=_mask(leaks, name),
        )
        if primary != ACCURACY.name and name != "train":
            metric = metrics[primary]
            seen = seen_by(metric, predicted, given, num_classes)
            assert seen is not None
            interval = bootstrap_interval(primary, metric, labels[name], [seen])
            figures[name] = replace(figures[name], intervals={primary: interval})
    return Scores(probabilities, Metrics(**figures), seconds, thresholds)


class Features(NamedTuple):
    """The pooled features before training, (N, H) float32 by split.

    ``seconds`` is the time to compute them, with the frozen prefix that they share with training.
    ``cached``: it excludes cached activations.
    """

    by_split: Mapping[str, np.ndarray]
    seconds: float
    cached: bool


class ScoredBaseline(NamedTuple):
    """A baseline's metrics, and its predicted class for each text by split name: (N,) int64, or
    (N, C) bool for multi-label data.

    ``probabilities`` of the classes (N, C) float64 by split name are empty if the estimator gives
    none. ``state`` is the state of its estimator, ``None`` if it is not stored; ``state_problem``
    is a message if it cannot be stored.
    """

    result: BaselineResult
    predicted: dict[str, np.ndarray]
    probabilities: dict[str, np.ndarray]
    state: Mapping[str, Any] | None = None
    state_problem: str | None = None


def score_baseline(
    baseline: Baseline,
    label: str,
    splits: Splits,
    leaks: Leaks,
    seed: int,
    metrics: Mapping[str, Metric],
    features: Features | None = None,
) -> ScoredBaseline:
    """Fit a baseline on the training texts and classify all three splits.

    ``features`` are for a baseline that classifies them; its seconds include theirs.

    Raises:
        PluginError: the baseline fails, or does not return one label per text, or returns something
            else than probabilities.
    """
    problem = signature_problem(type(baseline))
    if problem is not None:
        raise PluginError(f"baseline {label}: {problem}")
    inputs: Mapping[str, Any] = {split.name: list(split.texts) for split in splits.all()}
    earlier_seconds = 0.0
    if baseline.inputs != "texts":
        assert features is not None
        inputs, earlier_seconds = features.by_split, features.seconds
    num_classes = len(splits.class_names)
    several = num_classes if splits.multi_label else None
    labels = {s.name: label_array(s.labels, several) for s in splits.all()}
    try:
        title = str(baseline.title())
        with torch_seeded(seed):
            estimator = baseline.build(seed)  # may import libraries
        started = time.perf_counter()
        given = [inputs["train"], labels["train"]]
        if baseline.inputs != "texts":
            given += [inputs["validation"], labels["validation"]]
        with torch_seeded(seed):
            estimator.fit(*given)
        fitted = time.perf_counter()
        answers = {s.name: predict_labels(estimator, inputs[s.name], seed) for s in splits.all()}
        ended = time.perf_counter()
        given_probabilities = {}
        if callable(getattr(estimator, "predict_proba", None)):
            for name, rows in inputs.items():
                with torch_seeded(seed):
                    given_probabilities[name] = np.asarray(estimator.predict_proba(rows))
    except Exception as error:
        raise PluginError(f"baseline {label} failed: {type(error).__name__}: {error}") from error
    predicted = {
        name: checked_labels(answer, labels[name].shape, num_classes, f"{label}, {name} split")
        for name, answer in answers.items()
    }
    probabilities = {
        name: checked_probabilities(
            answer, (len(labels[name]), num_classes), splits.multi_label, f"{label}, {name} split"
        )
        for name, answer in given_probabilities.items()
    }
    figures = {
        split.name: split_metrics(
            labels[split.name],
            predicted[split.name],
            num_classes,
            metrics=metrics,
            probabilities=probabilities.get(split.name),
            leaked=_mask(leaks, split.name),
        )
        for split in splits.all()
    }
    cached = baseline.inputs != "texts" and features is not None and features.cached
    result = BaselineResult(
        component=label,
        metrics=Metrics(**figures),
        seconds=ended - started + earlier_seconds,
        prediction_seconds=None if cached else ended - fitted + earlier_seconds,
        title=title,
        probabilities=bool(probabilities),
    )
    scored = ScoredBaseline(result, predicted, probabilities)
    if not callable(getattr(estimator, "state", None)):
        return scored
    try:
        state = estimator.state()
        problem = state_problem(state)
        if problem is None:
            every = -(-len(splits.test) // _MOST_RESTORED)
            restored = baseline.from_state(state)
            again = predict_labels(restored, inputs["test"][::every], seed)
            if not np.array_equal(again, predicted["test"][::every]):
                problem = "restored from its state, it predicts other classes"
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        problem = f"baseline {label} is not stored for clsbench predict --baseline: {problem}"
        return scored._replace(state_problem=problem)
    return scored._replace(state=state)


def predict_labels(estimator: Any, inputs: list[str] | np.ndarray, seed: int) -> np.ndarray:
    """A baseline's predictions for texts or features, seeded as in its run, without checks."""
    with torch_seeded(seed):
        return np.asarray(estimator.predict(inputs))


def checked_labels(
    answers: np.ndarray, shape: tuple[int, ...], num_classes: int, where: str
) -> np.ndarray:
    """A baseline's predictions as labels of this shape: (N,) int64, or (N, C) bool.

    Raises:
        PluginError: they are not valid labels; ``where`` names the baseline and the texts.
    """
    several = len(shape) == 2
    known = np.arange(2 if several else num_classes)
    if answers.shape != shape:
        expected = f"{num_classes} values each" if several else "one label each"
        problem = f"the shape {answers.shape} for {shape[0]} texts, expected {expected}"
    elif answers.dtype.kind not in "biuf":
        problem = f"{answers.tolist()[0]!r}, expected labels as numbers, as passed to fit()"
    elif not np.isin(answers, known).all():
        strange = answers[~np.isin(answers, known)].tolist()[0]
        problem = f"the label {strange!r}, expected 0 to {known[-1]}"
    else:
        return answers.astype(np.bool_ if several else np.int64)
    raise PluginError(f"baseline {where}: predict() returns {problem}")


def checked_probabilities(
    answers: np.ndarray, shape: tuple[int, int], multi_label: bool, where: str
) -> np.ndarray:
    """A baseline's probabilities (N, C) of this shape, as float64.

    Raises:
        PluginError: they are not probabilities; ``where`` names the baseline and the texts.
    """
    if answers.shape != shape or answers.dtype.kind != "f":
        problem = f"{answers.dtype} values of the shape {answers.shape}, expected floats {shape}"
    elif not (good := are_probabilities(answers, multi_label)).all():
        problem = f"{answers[~good][0].tolist()[:8]}, expected numbers from 0 to 1"
        problem += "" if multi_label else " with the sum 1"
    else:
        return answers.astype(np.float64)
    raise PluginError(f"baseline {where}: predict_proba() returns {problem}")


def _mask(leaks: Leaks, name: str) -> np.ndarray | None:
    return np.array(leaks[name]) if name in leaks else None
