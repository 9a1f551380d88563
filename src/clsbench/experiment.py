"""One experiment from start to end, in a straight line; the only place that seeds anything."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from clsbench.assets import DownloadProgress
from clsbench.catalog import Catalog, load_catalog
from clsbench.data.tokens import TokenizedSplits
from clsbench.environment import (
    choose_device,
    circumstances,
    describe_environment,
    peak_memory_bytes,
)
from clsbench.errors import ClsbenchError
from clsbench.model.checkpoint import ClassifierFacts, frozen_sha256, save_classifier
from clsbench.model.classifier import Classifier
from clsbench.model.counts import (
    ClassifierOutline,
    count_parameters,
    expected_memory_bytes,
    outline_classifier,
)
from clsbench.model.freezing import FreezingPlan, plan_freezing, refuse_nothing_to_train
from clsbench.options import RunOptions, default_options
from clsbench.preparation import (
    PreparedData,
    PreparedFiles,
    experiment_fingerprint,
    prepare_data,
    prepare_files,
)
from clsbench.record import BaselineResult, Metrics, RunRecord, SplitMetrics
from clsbench.report.plots import save_curves
from clsbench.resolve import Experiment, find_spec, resolve
from clsbench.results.metrics import split_metrics
from clsbench.results.store import (
    check_store_writable,
    final_path,
    run_directory,
    run_name,
    write_predictions,
    write_record,
)
from clsbench.spec import COMPONENT_KEYS, ExperimentSpec, fingerprint, format_component, to_tree
from clsbench.training.evaluate import all_logits
from clsbench.training.fit import TrainingLog, fit
from clsbench.training.schedule import book_schedule
from clsbench.values import RunPlan

logger = logging.getLogger(__name__)


class FinishedRun(NamedTuple):
    """The record of a run and the directory it is stored in (``None`` for a dry run)."""

    record: RunRecord
    path: Path | None


class Phases:
    """Seconds per phase; entering one tells the observers."""

    def __init__(self, hook: Any) -> None:
        self.seconds: dict[str, float] = {}
        self._hook = hook

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time the block as the phase ``name``."""
        self._hook.clsbench_phase_started(phase=name)
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - started


class Learned(NamedTuple):
    """What evaluation found: class probabilities (N, C) and figures per split."""

    probabilities: dict[str, np.ndarray]
    metrics: Metrics


def run_experiment(
    experiment: Experiment,
    options: RunOptions,
    catalog: Catalog,
    observers: Sequence[object] = (),
    dry_run: bool = False,
    progress: DownloadProgress | None = None,
) -> FinishedRun:
    """Run the experiment with its spec's seed and store what came of it.

    A run that is interrupted or fails once training has begun is stored too, with that status, and
    returned. A dry run prepares the data, counts parameters, and neither trains nor stores.

    Raises:
        UsageError: what was asked for is wrong or missing; nothing is stored.
        AssetError: data or weights cannot be had; nothing is stored.
    """
    device = choose_device(options.device, options.precision)
    if not dry_run:
        check_store_writable(options.out)
    hook = catalog.lifecycle(observers)
    phases = Phases(hook)
    with circumstances(options):
        created = datetime.now(UTC).isoformat(timespec="seconds")
        with phases("assets"):
            files = prepare_files(experiment, options, catalog, dry_run, progress)
        experiment = files.experiment
        spec = experiment.spec
        with phases("data"):
            data = prepare_data(experiment, files.files)
        with phases("model"):
            outline = _outline(experiment, len(data.facts.class_names))
            plan = plan_freezing(
                experiment.freezing,
                experiment.backbone.describe(),
                spec.train.epochs,
                format_component(to_tree(spec)["freezing"]),
            )
            record = _planned_record(
                experiment, options, device, files, data, outline, plan, created
            )
            hook.clsbench_run_started(plan=_run_plan(record, data))
            if dry_run:
                return FinishedRun(
                    msgspec.structs.replace(record, phases_seconds=dict(phases.seconds)), None
                )
            classifier = build_classifier(
                experiment, files.files, len(data.facts.class_names), spec.seed, options.precision
            ).to(device)
            checks = _numerical_checks(experiment, files)
        torch.manual_seed(spec.seed)
        events = tuple(
            book_schedule(len(data.tokens.train), len(data.tokens.validation), spec.train)
        )
        torch.manual_seed(spec.seed)
        log = TrainingLog()
        learned: Learned | None = None
        baselines: list[BaselineResult] = []
        status, error = "finished", None
        try:
            with phases("training"):
                fit(
                    classifier,
                    data.tokens,
                    events,
                    plan,
                    spec.train,
                    device,
                    options.precision,
                    log,
                    hook,
                )
            with phases("evaluation"):
                learned = _evaluate(classifier, data, spec, device, options.precision)
            with phases("baselines"):
                baselines += _run_baselines(experiment, data)
        except KeyboardInterrupt:
            status, error = "interrupted", "interrupted by the user"
        except Exception as problem:
            logger.debug("the run failed", exc_info=True)
            known = isinstance(problem, ClsbenchError)
            status = "failed"
            error = str(problem) if known else f"{type(problem).__name__}: {problem}"
        record = msgspec.structs.replace(
            record,
            status=status,
            error=error,
            history=log.history(),
            metrics=learned.metrics if learned else None,
            baselines=tuple(baselines),
            phases_seconds=dict(phases.seconds),
            throughput=log.throughput(),
            peak_memory_bytes=peak_memory_bytes(device),
            warnings=record.warnings + checks,
        )
        path = _store(record, options, classifier, plan, data, learned)
    hook.clsbench_run_finished(record=record)
    return FinishedRun(record, path)


