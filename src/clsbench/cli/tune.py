"""``--tune KEY=A,B,C``, ``--trials`` and ``--tuner``: how a suite is tuned."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from clsbench.cli.sweep import Sweep
from clsbench.errors import UsageError
from clsbench.schema.convert import parse_value
from clsbench.schema.experiment import fingerprint
from clsbench.schema.suite import SuiteSpec
from clsbench.schema.tuning import TuneSpec, check_tune

_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)\Z")
_NUMBER = re.compile(r"[+-]?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?\Z")


def tuned(
    suite: SuiteSpec, tunes: Sequence[str], trials: int | None, tuner: str | None
) -> SuiteSpec:
    """The suite with the tuning of the command line, which takes precedence over its own.

    It gets a name of its own, so that its results stand beside those of the suite.

    Raises:
        UsageError: nothing is tuned, or a value cannot be read.
    """
    if not tunes and trials is None and tuner is None:
        return suite
    axes = [Sweep(text, "--tune") for text in tunes]
    keys = [axis.key for axis in axes]
    for key in keys:
        if keys.count(key) > 1:
            raise UsageError(f"--tune {key}=… is given twice; list all values in one")
    space = {axis.key: tuple(map(_value, axis.values)) for axis in axes}
    before = suite.tune
    if not space and before is None:
        option = "--trials" if trials is not None else "--tuner"
        raise UsageError(f"{option} requires the values to try; example: --tune train.lr=1e-4,1e-3")
    if before is None:
        tune = TuneSpec(space=space, trials=trials, tuner=tuner or "random")
    else:
        # A tuner that tries every combination has no number of trials.
        kept = before.trials if tuner is None or trials is not None else None
        tune = TuneSpec(
            space=space or before.space, trials=trials or kept, tuner=tuner or before.tuner
        )
    check_tune(tune, "--tune")
    name = f"{suite.name}-tuned-{fingerprint(tune)[:6]}"
    return msgspec.structs.replace(suite, name=name, tune=tune)


def _value(text: str) -> Any:
    """A value to try; numbers are read, since tuners and the report order them."""
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) else parse_value(text)
