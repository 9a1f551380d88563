"""Warn of stored runs that are not what they seem."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clsbench.schema.record import RunRecord

logger = logging.getLogger(__name__)


def warn_of_run(record: RunRecord, axes: tuple[str, ...]) -> None:
    """Warn of stand-ins on ``axes``, and of a run that did not finish."""
    for stand_in in (each for each in record.stand_ins if each.axis in axes):
        logger.warning(
            "this classifier was trained with a stand-in: %s instead of %s",
            stand_in.by,
            stand_in.replaced,
        )
    if record.status != "finished":
        logger.warning("the run was %s: %s", record.status, record.error)
