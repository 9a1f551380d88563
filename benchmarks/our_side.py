"""Our side: training steps, evaluations and scoring on the fast path."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from clsbench.data.tokens import TokenRows
from clsbench.fastpath.cache.disk_cache import DiskCache
from clsbench.fastpath.cache.keys import PrefixKeys
from clsbench.fastpath.embedding_gradients import rows_of_gradients
from clsbench.fastpath.fast_forward import FastForward, Shortcuts
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.rows import DistinctRows
from clsbench.fastpath.safety.trial import check_equivalence
from clsbench.model.build import build_classifier
from clsbench.model.classifier import Classifier
from clsbench.training.batches import BatchTraining
from clsbench.training.evaluate import mean_batch_loss
from clsbench.training.log import TrainingLog
from clsbench.training.recipe import build_optimizer, recipe_of
from workload import Workload

_MEMORY_BYTES = 4 * 2**30
_DISK_BYTES = 8 * 10**9


class OurSide:
    """clsbench's classifier with all shortcuts of its plan, on the workload's device.

    The prefix of the measured texts is computed here, once, if there is one. ``precision`` is that
    of the workload unless given. A ``classifier`` that is given is trained instead of a new one.
    """

    forward_class = FastForward

    def __init__(
        self,
        workload: Workload,
        folder: Path,
        precision: str | None = None,
        classifier: Classifier | None = None,
    ) -> None:
        self._workload = workload
        self._folder = folder
        self._precision = precision or workload.options.precision
        experiment = workload.experiment
        self.classifier = (classifier or make_classifier(workload, self._precision)).to(
            workload.device
        )
        self.cut = workload.plan.epochs[0].cut
        self.forward = self._forward(workload.rows, None, None)
        self.forward.prepare()
        freezing = workload.freezing
        freezing.apply(self.classifier, freezing.by_epoch[0])
        self.classifier.train()
        self.forward.begin_epoch(0)
        self.trained = [p for p in self.classifier.parameters() if p.requires_grad]
        recipe = recipe_of(experiment, workload.data.facts)
        optimizer = build_optimizer(recipe, self.classifier)
        self._for_good = ExitStack()
        gradients = self._for_good.enter_context(rows_of_gradients(self.classifier))
        self._steps = BatchTraining(self.forward, optimizer, recipe, TrainingLog(), gradients)
        self._batches = itertools.cycle(workload.batches)
        self.optimizer = optimizer

    # --- what is timed ----------------------------------------------------------------------------

    def step(self) -> float:
        """Run one training step; return its loss."""
        return self._steps.train(next(self._batches)).loss()

    def steps(self, wait: bool = True) -> None:
        """Run a training step on each batch of the workload; wait for the device at the end."""
        for _ in self._workload.batches:
            self._steps.train(next(self._batches))
        if wait:
            self.settle()

    def settle(self) -> None:
        """Wait for the device."""
        self._steps.settle()

    def close(self) -> None:
        """Free the prefix, so that another side can train the classifier."""
        self._for_good.close()
        self.forward.close()

    def evaluation(self) -> float:
        """Run one evaluation: the loss on five batches of both splits."""
        look = self._workload.evaluation
        return mean_batch_loss(self.forward, "train", look.train) + mean_batch_loss(
            self.forward, "validation", look.validation
        )

    def scoring(self) -> object:
        """The final logits of the sample."""
        return self.forward.all_logits("sample", self._workload.experiment.spec.train.batch_size)

    def cold_prefix(self) -> None:
        """Compute the prefix of the sample and write it to disk for later runs."""
        with tempfile.TemporaryDirectory(dir=self._folder) as empty:
            room = DiskCache(Path(empty), _DISK_BYTES)
            self._forward(self._sample(), room, self._known).prepare()

    def keys(self) -> PrefixKeys:
        """Compute the keys of the prefix and of lower cuts; each run hashes its weights for
        them."""
        keys = self._keys()
        for cut in range(1, self.cut + 1):
            keys.at(cut)
        return keys

    def trial(self) -> None:
        """Run the trial of the fast path, as each run does."""
        workload = self._workload
        settings = workload.experiment.spec.train
        tried = self._forward(workload.rows, None, None)
        assert check_equivalence(tried, workload.freezing, settings.batch_size) is None

    def single_row(self) -> None:
        """Compute the prefix of one row, as a later run does to check cached rows."""
        self._forward(self._one_row(), None, None).prepare()

    def kept_prefix(self) -> None:
        """Load what :meth:`keep` has written for the sample, checking every byte."""
        found = DiskCache(self._folder / "kept", _DISK_BYTES).load(
            self._known.at(self.cut), self._row_keys
        )
        assert len(found) == len(self._row_keys)

    # --- before that ------------------------------------------------------------------------------

    def keep(self) -> None:
        """Write the sample's prefix for :meth:`kept_prefix`."""
        self._known = self.keys()
        room = DiskCache(self._folder / "kept", _DISK_BYTES)
        self._forward(self._sample(), room, self._known).prepare()
        plan, pooling = self._workload.plan, self._workload.experiment.pooling
        self._row_keys = DistinctRows(self._sample(), pooling, plan.unpadded).keys

    def kept_bytes(self) -> int:
        """The bytes of activations that a step reads on average."""
        if not self.cut:
            return 0
        facts = self.forward.kept()
        assert facts is not None
        texts = self._workload.experiment.spec.train.batch_size
        return texts * (facts.memory_bytes + facts.disk_bytes) // facts.distinct

    def _keys(self) -> PrefixKeys:
        circumstances = {"backbone": "benchmark", "precision": self._precision}
        circumstances["device"] = self._workload.device.type
        return PrefixKeys(self.classifier, self._workload.plan, circumstances)

    def _sample(self) -> dict[str, TokenRows]:
        return {"sample": self._workload.rows["sample"]}

    def _one_row(self) -> dict[str, TokenRows]:
        rows = self._workload.rows["sample"]
        return {"sample": rows.take([len(rows) // 2])}

    def _forward(
        self, rows: Mapping[str, TokenRows], disk: DiskCache | None, keys: PrefixKeys | None
    ) -> FastForward:
        plan, pooling = self._workload.plan, self._workload.experiment.pooling
        key = keys.at if keys is not None else _kept_by_nobody
        shortcuts = Shortcuts(plan, pooling, Room(_MEMORY_BYTES, disk), key)
        return self.forward_class(
            self.classifier, rows, self._workload.device, self._precision, shortcuts
        )


def make_classifier(workload: Workload, precision: str) -> Classifier:
    """Our classifier with random weights, on the CPU."""
    experiment = workload.experiment
    return build_classifier(
        experiment,
        workload.files.files,
        len(workload.data.facts.class_names),
        experiment.spec.seed,
        precision,
    )


def _kept_by_nobody(cut: int) -> None:
    """No key: nothing is read from or written to the disk."""
