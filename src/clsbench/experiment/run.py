"""Run one experiment from start to end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Set
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from msgspec.structs import replace
from torch import nn

from clsbench.assets import DownloadProgress
from clsbench.components.catalog import Catalog
from clsbench.components.resolve import Experiment
from clsbench.errors import ClsbenchError
from clsbench.experiment.baselines import initial_features, scored_baselines
from clsbench.experiment.failures import (
    Progress,
    naming_the_device,
    reason_of,
    without_weights,
)
from clsbench.experiment.phases import Phases
from clsbench.experiment.planning import Planned, announcement, check_metrics, identify_run
from clsbench.experiment.preparation import PreparedData, PreparedFiles, prepare_files
from clsbench.experiment.sharing import SharedWork, plan_key
from clsbench.fastpath.fast_forward import FastForward
from clsbench.fastpath.forward import Forward, PlainForward
from clsbench.fastpath.kept_rows import KnownPrefixes
from clsbench.fastpath.plan import PACKING, POSITION, SHORTCUTS
from clsbench.fastpath.safety.trial import check_equivalence
from clsbench.fastpath.shortcuts import make_shortcuts
from clsbench.model.build import build_classifier
from clsbench.model.checkpoint import (
    check_storable,
    frozen_sha256,
    save_classifier,
    stored_facts,
)
from clsbench.model.classifier import Classifier
from clsbench.model.freezing import FreezingPlan
from clsbench.model.parameters import refuse_non_finite
from clsbench.results.baseline_states import write_states
from clsbench.results.integrity import files_sha256
from clsbench.results.predictions import write_baseline_predictions, write_predictions
from clsbench.results.store import (
    check_store_writable,
    final_path,
    run_directory,
    run_name,
    write_record,
)
from clsbench.schema.options import RunOptions
from clsbench.schema.record import FastPath, RunNotStoredError, RunRecord
from clsbench.system.environment import (
    choose_device,
    circumstances,
    peak_memory_bytes,
)
from clsbench.system.filesystem import storing_error
from clsbench.system.signals import deferring_interrupts
from clsbench.training.evaluate import deviation_from_fp32
from clsbench.training.fit import fit, measure_before, prefix_progress
from clsbench.training.log import TrainingLog
from clsbench.training.schedule import seeded_schedule
from clsbench.training.scoring import (
    ScoredBaseline,
    Scores,
    import_libraries,
    score_classifier,
)

logger = logging.getLogger(__name__)


class FinishedRun(NamedTuple):
    """The record of a run and the directory it is stored in (``None`` if it is not)."""

    record: RunRecord
    path: Path | None


def run_experiment(
    experiment: Experiment,
    options: RunOptions,
    catalog: Catalog,
    observers: Sequence[object] = (),
    dry_run: bool = False,
    progress: DownloadProgress | None = None,
    shared: SharedWork | None = None,
) -> FinishedRun:
    """Run the experiment with its spec's seed and store the result.

    A run that is interrupted or fails after training has begun is stored with that status and
    returned. A dry run prepares the data and counts parameters, but neither trains nor stores.
    With ``shared``, it reuses work of earlier runs of this process, and no curves are drawn.

    Raises:
        UsageError: the request is invalid; nothing is stored.
        AssetError: data or weights are unavailable; nothing is stored.
        PluginError: the classifier cannot be built, planned, or stored.
        RunNotStoredError: the run ended but could not be stored; the error holds its record.
    """
    device = choose_device(options.device, options.precision)
    if not dry_run:
        check_store_writable(options.out)
    hook = catalog.lifecycle(observers)
    phases = Phases(hook)
    work = shared if shared is not None else SharedWork()
    with circumstances(options):
        with phases("assets"):
            files = prepare_files(experiment, options, catalog, dry_run, progress)
        experiment, spec = files.experiment, files.experiment.spec
        with phases("data"):
            data = work.data(experiment, files.files)
            _log_warnings(files.warnings + data.warnings)
        with phases("model"), naming_the_device(device):
            record = identify_run(experiment, options, device, files, data)
            planned = work.plan(experiment, options, device, data, record)
            freezing, record = planned.freezing, planned.record
            first_look, events = seeded_schedule(
                spec.seed, data.facts.sizes, spec.train, planned.recipe.optimizer.full_batch
            )
            name = None if dry_run else run_name(record)
            hook.clsbench_run_started(plan=announcement(record, events), name=name)
            if not dry_run:
                import_libraries()
            check_metrics(experiment, data, only_primary=dry_run)
            if dry_run:
                return FinishedRun(replace(record, phases_seconds=dict(phases.seconds)), None)
            build = partial(_build, experiment, files, data, options, device)
            names = partial(_trained, freezing=freezing)
            classifier = shared.classifier(experiment, options, names, build) if shared else build()
            check_storable(classifier, _trained(classifier, freezing))
            # The flags of the first epoch, for everything that is computed before it.
            freezing.apply(classifier, freezing.by_epoch[0])
            checks = _numerical_checks(experiment, files)
            follow = partial(_forward, classifier, experiment, options, device, data, work.prefixes)
            forward = follow(planned)
        torch.manual_seed(spec.seed)
        log = TrainingLog()
        scores: Scores | None = None
        baselines: list[ScoredBaseline] = []
        deviation: float | None = None
        status, error = "finished", None
        try:
            with phases("prefix") if isinstance(forward, FastForward) else nullcontext():
                key = plan_key(experiment, options, data)
                if key not in work.checked:
                    planned, forward, problems = _as_far_as_it_works(
                        planned, forward, spec.train.batch_size, follow
                    )
                    checks += problems
                    work.checked |= set() if problems else {key}
                forward.prepare(prefix_progress(hook))
            known = work.baselines(experiment, options, data)
            features = initial_features(experiment, forward, phases, known)
            with phases.without_prefix("training", forward):
                log.begin(forward)
                log.before = measure_before(forward, first_look)
                if options.precision == "bf16":
                    deviation = deviation_from_fp32(forward, "train", first_look.loss["train"])
                fit(forward, events, freezing, planned.recipe, log, hook)
            with phases.without_prefix("evaluation", forward):
                scores = score_classifier(
                    forward,
                    data.leaked,
                    len(data.facts.class_names),
                    spec.train.batch_size,
                    experiment.metrics,
                    experiment.primary,
                )
            with phases("baselines"):
                for scored, problem in scored_baselines(experiment, data, features, known):
                    baselines += [scored] if scored is not None else []
                    checks += (problem,) if problem is not None else ()
        except KeyboardInterrupt as interruption:
            status, error = "interrupted", str(interruption) or "interrupted by the user"
        except Exception as failure:
            logger.debug("the run failed", exc_info=True)
            so_far = Progress(phases.current, log.examples, forward.kept())
            status, error = "failed", reason_of(failure, record, spec.train, so_far)
        record = replace(
            record,
            status=status,
            error=error,
            history=log.history(),
            metrics=scores.metrics if scores else None,
            thresholds=scores.by_class(data.facts.class_names) if scores else {},
            baselines=tuple(scored.result for scored in baselines),
            phases_seconds=dict(phases.seconds),
            throughput=log.throughput(),
            prediction_seconds=scores.prediction_seconds if scores else None,
            precision_deviation=deviation,
            fast_path=FastPath(shortcuts=planned.fast.shortcuts, kept=forward.kept()),
            memory_bytes_expected=planned.record.memory_bytes_expected,
            peak_memory_bytes=peak_memory_bytes(device),
            warnings=record.warnings + checks + forward.problems(),
        )
        forward.close()
        path, record = _store(
            record, options, classifier, freezing, data, scores, baselines, shared=shared
        )
    _announce_end(hook, record, path)
    return FinishedRun(record, path)


def _log_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        logger.warning("%s", warning)


def _announce_end(hook: Any, record: RunRecord, path: Path) -> None:
    """Call the observers; their errors do not affect the stored run."""
    try:
        hook.clsbench_run_finished(record=record, path=path)
    except Exception as problem:
        logger.warning("%s; the run is stored nevertheless", problem)


def _build(
    experiment: Experiment,
    files: PreparedFiles,
    data: PreparedData,
    options: RunOptions,
    device: torch.device,
) -> Classifier:
    """Build the classifier on the device and check that its weights are finite."""
    classes = len(data.facts.class_names)
    seed = experiment.spec.seed
    classifier = build_classifier(experiment, files.files, classes, seed, options.precision)
    refuse_non_finite(
        classifier,
        "the classifier cannot be trained; check the backbone's weights, the pooling, the head and "
        "the adapter",
    )
    return classifier.to(device)


def _forward(
    classifier: Classifier,
    experiment: Experiment,
    options: RunOptions,
    device: torch.device,
    data: PreparedData,
    known: KnownPrefixes,
    planned: Planned,
) -> Forward:
    """The forward pass of the plan, with its enabled shortcuts."""
    shortcuts = make_shortcuts(
        classifier,
        planned.fast,
        experiment,
        planned.record.plugins,
        options,
        device,
        data.facts.max_length,
        planned.working_bytes,
        known,
    )
    splits = data.tokens.by_name()
    if shortcuts is None:
        return PlainForward(classifier, splits, device, options.precision)
    return FastForward(classifier, splits, device, options.precision, shortcuts)


def _as_far_as_it_works(
    planned: Planned,
    forward: Forward,
    batch_size: int,
    follow: Callable[[Planned], Forward],
) -> tuple[Planned, Forward, tuple[str, ...]]:
    """Disable the shortcuts that fail in the trial, or all of them if the fast path is not exact.

    Returns the plan, its forward pass (made by ``follow``) and the warnings for the record.
    """
    first = problem = check_equivalence(forward, planned.freezing, batch_size)
    if first is None:
        return planned, forward, ()
    refused: list[str] = []
    for name in (PACKING, POSITION):
        if problem is not None and problem.fails and name in planned.fast.taken():
            refused.append(name)
            planned = planned.without([name], problem.text)
            forward = follow(planned)
            problem = check_equivalence(forward, planned.freezing, batch_size)
    if problem is None:
        warning = f"the shortcut {' and '.join(refused)} is disabled: {first.text}"
    else:
        warning = f"the fast path is disabled: {first.text}"
        planned = planned.without(SHORTCUTS, first.text)
        forward = follow(planned)
    logger.warning("%s; the run takes longer", warning)
    return planned, forward, (warning,)


def _numerical_checks(experiment: Experiment, files: PreparedFiles) -> tuple[str, ...]:
    """Run the backbone's numerical checks after a first download; failed checks become warnings."""
    if not files.downloaded & {asset.key for asset in experiment.backbone.assets()}:
        return ()
    warnings = []
    for check in experiment.backbone.numerical_checks(files.files):
        verdict = "agrees" if check.agrees else "DISAGREES"
        text = f"{check.name}: {verdict} (expected {check.expected}, measured {check.measured})"
        logger.log(logging.INFO if check.agrees else logging.WARNING, "%s", text)
        if not check.agrees:
            warnings.append(text)
    return tuple(warnings)


