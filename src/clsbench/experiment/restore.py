"""Restore the classifier of a stored run, before or after training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from clsbench.assets import DownloadProgress, obtain
from clsbench.components.catalog import Catalog
from clsbench.components.identity import DECIDE_PREDICTIONS, Change, changes_since, identify
from clsbench.components.resolve import Experiment
from clsbench.components.tokenizers import Tokenizer
from clsbench.errors import UsageError
from clsbench.experiment.preparation import stored_experiment, with_files
from clsbench.model.build import build_classifier
from clsbench.model.checkpoint import CLASSIFIER_FILE, ClassifierFacts, restore, stored_facts
from clsbench.model.classifier import Classifier
from clsbench.results.integrity import check_file
from clsbench.results.store import StoredRun
from clsbench.schema.options import RunOptions
from clsbench.system.environment import choose_device, circumstances

logger = logging.getLogger(__name__)


class Restored(NamedTuple):
    """The classifier of a stored run on the CPU, and what it needs to classify texts.

    ``changed`` describes the components whose code or files have changed since training.
    """

    experiment: Experiment
    files: Mapping[str, Path]
    classifier: Classifier
    tokenizer: Tokenizer
    facts: ClassifierFacts
    changed: Sequence[str]


def restore_trained(
    run: StoredRun,
    options: RunOptions,
    catalog: Catalog,
    progress: DownloadProgress | None = None,
    allow_changed: bool = False,
) -> Restored:
    """The classifier that the run stored.

    A warning names components with another version than in training and, if ``allow_changed`` is
    set, those with other source or files.

    Raises:
        UsageError: the run has no classifier; or the source of a component, or a user file that it
            reads, has changed since training and ``allow_changed`` is not set.
        AssetError: the backbone's weights or tokenizer are not available.
    """
    check_file(run.path, CLASSIFIER_FILE, run.record)
    experiment = stored_experiment(run.record, catalog)
    restored = restore_untrained(run, experiment, options, progress, allow_changed)
    with circumstances(options):
        restore(restored.classifier, restored.facts, run.path)
    return restored


def restore_untrained(
    run: StoredRun,
    experiment: Experiment,
    options: RunOptions,
    progress: DownloadProgress | None = None,
    allow_changed: bool = False,
) -> Restored:
    """The classifier of a run as it was before training.

    Raises:
        UsageError: a component has changed since training and ``allow_changed`` is not set.
        AssetError: the backbone's weights or tokenizer are not available.
    """
    record, spec = run.record, experiment.spec
    facts = stored_facts(record)
    changes = changes_since(record.plugins, identify(experiment, DECIDE_PREDICTIONS))
    changed = refuse_changed(changes, allow_changed)
    choose_device(options.device, options.precision)  # before a download
    obtained = obtain(
        experiment.backbone.assets(),
        folder=options.assets,
        offline=options.offline,
        progress=progress,
    )
    obtained.require()
    experiment = with_files(experiment, obtained.files)
    context_length = experiment.backbone.context_length()
    if not 1 <= facts.max_length <= context_length:
        raise UsageError(
            f"the record of {run.path.name} is damaged: its data.max_length is "
            f"{facts.max_length:,}, expected 1 to {context_length:,} tokens, the backbone's "
            "context length"
        )
    with circumstances(options):
        classifier = build_classifier(
            experiment, obtained.files, len(facts.class_names), spec.seed, options.precision
        )
    tokenizer = experiment.backbone.tokenizer(obtained.files)
    return Restored(experiment, obtained.files, classifier, tokenizer, facts, changed)


def refuse_changed(changes: Sequence[Change], allow_changed: bool) -> list[str]:
    """Descriptions of the components whose code or files have changed since training.

    Raises:
        UsageError: some have changed, and ``allow_changed`` is not set.
    """
    changed = [change.text for change in changes if not change.in_version_alone]
    if changed and not allow_changed:
        raise UsageError(
            f"{'; '.join(changed)}. The predictions would not be those of the trained classifier: "
            "restore what has changed or train again; --allow-changed predicts anyway and marks "
            "the predictions"
        )
    for change in changes:
        logger.warning("%s; the predictions may differ from those of training", change.text)
    return changed
