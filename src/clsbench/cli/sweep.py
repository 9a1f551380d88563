"""``--sweep KEY=A,B,C`` and ``--tune KEY=A,B,C``: a setting and its values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from clsbench.errors import UsageError
from clsbench.schema.experiment import comma_separated
from clsbench.schema.suite import SIZE_KEY

SHORT_AXES = {"batch": "train.batch_size", "tokens": "data.padding"}
"""Short names of common settings."""

_OPTION = re.compile(r"\w+=")
"""An option without its component: the quotes around both are missing."""


class Sweep:
    """A setting and its values; ``option`` is named in errors."""

    def __init__(self, text: str, option: str = "--sweep") -> None:
        name, _, values = text.partition("=")
        self.name = name.strip()
        self.key = SHORT_AXES.get(self.name, self.name)
        # Values may be components with options: last-blocks:n=2, or "lora:r=8,alpha=8" in quotes.
        self.values = [value for value in comma_separated(values, f"{option} {text!r}") if value]
        if not self.name or not self.values:
            raise UsageError(f"{option} {text!r} is not KEY=A,B,C; example: {option} batch=8,16,32")
        for value in self.values:
            if value.count('"') % 2 or _OPTION.match(value):
                what = "is not a whole value" if '"' in value else "looks like an option"
                raise UsageError(
                    f"{option} {text!r}: {value!r} {what}; put each value that contains a comma in "
                    "double quotes, double those within it, and put the whole argument in single "
                    f"quotes: {option} 'adapter=none,\"lora:r=8,alpha=8\"'"
                )
        if len(set(self.values)) < len(self.values):
            raise UsageError(f"{option} {text!r} names a value twice")


def check_plotted(rows: Iterable[Mapping[str, Any]]) -> None:
    """Check that ``--plot`` has something to plot, given the changes of each row.

    Raises:
        UsageError: the rows differ neither in their number of training texts nor in their data set.
    """
    keys = (SIZE_KEY, "dataset")
    if len({str([v for k, v in row.items() if k.startswith(keys)]) for row in rows}) < 2:
        raise UsageError(
            "--plot plots accuracy by number of training texts, or mean ranks over data sets, but "
            f"the rows differ neither in {SIZE_KEY} nor in their data set; vary one of them: "
            f"--sweep {SIZE_KEY}=16,64,256 or --sweep dataset=A,B"
        )
