"""Predict class probabilities of new texts with the classifier of a stored run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clsbench.assets import DownloadProgress
from clsbench.components.catalog import Catalog
from clsbench.components.identity import changes_since, identify
from clsbench.components.labels import decided
from clsbench.components.values import Text
from clsbench.data.encoding import TextEncoder, check_kind, joined
from clsbench.data.tokens import TokenRows, pad_rows
from clsbench.errors import ClsbenchError, PluginError, UsageError
from clsbench.experiment.preparation import stored_experiment
from clsbench.experiment.restore import (
    Restored,
    refuse_changed,
    restore_trained,
    restore_untrained,
)
from clsbench.fastpath.forward import Forward, PlainForward
from clsbench.model.outputs import class_probabilities
from clsbench.results.baseline_states import read_state
from clsbench.results.store import StoredRun, read_record
from clsbench.schema.experiment import ExperimentSpec, format_component
from clsbench.schema.options import RunOptions
from clsbench.system.environment import choose_device, circumstances
from clsbench.system.seeding import torch_seeded
from clsbench.training.scoring import checked_labels, predict_labels

logger = logging.getLogger(__name__)

_BATCH_SIZE = 8


class Predictor:
    """A stored classifier, ready to classify texts, which are truncated and padded as in training.

    After training on text pairs, it classifies text pairs alone, and otherwise single texts alone.
    ``changed`` describes the components whose code or files have changed since training.
    """

    def __init__(self, restored: Restored, options: RunOptions) -> None:
        self.changed = restored.changed
        self.class_names = restored.facts.class_names
        self.max_length = restored.facts.max_length
        self._restored = restored
        self._options = options
        separator = restored.experiment.spec.data.pair_separator
        self._encoder = TextEncoder(restored.tokenizer, separator)

    def truncated(self, texts: Sequence[Text]) -> int:
        """The number of texts longer than ``max_length`` tokens, which are truncated."""
        return sum(len(self._encoder.encode(text).ids) > self.max_length for text in texts)

    def predict(self, texts: Sequence[Text], first: int = 1) -> np.ndarray:
        """Probabilities (N, C) float64, one column per class in ``class_names``.

        ``first`` is the number of the first text in errors.

        Raises:
            UsageError: a text is a pair and should be a single text, or the reverse.
            ClsbenchError: the logits of a text are not finite.
        """
        check_kind(texts, self._restored.facts.text_pairs)
        if not texts:
            return np.empty((0, len(self.class_names)))
        logits = self._compute(Forward.all_logits, texts)
        finite = logits.isfinite().all(dim=-1)
        if not finite.all():
            place = int(finite.logical_not().nonzero()[0])
            raise ClsbenchError(
                f"text {first + place} ({_start_of(texts[place])}) cannot be classified: its "
                "logits are not finite"
            )
        several = self._restored.facts.thresholds is not None
        probabilities: np.ndarray = class_probabilities(logits.double(), several).numpy()
        return probabilities

    def labels(self, probabilities: np.ndarray) -> np.ndarray:
        """The predicted classes (N,), or (N, C) bool for multi-label data."""
        return decided(probabilities, self._restored.facts.thresholds)

    def features(self, texts: Sequence[Text]) -> np.ndarray:
        """Pooled features (N, H) float32, the input of the head; at least one text."""
        features: np.ndarray = self._compute(Forward.all_features, texts).float().numpy()
        return features

    def _compute(
        self, results_of: Callable[[Forward, str, int], Tensor], texts: Sequence[Text]
    ) -> Tensor:
        encoder = self._encoder
        encoded = [encoder.truncated(encoder.encode(text), self.max_length) for text in texts]
        input_ids, lengths = pad_rows(encoded, self.max_length, encoder.pad_token_id)
        rows = TokenRows(
            input_ids=input_ids,
            lengths=lengths,
            labels=torch.zeros(len(encoded), dtype=torch.int64),
            truncated=0,
            padded=self._restored.facts.padded,
        )
        device = choose_device(self._options.device, self._options.precision)
        with circumstances(self._options):
            self._restored.classifier.to(device)
            forward = PlainForward(
                self._restored.classifier, {"texts": rows}, device, self._options.precision
            )
            return results_of(forward, "texts", _BATCH_SIZE if self._restored.facts.padded else 1)


def _start_of(text: Text) -> str:
    parts = (text,) if isinstance(text, str) else text
    return ", ".join(repr(part[:40]) for part in parts)


class BaselinePredictor:
    """A stored baseline, ready to classify texts; it does not return probabilities."""

    def __init__(
        self,
        component: str,
        estimator: Any,
        class_names: tuple[str, ...],
        spec: ExperimentSpec,
        changed: Sequence[str] = (),
        untrained: Predictor | None = None,
        text_pairs: bool = False,
        multi_label: bool = False,
    ) -> None:
        """``untrained`` computes the features, for a baseline that classifies them."""
        self.changed = changed
        self.class_names = class_names
        self.reads_backbone = untrained is not None
        self._untrained = untrained
        self._component = component
        self._estimator = estimator
        self._spec = spec
        self._text_pairs = text_pairs
        self._multi_label = multi_label

    def predict(self, texts: Sequence[Text]) -> np.ndarray:
        """The class of each text, (N,) int64 indices into ``class_names``, or (N, C) bool for
        multi-label data.

        Raises:
            UsageError: a text is a pair and should be a single text, or the reverse.
            PluginError: the baseline fails.
        """
        check_kind(texts, self._text_pairs)
        if not texts:
            return np.empty(0, dtype=np.int64)
        inputs = (
            joined(texts, self._spec.data.pair_separator)
            if self._untrained is None
            else self._untrained.features(texts)
        )
        try:
            answers = predict_labels(self._estimator, inputs, self._spec.seed)
        except Exception as error:
            raise PluginError(
                f"baseline {self._component} failed: {type(error).__name__}: {error}"
            ) from error
        where = f"{self._component}, restored from its run"
        several = self._multi_label
        shape = (len(texts), len(self.class_names)) if several else (len(texts),)
        return checked_labels(answers, shape, len(self.class_names), where)


def load_baseline(
    run: StoredRun,
    name: str,
    options: RunOptions,
    catalog: Catalog,
    progress: DownloadProgress | None = None,
    allow_changed: bool = False,
) -> BaselinePredictor:
    """Restore the baseline ``name`` of a run.

    For a baseline that classifies pooled features, the backbone is built as before training. For
    others its assets are not needed.

    Raises:
        UsageError: its state is not stored, or is damaged; or the source of a component has changed
            since training and ``allow_changed`` is not set.
        PluginError: it cannot be restored from its state.
        AssetError: the backbone's weights or tokenizer are needed and not available.
    """
    component, state = read_state(run, name)
    record = run.record
    tables = [format_component(table) for table in record.spec["baselines"]]
    if record.data is None or component not in tables:
        raise UsageError(f"the record of {run.path.name} does not hold the baseline {component}")
    experiment = stored_experiment(record, catalog)
    place = tables.index(component)
    baseline = experiment.baselines[place]
    recorded = [each for each in record.plugins if each.axis == "baseline"][place : place + 1]
    now = identify(experiment, ("baseline",))[place]
    changed = refuse_changed(changes_since(recorded, [now]), allow_changed)
    try:
        with torch_seeded(experiment.spec.seed):
            estimator = baseline.from_state(state)
    except Exception as error:
        raise PluginError(
            f"baseline {component} cannot be restored from its state: {type(error).__name__}: "
            f"{error}"
        ) from error
    untrained = None
    if baseline.inputs != "texts":
        restored = restore_untrained(run, experiment, options, progress, allow_changed)
        untrained = Predictor(restored, options)
        changed += restored.changed
    return BaselinePredictor(
        component,
        estimator,
        record.data.class_names,
        experiment.spec,
        changed,
        untrained,
        record.data.text_pairs,
        record.data.multi_label,
    )


def load_predictor(
    run: Path,
    options: RunOptions,
    catalog: Catalog,
    progress: DownloadProgress | None = None,
    allow_changed: bool = False,
) -> Predictor:
    """The classifier of the run in directory ``run``, ready to classify texts.

    Warnings and errors are those of :func:`~clsbench.experiment.restore.restore_trained`.
    """
    stored = StoredRun(run, read_record(run))
    return Predictor(restore_trained(stored, options, catalog, progress, allow_changed), options)
