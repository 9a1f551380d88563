"""The contract of a baseline: it can be fitted to any texts, and is deterministic."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from clsbench.components.axes import Baseline
from clsbench.components.labels import are_probabilities
from clsbench.results.baseline_states import state_problem
from clsbench.system.seeding import torch_seeded
from clsbench.testing.promises import check_options, require

CORPORA: dict[str, tuple[list[str], list[int]]] = {
    "two classes": (
        ["win a prize now", "see you at home", "call to win", "home late"],
        [1, 0, 1, 0],
    ),
    "three classes": (["red apple", "blue sky", "green leaf"] * 3, [0, 1, 2] * 3),
    "one character a text": (["a", "b", "a", "b"], [0, 1, 0, 1]),
    "stop words": (["the", "of", "and", "the of"], [0, 1, 1, 0]),
    "punctuation": (["!", "?", "!!", "??"], [0, 1, 0, 1]),
    "equal texts": (["same", "same"], [0, 1]),
    "scripts and emoji": (["你好", "😀😀", "مرحبا", "naïve"], [0, 1, 0, 1]),
    "a long text": (["word " * 10_000, "other"], [0, 1]),
    "one class": (["all", "alike"], [1, 1]),
}
MULTI_LABEL = {"two classes": [[1, 0, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0]]}
"""Labels of a corpus, with a text without any and a label that no text has."""

SEED = 123
_HIDDEN_SIZE = 16
UNSEEN = ["win the apple", "unheard", "", " ", "\n", "<|endoftext|>", "😀"]


def check_baseline(baseline: Baseline) -> None:
    """Check a baseline on ordinary and unusual corpora: blank texts, one class, no words.

    ``fit(texts, labels)`` and ``predict(texts)`` return one training label per text, the same for
    two estimators and for each text alone. As in a run, the global generators are seeded before
    each call. An estimator with a method ``predict_proba`` returns the probabilities of the classes
    (N, C), as reproducibly. One with a method ``state()`` can be restored with ``from_state``. A
    baseline that classifies pooled features gets random ones, the same for equal texts. One for
    the task ``multi-label`` gets and returns labels (N, C) bool as well.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(baseline)
    for name, (texts, labels) in CORPORA.items():
        if "multi-label" in baseline.tasks and name in MULTI_LABEL:
            _check_multi_label(baseline, texts, np.array(MULTI_LABEL[name], dtype=np.bool_), name)
        predicted = _fit_and_predict(baseline, texts, labels, name)
        again = _fit_and_predict(baseline, texts, labels, name)
        require(
            np.array_equal(predicted, again),
            baseline,
            f"it predicts different labels when fitted twice on the same texts ({name})",
        )


def _check_multi_label(baseline: Baseline, texts: list[str], labels: np.ndarray, name: str) -> None:
    train = _inputs(baseline, texts), labels
    with torch_seeded(SEED):
        estimator = baseline.build(SEED)
    with torch_seeded(SEED):
        estimator.fit(*train, *(train if baseline.inputs != "texts" else ()))
    found = np.asarray(_predicted(baseline, estimator, UNSEEN))
    require(
        found.shape == (len(UNSEEN), labels.shape[1]) and bool(np.isin(found, (0, 1)).all()),
        baseline,
        f"for labels (N, C) bool it predicts {found[:1]}, expected (N, C) bool ({name})",
    )
    _probabilities(baseline, estimator, UNSEEN, labels.shape[1], f"multi-label, {name}")
    if callable(getattr(estimator, "state", None)):
        problem = state_problem(estimator.state())
        require(problem is None, baseline, f"{problem} (multi-label, {name})")
        restored = _predicted(baseline, baseline.from_state(estimator.state()), UNSEEN)
        require(
            np.array_equal(restored, found),
            baseline,
            f"restored from its state, it predicts other labels ({name})",
        )


def _fit_and_predict(
    baseline: Baseline, texts: list[str], labels: list[int], name: str
) -> np.ndarray:
    """The predicted class of each text, and its probabilities in further columns."""
    with torch_seeded(SEED):
        estimator = baseline.build(SEED)
    asked = [*texts, *UNSEEN]
    train = _inputs(baseline, texts), labels
    try:
        with torch_seeded(SEED):
            estimator.fit(*train, *(train if baseline.inputs != "texts" else ()))
        together = _predicted(baseline, estimator, asked)
        apart = [_predicted(baseline, estimator, [text]) for text in asked]
        has_state = callable(getattr(estimator, "state", None))
        state = estimator.state() if has_state else {}
        problem = state_problem(state)
        restored = together
        if has_state and problem is None:
            restored = _predicted(baseline, baseline.from_state(state), asked)
    except Exception as error:
        raise AssertionError(
            f"{baseline!r}: it fails on {name}: {type(error).__name__}: {error}"
        ) from error
    require(
        len(together) == len(asked),
        baseline,
        f"predict() returns {len(together)} labels for {len(asked)} texts ({name})",
    )
    strange = [label for label in together if label not in labels]
    require(
        not strange, baseline, f"predict() returns {strange[:1]}, not a training label ({name})"
    )
    require(
        apart == [[label] for label in together],
        baseline,
        f"it predicts a different label for a text alone ({name})",
    )
    require(problem is None, baseline, f"{problem} ({name})")
    require(
        restored == together,
        baseline,
        f"restored from its state, it predicts other classes ({name})",
    )
    # In a run, every class has training texts.
    classes = len(set(labels)) if min(labels) == 0 else None
    probabilities = _probabilities(baseline, estimator, asked, classes, name)
    return np.column_stack([np.array(together, dtype=np.float64), probabilities])


def _probabilities(
    baseline: Baseline, estimator: Any, texts: list[str], classes: int | None, name: str
) -> np.ndarray:
    """The checked probabilities of the ``classes`` (N, C), (N, 0) if the estimator gives none."""
    if classes is None or not callable(getattr(estimator, "predict_proba", None)):
        return np.empty((len(texts), 0))

    def of(texts: list[str]) -> np.ndarray:
        with torch_seeded(SEED):
            return np.asarray(estimator.predict_proba(_inputs(baseline, texts)))

    found = of(texts)
    require(
        found.shape == (len(texts), classes)
        and found.dtype.kind == "f"
        and bool(are_probabilities(found, "multi-label" in name).all()),
        baseline,
        f"predict_proba() returns {found[:1].tolist()}, expected a probability for each of "
        f"{classes} classes ({name})",
    )
    alone = np.concatenate([of([text]) for text in texts])
    require(
        np.allclose(alone, found, atol=1e-9),
        baseline,
        f"predict_proba() returns other probabilities for a text alone ({name})",
    )
    return found


def _predicted(baseline: Baseline, estimator: Any, texts: list[str]) -> list[Any]:
    with torch_seeded(SEED):
        return list(estimator.predict(_inputs(baseline, texts)))


def _inputs(baseline: Baseline, texts: list[str]) -> list[str] | np.ndarray:
    if baseline.inputs == "texts":
        return texts
    generators = (np.random.default_rng(zlib.crc32(text.encode())) for text in texts)
    return np.stack([each.normal(size=_HIDDEN_SIZE) for each in generators]).astype(np.float32)