def build_classifier(
    experiment: Experiment,
    files: Mapping[str, Path],
    num_classes: int,
    seed: int,
    precision: str,
) -> Classifier:
    """Backbone, head, pooling and adapter on the CPU, drawn as the book draws them.

    The generator is seeded before a (random) backbone and again before the head; pooling and
    adapter go on from there. In fp64 what was drawn in float32 is cast.
    """
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        torch.manual_seed(seed)
        backbone = experiment.backbone.build(files)
        torch.manual_seed(seed)
        head = experiment.head.build(experiment.backbone.hidden_size(), num_classes)
        pooling = experiment.pooling.build(experiment.backbone.hidden_size())
        classifier = Classifier(backbone, pooling, head)
        if experiment.adapter is not None:
            experiment.adapter.apply(classifier)
    finally:
        torch.set_default_dtype(default)
    return classifier.double() if precision == "fp64" else classifier


def _outline(experiment: Experiment, num_classes: int) -> ClassifierOutline:
    hidden_size = experiment.backbone.hidden_size()
    with torch.device("meta"):
        head: nn.Module = experiment.head.build(hidden_size, num_classes)
        pooling: nn.Module = experiment.pooling.build(hidden_size)
    return outline_classifier(
        experiment.backbone.skeleton(),
        pooling,
        head,
        experiment.adapter,
        experiment.backbone.describe(),
    )


def _planned_record(
    experiment: Experiment,
    options: RunOptions,
    device: torch.device,
    files: PreparedFiles,
    data: PreparedData,
    outline: ClassifierOutline,
    plan: FreezingPlan,
    created: str,
) -> RunRecord:
    spec = experiment.spec
    tree = to_tree(spec)
    plan.apply(outline.classifier, plan.ever())
    refuse_nothing_to_train(outline.classifier, format_component(tree["freezing"]))
    experiment_key = experiment_fingerprint(experiment, data)
    return RunRecord(
        status="planned",
        experiment=spec.name,
        fingerprint=experiment_key,
        run_key=fingerprint([experiment_key, device.type, options.precision, spec.seed]),
        created=created,
        spec=tree,
        spec_fingerprint=fingerprint(spec.identity()),
        modified=experiment.modified,
        published=spec.published,
        stand_ins=files.stand_ins,
        plugins=experiment.plugins,
        environment=describe_environment(device, options),
        data=data.facts,
        parameters=count_parameters(outline, plan),
        memory_bytes_expected=expected_memory_bytes(
            outline, plan, spec.train.batch_size, data.facts.max_length, options.precision
        ),
        assets=files.sha256,
        warnings=tuple(f"not here yet, a run would fetch it: {a.key}" for a in files.absent),
    )


def _run_plan(record: RunRecord, data: PreparedData) -> RunPlan:
    assert record.parameters is not None
    train = record.spec["train"]
    return RunPlan(
        experiment=record.experiment,
        stand_ins=tuple(f"{s.by} in place of {s.replaced}" for s in record.stand_ins),
        components={
            key: format_component(record.spec[key]) for key in COMPONENT_KEYS if key in record.spec
        },
        device=record.environment.device,
        precision=record.environment.precision,
        seed=record.spec["seed"],
        epochs=train["epochs"],
        steps=train["epochs"] * data.facts.batches["train"],
        train_texts=data.facts.sizes["train"],
        max_length=data.facts.max_length,
        parameters_total=record.parameters.total,
        parameters_trainable=record.parameters.trainable,
    )


def _numerical_checks(experiment: Experiment, files: PreparedFiles) -> tuple[str, ...]:
    """After a first download the weights prove themselves; what disagrees becomes a warning."""
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


