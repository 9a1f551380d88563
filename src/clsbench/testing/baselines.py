"""The contract of a baseline: it can be fitted to any texts, and is deterministic."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from clsbench.components.axes import Baseline
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
    each call. An estimator with a method ``state()`` can be restored with ``from_state``. A
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
        require(
            predicted == _fit_and_predict(baseline, texts, labels, name),
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
) -> list[int]:
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
    return [int(label) for label in together]


def _predicted(baseline: Baseline, estimator: Any, texts: list[str]) -> list[Any]:
    with torch_seeded(SEED):
        return list(estimator.predict(_inputs(baseline, texts)))


def _inputs(baseline: Baseline, texts: list[str]) -> list[str] | np.ndarray:
    if baseline.inputs == "texts":
        return texts
    generators = (np.random.default_rng(zlib.crc32(text.encode())) for text in texts)
    return np.stack([each.normal(size=_HIDDEN_SIZE) for each in generators]).astype(np.float32)
