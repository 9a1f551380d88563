"""Find runs that can be compared: those evaluated on the same test texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from clsbench.errors import UsageError
from clsbench.results.predictions import Predictions
from clsbench.results.store import StoredRun


def sharing_texts(runs: Sequence[StoredRun]) -> list[StoredRun]:
    """The finished runs evaluated on the test texts that most of their experiments share.

    If several sets of texts are equally common, that of the latest run is used.
    """
    finished = [r for r in runs if r.record.status == "finished" and r.record.data is not None]
    texts = texts_keys(finished)
    experiments = {(run.record.fingerprint, key) for run, key in zip(finished, texts, strict=True)}
    counts = Counter(key for _, key in experiments)
    if not counts:
        return []
    latest = {key: run.record.created for run, key in zip(finished, texts, strict=True)}
    chosen = max(counts, key=lambda key: (counts[key], latest[key]))
    return [run for run, key in zip(finished, texts, strict=True) if key == chosen]


def texts_keys(runs: Sequence[StoredRun]) -> list[str]:
    """For each run a key, equal for runs evaluated on the same test texts.

    Older records hold one hash of all three splits: such a run shares its key with runs that have
    the same three splits.
    """
    facts = [run.record.data for run in runs]
    known = {each.sha256: each.texts_sha256["test"] for each in facts if each and each.texts_sha256}
    return [known.get(each.sha256, each.sha256) if each is not None else "" for each in facts]


def differing_splits(runs: Sequence[StoredRun]) -> tuple[str, ...]:
    """Which of ``train`` and ``validation`` differ between runs with the same test texts."""
    facts = [run.record.data for run in runs]
    hashes = [each.texts_sha256 for each in facts if each is not None and each.texts_sha256]
    splits = ("train", "validation")
    return tuple(split for split in splits if len({each[split] for each in hashes}) > 1)


def trained_alike(one: StoredRun, other: StoredRun) -> bool:
    """Whether both have the same training texts, and therefore the same baselines."""
    a, b = one.record.data, other.record.data
    if a is None or b is None or a.sha256 == b.sha256:
        return True
    hashes = [each.texts_sha256.get("train") for each in (a, b)]
    return hashes[0] is not None and hashes[0] == hashes[1]


def refuse_other_texts(predictions: Sequence[tuple[StoredRun, Predictions]]) -> None:
    """Check that all runs were evaluated on the test texts of the first.

    Raises:
        UsageError: one was not.
    """
    (first_run, first), *others = predictions
    first_texts, *texts = texts_keys([run for run, _ in predictions])
    for (run, other), key in zip(others, texts, strict=True):
        same = key == first_texts and np.array_equal(first.labels, other.labels)
        if _sha256(run) == _sha256(first_run):
            same = same and np.array_equal(first.rows, other.rows)
        if not same:
            raise UsageError(
                f"{first_run.path.name} and {run.path.name} cannot be compared: they were "
                f"evaluated on different test texts ({_texts_of(first_run)}; {_texts_of(run)})"
            )


def _sha256(run: StoredRun) -> str | None:
    return run.record.data.sha256 if run.record.data is not None else None


def _texts_of(run: StoredRun) -> str:
    data, spec = run.record.data, run.record.spec
    assert data is not None
    split = spec["data"]["split"]
    split_name = split["name"] if isinstance(split, Mapping) else split
    dataset = spec["dataset"]
    dataset_name = dataset["name"] if isinstance(dataset, Mapping) else dataset
    digest = data.texts_sha256.get("test", data.sha256)
    return f"{data.sizes['test']} of {dataset_name}, split {split_name}, hash {digest[:8]}"