def _evaluate(
    classifier: nn.Module,
    data: PreparedData,
    spec: ExperimentSpec,
    device: torch.device,
    precision: str,
) -> Learned:
    probabilities: dict[str, np.ndarray] = {}
    figures: dict[str, SplitMetrics] = {}
    tokens: TokenizedSplits = data.tokens
    for name in ("train", "validation", "test"):
        rows = getattr(tokens, name)
        logits = all_logits(classifier, rows, spec.train.batch_size, device, precision).double()
        if not torch.isfinite(logits).all():
            raise ClsbenchError(
                f"the trained classifier gives logits that are not finite on the {name} split; try "
                f"a smaller learning rate (train.lr is {spec.train.lr:g})"
            )
        probabilities[name] = logits.softmax(dim=-1).numpy()
        figures[name] = split_metrics(
            rows.labels.numpy(),
            logits.argmax(dim=-1).numpy(),
            len(data.facts.class_names),
            loss=F.cross_entropy(logits, rows.labels).item(),
            leaked=np.array(data.leaked[name]) if name in data.leaked else None,
        )
    return Learned(probabilities, Metrics(**figures))


def _run_baselines(experiment: Experiment, data: PreparedData) -> list[BaselineResult]:
    results = []
    for baseline, table in zip(
        experiment.baselines, to_tree(experiment.spec)["baselines"], strict=True
    ):
        started = time.perf_counter()
        estimator = baseline.build()
        estimator.fit(list(data.splits.train.texts), np.array(data.splits.train.labels))
        figures = {
            split.name: split_metrics(
                np.array(split.labels),
                np.asarray(estimator.predict(list(split.texts))),
                len(data.facts.class_names),
                leaked=np.array(data.leaked[split.name]) if split.name in data.leaked else None,
            )
            for split in data.splits.all()
        }
        results.append(
            BaselineResult(
                component=format_component(table),
                metrics=Metrics(**figures),
                seconds=time.perf_counter() - started,
            )
        )
    return results


def _store(
    record: RunRecord,
    options: RunOptions,
    classifier: nn.Module,
    plan: FreezingPlan,
    data: PreparedData,
    learned: Learned | None,
) -> Path:
    ever = plan.ever()
    trained = frozenset(n for n, _ in classifier.named_parameters() if plan.trains(n, ever))
    facts = ClassifierFacts(
        spec=record.spec,
        class_names=data.facts.class_names,
        max_length=data.facts.max_length,
        padded=data.tokens.train.padded,
        precision=options.precision,
        frozen_sha256=frozen_sha256(classifier, trained),
    )
    with run_directory(options.out, run_name(record)) as directory:
        write_record(directory, record)
        save_classifier(classifier, trained, facts, directory)
        if learned is not None:
            write_predictions(directory, data.splits, learned.probabilities)
        save_curves(record, directory)
    return final_path(directory)


def run(
    experiment: str | Path | ExperimentSpec,
    *,
    dataset: Any = None,
    backbone: Any = None,
    pooling: Any = None,
    head: Any = None,
    freezing: Any = None,
    adapter: Any = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    threads: int | None = None,
    deterministic: bool | None = None,
    assets: str | Path | None = None,
    offline: bool | None = None,
    out: str | Path | None = None,
    plugins: Sequence[str] | None = None,
    dry_run: bool = False,
    observers: Sequence[object] = (),
) -> RunRecord:
    """Run an experiment (a name, a TOML file or a spec) and return its record.

    Components are given as text (``"last-blocks:n=2"``), tables or instances; ``settings`` holds
    anything else in the spec by dotted key (``{"train.lr": 1e-4}``). The other arguments are the
    fields of :class:`clsbench.RunOptions`; what is left out has the default that the command line
    has, environment variables included.

    Raises:
        ClsbenchError: what was asked for is wrong or missing, or the run failed (what it learned
            is stored then).
        KeyboardInterrupt: the run was interrupted (what it learned is stored then).
    """
    changes: dict[str, Any] = dict(settings or {})
    chosen = (dataset, backbone, pooling, head, freezing, adapter)
    changes |= {k: v for k, v in zip(COMPONENT_KEYS, chosen, strict=True) if v is not None}
    if seed is not None:
        changes["seed"] = seed
    given = {
        "device": device,
        "precision": precision,
        "threads": threads,
        "deterministic": deterministic,
        "assets": assets,
        "offline": offline,
        "out": out,
        "plugins": plugins,
    }
    options = default_options({key: value for key, value in given.items() if value is not None})
    catalog = load_catalog(options.plugins)
    base = experiment if isinstance(experiment, ExperimentSpec) else find_spec(experiment, catalog)
    resolved = resolve(base, changes, catalog)
    record = run_experiment(resolved, options, catalog, observers, dry_run).record
    if record.status == "interrupted":
        raise KeyboardInterrupt
    if record.status == "failed":
        raise ClsbenchError(record.error or "the run failed")
    return record
