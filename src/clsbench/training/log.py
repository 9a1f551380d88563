"""The progress of training, kept so that an interruption loses nothing."""

from __future__ import annotations

import time

from clsbench.fastpath.forward import Forward
from clsbench.schema.record import (
    BeforeTraining,
    EpochEntry,
    History,
    ModelSelection,
    StepEntry,
    Throughput,
)


class TrainingLog:
    """The progress of training; it is consistent at any moment, so interruptions lose nothing."""

    def __init__(self) -> None:
        self.before: BeforeTraining | None = None
        self.steps: list[StepEntry] = []
        self.epochs: list[EpochEntry] = []
        self.selection: ModelSelection | None = None
        self.examples = 0
        self.real_tokens = 0
        self.padded_tokens = 0
        self.train_seconds = 0.0
        self._started = time.perf_counter()

    def begin(self, forward: Forward) -> None:
        """Start training the classifier of ``forward``."""
        self._started = seconds_without_prefix(forward)

    def seconds(self, forward: Forward) -> float:
        """Seconds since training began, including evaluations, without the time of a frozen
        prefix."""
        return seconds_without_prefix(forward) - self._started

    def history(self) -> History:
        """The entries so far."""
        return History(
            before=self.before,
            steps=tuple(self.steps),
            epochs=tuple(self.epochs),
            selection=self.selection,
        )

    def throughput(self) -> Throughput | None:
        """Texts and tokens per second of training, without evaluations; ``None`` before the first
        batch."""
        if self.train_seconds <= 0:
            return None
        return Throughput(
            examples_per_second=self.examples / self.train_seconds,
            real_tokens_per_second=self.real_tokens / self.train_seconds,
            padded_tokens_per_second=self.padded_tokens / self.train_seconds,
        )


def seconds_without_prefix(forward: Forward) -> float:
    """A clock that does not count the time spent on a frozen prefix."""
    return time.perf_counter() - forward.prefix_seconds
