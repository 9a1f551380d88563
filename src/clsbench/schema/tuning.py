"""How a suite is tuned: values to try, number of trials and tuner, equal for all rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from clsbench.errors import UsageError
from clsbench.schema.experiment import Method
from clsbench.schema.training import ComponentTable

_NOT_TUNED = {
    "seed": "the seed is not tuned: --seeds 1,2,3 repeats the chosen trial of every row",
    "name": "it does not affect learning",
    "description": "it does not affect learning",
    "published": "it does not affect learning",
    "baselines": "the baselines are not tuned",
    "metric": "trials are chosen by one metric: --metric NAME",
    "metrics": "it does not affect learning",
}


class TuneSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The tuning of a suite: the values to try by dotted key, and the number of trials of each row.

    ``trials`` is ``None`` for a tuner that tries every combination of the values.
    """

    space: Annotated[dict[str, tuple[Any, ...]], Meta(min_length=1)]
    trials: Annotated[int, Meta(ge=1)] | None = None
    tuner: str | ComponentTable = "random"

    @property
    def points(self) -> int:
        """The number of combinations."""
        return math.prod(len(values) for values in self.space.values())


def check_tune(tune: TuneSpec, where: str) -> None:
    """Check what types cannot express.

    Raises:
        UsageError: a key has no values or a value twice, cannot be tuned, or contains another.
    """
    for key, values in tune.space.items():
        named = f"{where}: {key}"
        if key.partition(".")[0] in _NOT_TUNED:
            raise UsageError(f"{named} cannot be tuned; {_NOT_TUNED[key.partition('.')[0]]}")
        if not values:
            raise UsageError(f"{named} has no values to try")
        if any(value in values[:place] for place, value in enumerate(values)):
            raise UsageError(f"{named} names a value twice")
        for other in tune.space:
            if other != key and overlap(key, other):
                raise UsageError(f"{named} and {other} cannot both be tuned: one sets the other")


def refuse_fixed(tune: TuneSpec, changes: Iterable[str], who: str) -> None:
    """Refuse changes that fix what is tuned.

    Raises:
        UsageError: ``who``, which makes the changes, and the key are named.
    """
    for key in changes:
        for tuned in tune.space:
            if overlap(key, tuned):
                raise UsageError(
                    f"{who} sets {key}, but {tuned} is tuned: every row is tuned over the same "
                    "values with the same number of trials, so no row may fix one of them; leave "
                    f"out {key}, or do not tune {tuned}"
                )


def overlap(one: str, other: str) -> bool:
    """Whether the dotted keys are equal or one contains the other; a method contains its parts."""
    return any(
        a == b or a.startswith(f"{b}.") or b.startswith(f"{a}.")
        for a in _parts(one)
        for b in _parts(other)
    )


def _parts(key: str) -> tuple[str, ...]:
    return tuple(Method(freezing="").changes()) if key == "method" else (key,)
