"""Select the weights of an epoch, and stop training, by the whole validation split."""

from __future__ import annotations

import torch
from msgspec.structs import replace
from torch import Tensor

from clsbench.analysis.metrics import metric_value, seen_by
from clsbench.analysis.thresholds import best_thresholds
from clsbench.components.labels import decided
from clsbench.fastpath.forward import Forward
from clsbench.model.freezing import FreezingPlan
from clsbench.model.outputs import class_probabilities
from clsbench.schema.record import ModelSelection
from clsbench.schema.training import TrainSettings
from clsbench.training.log import TrainingLog
from clsbench.training.recipe import Recipe


def selects(settings: TrainSettings) -> bool:
    """Whether the validation split decides on weights or on the end of training."""
    return settings.select == "best-validation" or settings.patience > 0


class EpochSelection:
    """Measures each epoch by the primary metric on the validation split; keeps the best weights.

    Of epochs with equal scores, the first counts as best. Nothing is drawn from the global
    generators, so training is as without selection.
    """

    def __init__(
        self, forward: Forward, freezing: FreezingPlan, recipe: Recipe, log: TrainingLog
    ) -> None:
        self._forward = forward
        self._freezing = freezing
        self._recipe = recipe
        self._settings = recipe.settings
        self._log = log
        self._best: dict[str, Tensor] = {}

    def end_epoch(self, epoch: int) -> bool:
        """Measure the epoch (counted from 0); return whether training stops after it.

        Raises:
            UndefinedMetricError: the metric is undefined for the validation split.
            PluginError: it fails.
        """
        name, metric = self._recipe.metric_name, self._recipe.metric
        labels = self._forward.splits["validation"].labels.numpy()
        logits = self._forward.all_logits("validation", self._settings.batch_size).double()
        probabilities = class_probabilities(logits, labels.ndim == 2).numpy()
        thresholds = best_thresholds(labels, probabilities) if labels.ndim == 2 else None
        seen = seen_by(
            metric, decided(probabilities, thresholds), probabilities, probabilities.shape[1]
        )
        assert seen is not None
        score = metric_value(name, metric, labels, seen)
        sign = 1 if metric.better == "higher" else -1
        before = self._log.selection or ModelSelection(metric=name, best_epoch=1)
        is_best = all(sign * score > sign * earlier for earlier in before.scores)
        found = replace(
            before,
            scores=(*before.scores, score),
            best_epoch=epoch + 1 if is_best else before.best_epoch,
        )
        patience = self._settings.patience
        stops = bool(patience) and epoch + 1 - found.best_epoch >= patience
        is_last = epoch + 1 == self._settings.epochs
        self._log.selection = replace(found, stopped_early=stops and not is_last)
        if is_best and self._settings.select == "best-validation":
            self._best = {name: value.clone() for name, value in self._state().items()}
        return stops

    def finish(self) -> None:
        """Restore the weights of the best epoch if they are selected, and record which are used."""
        found = self._log.selection
        if found is None:
            return
        used = len(found.scores)
        if self._settings.select == "best-validation" and found.best_epoch != used:
            used = found.best_epoch
            with torch.no_grad():
                for name, value in self._state().items():
                    if not torch.equal(value, self._best[name]):  # else the prefix stays valid
                        value.copy_(self._best[name])
            self._forward.return_to(used - 1)
        self._log.selection = replace(found, used_epoch=used)

    def _state(self) -> dict[str, Tensor]:
        """The tensors that training changes: parameters that ever train, and buffers."""
        classifier, ever = self._forward.classifier, self._freezing.ever()
        tensors = (
            *((n, p) for n, p in classifier.named_parameters() if self._freezing.trains(n, ever)),
            *classifier.named_buffers(),
        )
        return {name: tensor.detach() for name, tensor in tensors}
