"""The axis of tuners: which combinations of values a tuned row tries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from clsbench.components.component import Component, unwritten


class Trial(NamedTuple):
    """A trial that has ended: its values by dotted key, and its score on the validation texts.

    Higher scores are better. ``score`` is ``None`` if the run failed, for example because the loss
    became infinite.
    """

    point: Mapping[str, Any]
    score: float | None


class Tuner(Component, frozen=True):
    """Proposes the values that each row of a suite tries (``--tune``).

    A tuner that is ``exhaustive`` proposes every combination and takes no number of trials. One
    that is ``adaptive`` depends on the scores of earlier trials; its trials are not a random
    sample, so no expected best score is computed from them.
    """

    exhaustive: ClassVar[bool] = False
    adaptive: ClassVar[bool] = False

    def check_available(self) -> None:
        """Check the requirements of the tuner; called before anything is planned.

        Raises:
            UsageError: something that it needs is not installed.
        """

    def propose(
        self, space: Mapping[str, Sequence[Any]], trials: int, seed: int, tried: Sequence[Trial]
    ) -> Sequence[Mapping[str, Any]]:
        """The next combinations to try: for each key of ``space``, one of its values.

        Called for each row by itself, first with nothing ``tried``, and again when all proposed
        trials have ended, until the row has ``trials`` of them. Proposes at least one and at most
        the remaining number, none that was tried before. The result depends on the arguments alone:
        an interrupted suite asks again and continues with the trials that are stored. ``seed`` is
        the run's first seed, so all rows get the same proposals unless scores differ.
        """
        raise unwritten(self, "propose")
