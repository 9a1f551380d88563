from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from sklearn.metrics import log_loss

import clsbench
from clsbench.builtin.metrics import Accuracy, LogLoss, MacroF1
from clsbench.components.values import Split, Splits
from clsbench.errors import PluginError
from clsbench.training.scoring import ScoredBaseline, import_libraries, score_baseline


class Guessing:
    def __init__(self, where: str, seed: int) -> None:
        self.where, self.seed = where, seed
        self.drawn = self._draw("build")

    def _draw(self, where: str) -> list[float]:
        if where != self.where:
            return []
        own = random.Random(self.seed).random()
        return [own, random.random(), float(np.random.rand()), float(torch.rand(()))]

    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> None:
        self.drawn += self._draw("fit")

    def predict(self, texts: Sequence[str]) -> list[int]:
        drawn = self.drawn + self._draw("predict")
        digits = random.Random(repr(drawn))
        return [digits.randrange(2) for _ in texts]


class Drawing(clsbench.Baseline, frozen=True):
    """Draws random numbers in one of its calls."""

    where: str = "build"

    def build(self, seed: int) -> Guessing:
        return Guessing(self.where, seed)


def a_split(name: str) -> Split:
    rows = tuple(range(64))
    return Split(name=name, rows=rows, labels=(0, 1) * 32, texts=tuple(map(str, rows)))


SPLITS = Splits(
    class_names=("a", "b"),
    train=a_split("train"),
    validation=a_split("validation"),
    test=a_split("test"),
)


def score(baseline: clsbench.Baseline, seed: int) -> ScoredBaseline:
    return score_baseline(baseline, "drawing", SPLITS, {}, seed, {})


@pytest.mark.parametrize("where", ["build", "fit", "predict"])
def test_score_baseline_random_estimator_depends_only_on_the_seed(where: str) -> None:
    import_libraries()  # as a run does; importing scipy draws from Python's generator
    found = []
    for before, seed in ((1, 123), (2, 123), (3, 124)):
        random.seed(before)
        np.random.seed(before)
        torch.manual_seed(before)
        states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
        found.append(score(Drawing(where), seed).predicted["test"].tolist())
        assert random.getstate() == states[0]
        assert np.random.get_state()[1].tolist() == states[1]
        assert torch.equal(torch.get_rng_state(), states[2])
    assert found[0] == found[1]
    assert found[0] != found[2]


class Seedless(clsbench.Baseline, frozen=True):
    """``build`` takes no seed, as in earlier versions."""

    def build(self) -> Any:  # type: ignore[override]
        return Guessing("nowhere", 0)


def test_score_baseline_build_without_seed_is_refused_by_name() -> None:
    with pytest.raises(PluginError, match=r"drawing: its method build\(\) .* build\(self, seed\)"):
        score(Seedless(), 123)


class Remembering(Guessing):
    def __init__(self, fault: str) -> None:
        super().__init__("nowhere", 0)
        self.fault = fault

    def predict(self, texts: Sequence[str]) -> list[int]:
        return [len(text) % 2 for text in texts]

    def state(self) -> Any:
        if self.fault == "raises":
            raise KeyError("lost")
        return {"value": float("nan") if self.fault == "nan" else 1}


class Restored(Remembering):
    def predict(self, texts: Sequence[str]) -> list[int]:
        return [1 - label for label in super().predict(texts)]


class Storing(clsbench.Baseline, frozen=True):
    """Has a state, with one fault to choose."""

    fault: str = ""

    def build(self, seed: int) -> Remembering:
        return Remembering(self.fault)

    def from_state(self, state: Any) -> Remembering:
        return Restored("") if self.fault == "other" else Remembering("")


class OneWay(Storing, frozen=True):
    """Has ``state()`` but not ``from_state()``."""

    from_state = clsbench.Baseline.from_state


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        (Storing("nan"), "'value', a value that JSON cannot represent exactly"),
        (Storing("raises"), "KeyError: 'lost'"),
        (Storing("other"), "restored from its state, it predicts other classes"),
        (OneWay(), "has no method from_state()"),
    ],
)
def test_score_baseline_state_that_does_not_restore_is_not_stored(
    baseline: clsbench.Baseline, said: str
) -> None:
    scored = score(baseline, 1)
    assert scored.state is None
    assert said in (scored.state_problem or "")
    assert scored.result.metrics.test.n == 64


def test_score_baseline_state_is_stored_only_if_defined() -> None:
    assert score(Storing(), 1).state == {"value": 1}
    without = score(Drawing(), 1)
    assert without.state is None
    assert without.state_problem is None


class Undecided(Remembering):
    """Predicts the class that it finds less probable."""

    def predict_proba(self, texts: Sequence[str]) -> Any:
        sure = {"negative": (-0.1, 1.1), "sum": (0.6, 0.6), "nan": (np.nan, 1.0)}
        rows = [sure.get(self.fault, (0.9, 0.1) if len(text) % 2 else (0.3, 0.7)) for text in texts]
        if self.fault == "seeded":
            drawn = random.random()
            rows = [(drawn, 1 - drawn) for _ in texts]
        return np.array(rows)[:, : 1 if self.fault == "one column" else 2]


class Probable(Storing, frozen=True):
    """Gives probabilities, with one fault to choose."""

    def build(self, seed: int) -> Undecided:
        return Undecided(self.fault)


def test_score_baseline_probabilities_do_not_decide_the_class() -> None:
    metrics = {"accuracy": Accuracy(), "macro-f1": MacroF1(), "log-loss": LogLoss()}
    found, without = (
        score_baseline(baseline, "it", SPLITS, {}, 1, metrics)
        for baseline in (Probable(), Storing())
    )
    assert found.predicted["test"].tolist() == without.predicted["test"].tolist()
    test, other = found.result.metrics.test, without.result.metrics.test
    assert test.loss is not None
    assert replace(test, loss=None) == other
    assert found.probabilities["test"].tolist()[:10] == [[0.9, 0.1]] * 10
    assert (found.result.probabilities, without.result.probabilities) == (True, False)
    assert without.probabilities == {}
    labels = np.array(SPLITS.test.labels)
    assert test.loss == log_loss(labels, found.probabilities["test"])


def test_score_baseline_random_probabilities_depend_only_on_the_seed() -> None:
    random.seed(1)
    first = score(Probable("seeded"), 1).probabilities["test"]
    random.seed(2)
    assert np.array_equal(score(Probable("seeded"), 1).probabilities["test"], first)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("negative", r"predict_proba\(\) returns \[-0.1, 1.1\], expected numbers from 0 to 1"),
        ("sum", r"\[0.6, 0.6\], expected numbers from 0 to 1 with the sum 1"),
        ("nan", r"\[nan, 1.0\], expected numbers"),
        ("one column", r"float64 values of the shape \(64, 1\), expected floats \(64, 2\)"),
    ],
)
def test_score_baseline_values_that_are_not_probabilities_are_refused(
    fault: str, said: str
) -> None:
    with pytest.raises(PluginError, match=rf"baseline drawing, train split: .*{said}"):
        score(Probable(fault), 1)
