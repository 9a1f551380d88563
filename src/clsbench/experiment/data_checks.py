"""Check training settings against the data of a run."""

from __future__ import annotations

from collections.abc import Iterator

from clsbench.data.labels import named
from clsbench.errors import DataError
from clsbench.schema.experiment import DataSettings
from clsbench.schema.record import DataFacts


def refuse_large_batch(batch_size: int, facts: DataFacts, settings: DataSettings) -> None:
    """Check that the training split has a whole batch.

    Raises:
        DataError: it has not.
    """
    texts, dropped = facts.sizes["train"], sum(facts.dropped.values())
    if batch_size > texts:
        why = f"; data.balance=true left out {dropped:,} texts of the corpus" if dropped else ""
        if settings.train_size is not None:
            why = f" that data.train_size selects; train.batch_size={texts} uses all of them"
        raise DataError(
            f"train.batch_size = {batch_size} is larger than the training split of {texts} "
            f"text{'' if texts == 1 else 's'}{why}"
        )


def ignored_class(facts: DataFacts, ignore_index: int) -> Iterator[str]:
    """A warning if ``train.ignore_index`` is the index of a class.

    Raises:
        DataError: it is set for multi-label data.
    """
    if facts.multi_label and ignore_index >= 0:
        raise DataError(
            f"train.ignore_index={ignore_index} leaves the texts of one class out, but this data "
            "set is multi-label; remove the setting"
        )
    if 0 <= ignore_index < len(facts.class_names):
        name = facts.class_names[ignore_index]
        if count := facts.class_counts["train"].get(name):
            yield (
                f"train.ignore_index={ignore_index} leaves class {named([name])} ({count:,} of "
                f"{facts.sizes['train']:,} training texts) out of training, so it is not learned"
            )
