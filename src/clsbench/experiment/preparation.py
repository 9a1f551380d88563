"""Prepare a run before a model is built: files, stand-ins for missing files, and data."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from clsbench.assets import DownloadProgress, locate, obtain
from clsbench.components.axes import AXES, Backbone, Dataset
from clsbench.components.catalog import Catalog
from clsbench.components.component import Component
from clsbench.components.identity import (
    decisive,
    library_versions,
    options_by_content,
    spec_by_content,
)
from clsbench.components.resolve import Experiment, resolve, substitute
from clsbench.components.values import Asset, Corpus, Files, HubFile, Splits, Text
from clsbench.data.corpus import corpus_problem
from clsbench.data.labels import label_warnings
from clsbench.data.splits import (
    count_leaked,
    dropped_texts,
    label_counts,
    leaked,
    split_corpus,
    split_warnings,
    splits_sha256,
    texts_sha256,
)
from clsbench.data.subsets import with_train_size
from clsbench.data.tokens import TokenizedSplits, tokenize_splits
from clsbench.errors import AssetError, ClsbenchError, DataError, PluginError, UsageError
from clsbench.experiment.data_checks import ignored_class, refuse_large_batch
from clsbench.schema.experiment import (
    ExperimentSpec,
    fingerprint,
    from_tree,
    value_at,
    with_value,
)
from clsbench.schema.options import RunOptions
from clsbench.schema.record import ComponentIdentity, DataFacts, RunRecord, StandIn
from clsbench.system.environment import working_directory
from clsbench.system.seeding import seeded

logger = logging.getLogger(__name__)

_WITH_ASSETS = ("dataset", "backbone")
"""The axes whose components may need files and have stand-ins."""


class PreparedFiles(NamedTuple):
    """The experiment after any substitution, and the locations of its files.

    ``sha256`` holds the verified hash of every asset; ``downloaded`` the keys of assets that were
    just fetched; ``absent`` the assets that a dry run does not need. ``warnings`` describe unused
    content of the user's files.
    """

    experiment: Experiment
    stand_ins: tuple[StandIn, ...]
    files: Mapping[str, Path]
    sha256: dict[str, str]
    downloaded: frozenset[str]
    absent: tuple[Asset, ...]
    warnings: tuple[str, ...]


class PreparedData(NamedTuple):
    """The splits as texts and as token rows; ``leaked`` marks texts that also occur in train.

    ``warnings`` describe possible problems of labels and splits.
    """

    splits: Splits
    tokens: TokenizedSplits
    leaked: dict[str, list[bool]]
    facts: DataFacts
    warnings: tuple[str, ...]


def prepare_files(
    experiment: Experiment,
    options: RunOptions,
    catalog: Catalog,
    dry_run: bool = False,
    progress: DownloadProgress | None = None,
) -> PreparedFiles:
    """Check the user's files, then find or fetch the assets of data and backbone.

    With ``options.offline``, a component whose assets are missing is replaced by its stand-in; so
    are the ``stand_ins`` of the spec.
    Without it, a dry run fetches the data, but only looks for the weights.

    Raises:
        UsageError: a user file is missing.
        PluginError: a library that a component declares is not installed.
        AssetError: an asset is unavailable, or has the wrong hash.
    """
    for each in (each for chosen in experiment.components for each in chosen.with_parts()):
        library_versions(each.quoted_name, each.component)
        for path in each.component.user_files():
            if not os.path.exists(path):  # Path.exists raises for a name that is too long
                here = "" if path.is_absolute() else f" (relative to {working_directory()})"
                raise UsageError(f"{each.quoted_name}: no such file: {path}{here}")
    stand_ins: list[StandIn] = []
    for wish in experiment.spec.stand_ins or ():
        experiment, stand_in = _replace(experiment, wish, f"unless --{wish} names another", catalog)
        stand_ins.append(stand_in)
    wanted = {axis: _assets(getattr(experiment, axis), options, dry_run) for axis in _WITH_ASSETS}
    everything = [asset for assets in wanted.values() for asset in assets]
    obtained = obtain(everything, folder=options.assets, offline=options.offline, progress=progress)
    missing = {missing.asset.key for missing in obtained.missing}
    for axis, assets in wanted.items():
        lacking = ", ".join(asset.key for asset in assets if asset.key in missing)
        if lacking:
            reason = f"offline, and not found: {lacking}"
            experiment, stand_in = _replace(experiment, axis, reason, catalog)
            stand_ins.append(stand_in)
    replacements = obtain(
        [asset for s in stand_ins for asset in getattr(experiment, s.axis).assets()],
        folder=options.assets,
        offline=True,
    )
    replacements.require()
    absent = (
        asset
        for asset in experiment.backbone.assets()
        if asset not in everything and locate(asset, options.assets) is None
    )
    files = {**obtained.files, **replacements.files}
    return PreparedFiles(
        with_files(experiment, files),
        tuple(stand_ins),
        files,
        {**obtained.sha256, **replacements.sha256},
        obtained.downloaded,
        tuple(absent) if dry_run else (),
        tuple(
            f"{each.quoted_name}: {warning}"
            for each in experiment.components
            for warning in each.component.user_file_warnings()
        ),
    )


def with_files(experiment: Experiment, files: Files) -> Experiment:
    """The experiment with a backbone that knows its files."""
    return experiment._replace(backbone=experiment.backbone.with_files(files))


def texts_of(record: RunRecord, options: RunOptions, catalog: Catalog) -> Mapping[int, Text] | None:
    """The texts of a run by row of the corpus; ``None`` if they are not available.

    Nothing is fetched, and texts that differ from those of the run are not used.
    """
    try:
        experiment = stored_experiment(record, catalog)
        assets = experiment.dataset.assets()
        obtained = obtain(assets, folder=options.assets, offline=True)
        obtained.require()
        splits = _load_splits(experiment, obtained.files).used
    except ClsbenchError as error:
        logger.info("the texts of the run are not available: %s", error)
        return None
    if record.data is None or splits_sha256(splits) != record.data.sha256:
        logger.info("the texts of the run are not available: its data set has changed since")
        return None
    return {
        row: text
        for split in splits.all()
        for row, text in zip(split.rows, split.texts, strict=True)
    }


def stored_experiment(record: RunRecord, catalog: Catalog) -> Experiment:
    """The experiment of a stored run, with the components registered now.

    Raises:
        UsageError: a component is not registered, or the spec is not valid.
    """
    for each in record.plugins:
        axis = next((axis for axis in AXES if each.axis in (axis.spec_key, axis.singular)), None)
        if each.axis == "metric":  # not needed to predict
            continue
        if axis is None:
            raise UsageError(f"the record is damaged: unknown kind of component {each.axis!r}")
        if each.component not in catalog.entries[axis.name]:
            raise UsageError(
                f"this run has the {each.axis} {each.component!r} of {each.distribution}, which no "
                "loaded plugin registers; load its plugin with --plugin. (If clsbench.run got "
                f"the {each.axis} as an instance, write a plugin that registers its class as "
                f"{each.component!r} by {axis.hook}.)"
            )
    return resolve(stored_spec(record), {}, catalog)


def stored_spec(record: RunRecord) -> ExperimentSpec:
    """The spec of a stored run; relative paths are resolved from the run's working directory.

    Without its metrics, whose plugins are not needed to predict.

    Raises:
        UsageError: it is not a valid spec.
    """
    tree = {k: v for k, v in record.spec.items() if k not in ("metrics", "metric")}
    for identity in record.plugins:
        if isinstance(table := value_at(tree, identity.axis), dict):
            places = {text: _place_of(text, record) for text in identity.files}
            table = options_by_content(table, replace(identity, files=places))
            tree = with_value(tree, identity.axis, table)
    return from_tree(tree, "the spec of the stored run")


def _place_of(file: str, record: RunRecord) -> str:
    """The path that the run used, or ``path`` as written if that is the same or the only existing
    one."""
    written = os.path.expanduser(file)
    place = os.path.join(record.working_directory or "", written)
    if os.path.exists(written) and (not os.path.exists(place) or os.path.samefile(written, place)):
        return file
    return place


def prepare_data(experiment: Experiment, files: Mapping[str, Path]) -> PreparedData:
    """Load the corpus, balance and split it, and convert the texts to token rows.

    Raises:
        DataError: the corpus is invalid, or does not allow the split or batch size.
        UsageError: the texts do not allow the padding or the separator of pairs.
        PluginError: the data set fails, or loads an invalid corpus.
    """
    settings = experiment.spec.data
    corpus, whole, splits = _load_splits(experiment, files)
    tokens = tokenize_splits(
        splits,
        experiment.backbone.tokenizer(files),
        settings.padding,
        experiment.backbone.context_length(),
        whole.train.texts,
        settings.pair_separator,
    )
    flags = leaked(splits)
    truncated = {
        split.name: rows.truncated
        for split, rows in zip(
            splits.all(), (tokens.train, tokens.validation, tokens.test), strict=True
        )
    }
    if any(truncated.values()):
        counts = ", ".join(f"{n} in {name}" for name, n in truncated.items() if n)
        logger.info("texts truncated to %d tokens: %s", tokens.max_length, counts)
    batch_size = experiment.spec.train.batch_size
    facts = DataFacts(
        class_names=splits.class_names,
        sizes={split.name: len(split) for split in splits.all()},
        class_counts={
            split.name: {
                splits.class_names[label]: count
                for label, count in sorted(label_counts(split.labels).items())
            }
            for split in splits.all()
        },
        batches={
            "train": len(splits.train) // batch_size,
            "validation": -(-len(splits.validation) // batch_size),
            "test": -(-len(splits.test) // batch_size),
        },
        max_length=tokens.max_length,
        padding_fraction=tokens.padding_fraction(),
        truncated=truncated,
        leaked=count_leaked(flags),
        sha256=splits_sha256(splits),
        texts_sha256=texts_sha256(splits),
        corpus_texts=len(corpus.texts),
        dropped=dropped_texts(corpus, whole),
        multi_label=corpus.multi_label,
        text_pairs=corpus.text_pairs is not None,
    )
    refuse_large_batch(batch_size, facts, settings)
    warnings = (
        *label_warnings({corpus.class_names[n]: k for n, k in label_counts(corpus.labels).items()}),
        *split_warnings(whole, corpus, settings),
        *ignored_class(facts, experiment.spec.train.ignore_index),
    )
    return PreparedData(splits, tokens, flags, facts, warnings)


class _LoadedSplits(NamedTuple):
    """A corpus, its splits, and those with the ``data.train_size`` training texts that are used."""

    corpus: Corpus
    whole: Splits
    used: Splits


def _load_splits(experiment: Experiment, files: Files) -> _LoadedSplits:
    settings = experiment.spec.data
    with seeded(
        settings.split.seed
    ):  # seeded independently of the run, so that all seeds share one split
        corpus = _load(experiment.dataset, files, experiment.label("dataset"))
    named = ", ".join(map(str, experiment.dataset.user_files()))
    try:
        whole = split_corpus(corpus, settings)
        used = with_train_size(whole, settings.train_size, settings.split.seed)
        return _LoadedSplits(corpus, whole, used)
    except UsageError as error:
        raise DataError(f"{named}: {error}" if named else str(error)) from None


def _load(dataset: Dataset, files: Files, label: str) -> Corpus:
    try:
        corpus = dataset.load(files)
        problem = corpus_problem(corpus)
    except UsageError as error:  # the data set's own message
        if isinstance(error, PluginError):
            raise
        raise DataError(str(error)) from None
    except ClsbenchError:
        raise
    except Exception as error:
        raise PluginError(
            f"dataset {label} failed to load: {type(error).__name__}: {error}"
        ) from error
    if problem is None and corpus.multi_label != (dataset.task() == "multi-label"):
        problem = f"its task() is {dataset.task()}, but its corpus has multi_label = "
        problem += str(corpus.multi_label)
    if problem is not None:
        raise PluginError(f"dataset {label}: {problem}")
    return corpus


def experiment_fingerprint(
    experiment: Experiment, identities: tuple[ComponentIdentity, ...], data: PreparedData
) -> str:
    """The identity by which runs are compared across devices and seeds: all settings that affect
    learning."""
    spec = spec_by_content(experiment, identities)
    return fingerprint(
        {
            "spec": {key: value for key, value in spec.items() if key != "seed"},
            "data": data.facts.sha256,
            "weights": {asset.key: _pin(asset) for asset in experiment.backbone.assets()},
            "components": [decisive(identity) for identity in identities],
        }
    )


def _assets(component: Component, options: RunOptions, dry_run: bool) -> tuple[Asset, ...]:
    """The assets to obtain. A dry run does not fetch weights, but offline it chooses the
    stand-ins."""
    if dry_run and not options.offline and isinstance(component, Backbone):
        return component.tokenizer_assets()
    return component.assets()


def _replace(
    experiment: Experiment, axis: str, reason: str, catalog: Catalog
) -> tuple[Experiment, StandIn]:
    component: Component = getattr(experiment, axis)
    stand_in = component.stand_in()
    replaced = experiment.label(axis)
    if stand_in is None:
        raise AssetError(
            f"{axis} {replaced}: no stand-in replaces it ({reason}); leave out --offline, or name "
            "a folder that has it by --assets DIR"
        )
    changed = substitute(experiment, axis, stand_in, catalog)
    return changed, StandIn(axis=axis, replaced=replaced, by=changed.label(axis), reason=reason)


def _pin(asset: Asset) -> str:
    """The identity of an asset's content: its hash, or the revision of its repository."""
    revisions = [source.revision for source in asset.sources if isinstance(source, HubFile)]
    return asset.sha256 or next(iter(revisions), "")