def _store(
    record: RunRecord,
    options: RunOptions,
    classifier: nn.Module,
    freezing: FreezingPlan,
    data: PreparedData,
    scores: Scores | None,
    baselines: Sequence[ScoredBaseline],
    shared: SharedWork | None,
) -> tuple[Path, RunRecord]:
    """Store the run; return its directory, and its record with the hashes of the other files there.

    Raises:
        RunNotStoredError: the run cannot be stored.
    """
    try:
        with deferring_interrupts():
            hash_frozen = frozen_sha256 if shared is None else shared.frozen_sha256
            path, record = _write(
                record, options, classifier, freezing, data, scores, baselines, hash_frozen
            )
            if shared is None and options.curves:
                draw(record, path)  # it is stored already, so it is not lost if this is killed
            return path, record
    except Exception as problem:
        known = isinstance(problem, ClsbenchError)
        reason = str(problem) if known else str(storing_error(problem, options.out))
        raise RunNotStoredError(reason, record) from problem


def _write(
    record: RunRecord,
    options: RunOptions,
    classifier: nn.Module,
    freezing: FreezingPlan,
    data: PreparedData,
    scores: Scores | None,
    baselines: Sequence[ScoredBaseline],
    hash_frozen: Callable[[nn.Module, Set[str]], str],
) -> tuple[Path, RunRecord]:
    with run_directory(options.out, run_name(record)) as directory:
        trained = _trained(classifier, freezing)
        try:
            facts = stored_facts(record)
            save_classifier(classifier, trained, facts, directory, hash_frozen)
        except Exception as failure:
            record = without_weights(record, failure)
        if scores is not None:
            write_predictions(directory, data.splits, scores.probabilities)
        if baselines:
            predicted = {s.result.component: s.predicted for s in baselines}
            given = {s.result.component: s.probabilities for s in baselines if s.probabilities}
            write_baseline_predictions(directory, data.splits, predicted, given)
        states = {s.result.component: s.state for s in baselines if s.state is not None}
        write_states(directory, states)
        record = replace(record, files_sha256=files_sha256(directory))
        write_record(directory, record)
    return final_path(directory), record


def _trained(classifier: nn.Module, freezing: FreezingPlan) -> frozenset[str]:
    """The parameters that train in any epoch."""
    ever = freezing.ever()
    return frozenset(n for n, _ in classifier.named_parameters() if freezing.trains(n, ever))


def draw(record: RunRecord, directory: Path) -> None:
    """Draw the curves last, so that errors do not affect the other results."""
    before = set(directory.iterdir())
    try:
        from clsbench.results.curves import save_curves  # matplotlib is slow to load

        save_curves(record, directory)
    except Exception as error:
        logger.debug("the curves could not be drawn", exc_info=True)
        logger.warning("the curves could not be drawn: %s: %s", type(error).__name__, error)
        for file in set(directory.iterdir()) - before:
            file.unlink()
