"""The axes around an experiment: executors of suites and exporters of trained classifiers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from clsbench.components.component import Component, unwritten
from clsbench.components.labels import Task
from clsbench.components.tokenizers import Tokenizer
from clsbench.components.values import Files

if TYPE_CHECKING:
    from torch import nn

    from clsbench.components.axes import Adapter, Backbone, Head, Pooling
    from clsbench.schema.job import Job, Scheduler
    from clsbench.schema.record import RunRecord


class Executor(Component, frozen=True):
    """Runs the experiments of a suite, on this machine or on others."""

    def check_available(self) -> None:
        """Check the requirements of the executor; called before anything is planned.

        Raises:
            UsageError: something that it needs is not installed.
        """

    def execute(self, jobs: Sequence[Job], at_once: int | None, scheduler: Scheduler) -> None:
        """Run every job that ``scheduler.claim`` grants, and return when all have ended.

        Run a job with :func:`clsbench.executors.run_job` in a process of its own. On a machine
        that cannot reach the store, run a :func:`~clsbench.executors.portable_job` with
        :func:`~clsbench.executors.run_job_remote`, and save its result here with
        :func:`~clsbench.executors.store_result`. At most ``at_once`` jobs run side by side;
        ``None`` leaves the number to the executor.

        An exception raised here, such as ``KeyboardInterrupt``, ends all running jobs; each stores
        its partial results first.
        """
        raise unwritten(self, "execute")


class TrainedRun(NamedTuple):
    """The restored classifier of a stored run, for an exporter.

    ``backbone``, ``pooling``, ``head`` and ``adapter`` are the components of ``classifier``, a
    module ``(input_ids (B, T) int64, lengths (B,) int64) -> logits (B, C)`` on the CPU.
    ``tokenizer`` and ``files`` (the backbone's assets) are as in training. The record holds the
    class names (``record.data.class_names``), the length to which texts are truncated
    (``record.data.max_length``), metrics and conditions, and for multi-label data
    (``record.data.multi_label``) the ``thresholds``.
    """

    record: RunRecord
    backbone: Backbone
    pooling: Pooling
    head: Head
    adapter: Adapter | None
    classifier: nn.Module
    tokenizer: Tokenizer
    files: Files

    def merged(self) -> TrainedRun:
        """The run without its adapter, which is merged into a copy of the classifier.

        Raises:
            UsageError: the adapter cannot be merged.
        """
        if self.adapter is None:
            return self
        classifier = copy.deepcopy(self.classifier)
        self.adapter.merge(classifier)
        return self._replace(adapter=None, classifier=classifier)


class Exporter(Component, frozen=True):
    """Writes the classifier of a stored run in the format of another library.

    ``tasks: ClassVar`` are the shapes of labels that the format represents.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("single-label",)

    def export(self, run: TrainedRun, directory: Path) -> None:
        """Write the files into ``directory``, which is empty; it is kept only if this returns.

        Raises:
            UsageError: the format cannot represent a part of the classifier. The message names the
                part and an alternative; for an adapter, see :meth:`TrainedRun.merged`.
        """
        raise unwritten(self, "export")
