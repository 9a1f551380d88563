"""One classifier per label, for texts with several labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


class OneVsRest:
    """Several labels (N, C) bool as C separate questions, each with an estimator of its own.

    With labels (N,), it is that estimator itself.
    """

    def __init__(self, build: Callable[[], Any], restore: Callable[[Mapping[str, Any]], Any]):
        """``build`` makes an estimator of classes, ``restore`` one from its state."""
        self._build = build
        self._restore = restore
        self._estimators: list[Any] = []
        self._several = False

    def fit(self, inputs: Any, labels: Any, *validation: Any) -> OneVsRest:
        """Fit the estimators; ``validation`` inputs and labels are passed on, column by column."""
        import numpy as np

        targets = np.asarray(labels)
        self._several = targets.ndim == 2
        columns: list[int | None] = list(range(targets.shape[1])) if self._several else [None]
        self._estimators = []
        for column in columns:
            held_out = validation and (validation[0], _column(validation[1], column))
            estimator = self._build()
            estimator.fit(inputs, _column(labels, column), *held_out)
            self._estimators.append(estimator)
        return self

    def predict(self, inputs: Any) -> Any:
        """The labels, shaped as in ``fit``."""
        import numpy as np

        answers = [estimator.predict(inputs) for estimator in self._estimators]
        if not self._several:
            return answers[0]
        return np.stack([np.asarray(each) == 1 for each in answers], axis=1)

    def predict_proba(self, inputs: Any) -> Any:
        """The probability of each class (N, C), or that each label applies."""
        import numpy as np

        answers = [estimator.predict_proba(inputs) for estimator in self._estimators]
        if not self._several:
            return answers[0]
        # An estimator that was fitted to texts of one class knows only that class.
        return np.stack(
            [each[:, list(estimator.classes_).index(1)] if 1 in estimator.classes_
             else np.zeros(len(each))
             for estimator, each in zip(self._estimators, answers, strict=True)],
            axis=1,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """The states of all estimators; of one estimator, its own."""
        states = [estimator.state() for estimator in self._estimators]
        if not self._several:
            return dict(states[0])
        return {f"{n}:{key}": each for n, state in enumerate(states) for key, each in state.items()}

    def restored(self, state: Mapping[str, Any]) -> OneVsRest:
        """This estimator, fitted as the one whose :meth:`state` returned ``state``."""
        self._several = any(":" in key for key in state)
        by_column: dict[int, dict[str, Any]] = {}
        for name, each in state.items():
            column, _, key = name.rpartition(":")
            by_column.setdefault(int(column or 0), {})[key] = each
        self._estimators = [self._restore(by_column[n]) for n in sorted(by_column)]
        return self


def _column(labels: Any, column: int | None) -> Any:
    """The labels (N,) of one question, integers."""
    return labels if column is None else labels[:, column].astype("int64")
