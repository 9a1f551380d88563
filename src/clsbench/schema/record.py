"""The record of one run: what was run, under which circumstances, and the results.

Accuracies are fractions, losses mean cross-entropy in nats, times seconds, sizes bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from clsbench.errors import ClsbenchError
from clsbench.schema.experiment import PublishedFigures

SCHEMA_VERSION = 2

NEW_STAGES = ("pooling", "adapter", "head")
"""The stages of a classifier with new parameters, besides those of its backbone."""


class Shortcut(msgspec.Struct, frozen=True, kw_only=True):
    """A way to compute less for the same result: what it does in this run, or why it is
    disabled."""

    name: str
    taken: bool
    detail: str


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Estimated seconds by phase that grow with the amount of work, without loading and plots.

    ``features_seconds`` is the time of the pooled features that baselines classify.
    """

    prefix_seconds: float
    training_seconds: float
    evaluation_seconds: float
    features_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """All of it."""
        fitted = self.prefix_seconds + self.training_seconds + self.evaluation_seconds
        return fitted + self.features_seconds


class StandIn(msgspec.Struct, frozen=True, kw_only=True):
    """An embedded component that replaced one whose assets were unavailable."""

    axis: str
    replaced: str
    by: str
    reason: str


class StageParameters(msgspec.Struct, frozen=True, kw_only=True):
    """Parameter counts of one stage of the classifier."""

    stage: str
    total: int
    trainable: int


class ParameterCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Parameter counts; ``trainable`` counts those that train in any epoch."""

    total: int
    trainable: int
    stages: tuple[StageParameters, ...]
    trainable_by_epoch: tuple[int, ...] = ()

    @property
    def trained_stages(self) -> tuple[str, ...]:
        """The stages with a parameter that trains in some epoch."""
        return tuple(stage.stage for stage in self.stages if stage.trainable)


class Leaked(msgspec.Struct, frozen=True, kw_only=True):
    """How many texts of a split stand word for word in the training split."""

    validation: int
    test: int


class DataFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the run saw of its data. Lengths in tokens.

    ``dropped`` counts by class the texts that ``data.balance`` left out of every split.
    ``sha256`` is a hash of all splits including the texts' places in the corpus; ``texts_sha256``
    holds for each split a hash of its texts and classes only (empty in older records).
    ``multi_label``: texts have any number of classes; ``class_counts`` counts a text once for each.
    ``text_pairs``: each text is a pair of two.
    """

    class_names: tuple[str, ...]
    sizes: dict[str, int]
    class_counts: dict[str, dict[str, int]]
    batches: dict[str, int]
    max_length: int
    padding_fraction: float
    truncated: dict[str, int]
    leaked: Leaked
    sha256: str
    corpus_texts: int
    dropped: dict[str, int] = {}
    texts_sha256: dict[str, str] = {}
    multi_label: bool = False
    text_pairs: bool = False


class StepEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One evaluation point: mean loss over a few batches, after the batch numbered ``step``."""

    step: int
    epoch: int
    examples_seen: int
    train_loss: float
    validation_loss: float
    seconds: float


class EpochEntry(msgspec.Struct, frozen=True, kw_only=True):
    """The accuracies over a few batches at the end of an epoch (counted from 1)."""

    epoch: int
    examples_seen: int
    train_accuracy: float
    validation_accuracy: float
    trainable_parameters: int
    seconds: float


class BeforeTraining(msgspec.Struct, frozen=True, kw_only=True):
    """The untrained classifier by split: accuracy and mean loss over a few batches each."""

    accuracy: dict[str, float]
    loss: dict[str, float]


class ModelSelection(msgspec.Struct, frozen=True, kw_only=True):
    """The choice of an epoch by the whole validation split (``train.select``, ``train.patience``).

    ``scores`` holds the ``metric`` after each epoch that was trained. ``best_epoch`` is the first
    with the best score, ``used_epoch`` the one whose weights are evaluated and stored (counted from
    1; ``None`` if the run did not end). ``stopped_early``: ``train.patience`` ended the training.
    """

    metric: str
    scores: tuple[float, ...] = ()
    best_epoch: int
    used_epoch: int | None = None
    stopped_early: bool = False


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The course of training: what was before it, one entry per evaluation point and per epoch.

    Its losses are always the mean cross-entropy, whatever loss is trained on. ``selection`` is
    ``None`` if the validation split decides nothing.
    """

    before: BeforeTraining | None = None
    steps: tuple[StepEntry, ...] = ()
    epochs: tuple[EpochEntry, ...] = ()
    selection: ModelSelection | None = None


class LabelCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Texts by one class of multi-label data: those that ``both`` have it and are predicted to,
    those ``only_predicted`` to have it, and those ``only_labelled`` with it."""

    both: int
    only_predicted: int
    only_labelled: int

    @property
    def support(self) -> int:
        """The number of texts that have the class."""
        return self.both + self.only_labelled

    @property
    def precision(self) -> float | None:
        """The share of the predicted texts that have the class; ``None`` if there are none."""
        predicted = self.both + self.only_predicted
        return self.both / predicted if predicted else None

    @property
    def recall(self) -> float | None:
        """The share of the texts with the class that are predicted; ``None`` if there are none."""
        return self.both / self.support if self.support else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; ``None`` if no text has or gets the class."""
        total = 2 * self.both + self.only_predicted + self.only_labelled
        return 2 * self.both / total if total else None


class SplitMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """A classifier's metrics on one whole split of ``n`` texts.

    ``interval`` is Wilson's 95 % interval of the accuracy; ``confusion[i][j]`` counts texts of
    class i predicted as j. Macro F1, the mean cross-entropy ``loss``, the expected calibration
    error ``ece`` and the Brier score are ``None`` if the experiment does not list them, and those
    that need probabilities also for a baseline, which gives none. ``scores`` holds further metrics
    by name; one that is undefined is missing. ``intervals`` holds the 95 % bootstrap interval of
    the primary metric, on validation and test, if that is not the accuracy. ``without_leaked``
    holds the same metrics on the texts that do not stand in the training split, if any do.

    For multi-label data, a text is correct if exactly its classes are predicted; ``loss`` is the
    binary cross-entropy, a mean over texts and classes; and ``label_counts`` of each class stand in
    place of the confusion matrix.
    """

    n: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    macro_f1: float | None = None
    confusion: tuple[tuple[int, ...], ...]
    loss: float | None = None
    ece: float | None = None
    brier: float | None = None
    scores: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    without_leaked: SplitMetrics | None = None
    label_counts: tuple[LabelCounts, ...] = ()

    @property
    def accuracy_without_leaked(self) -> float | None:
        """The accuracy on the texts that do not stand in the training split."""
        return self.without_leaked.accuracy if self.without_leaked is not None else None


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The figures on all three splits."""

    train: SplitMetrics
    validation: SplitMetrics
    test: SplitMetrics


class BaselineResult(msgspec.Struct, frozen=True, kw_only=True):
    """A baseline on the same splits; ``title`` is its name in reports.

    ``seconds`` is the time of fitting it and classifying all texts, ``prediction_seconds`` that of
    classifying alone, with the features that it needs (``None`` if they were cached).
    ``probabilities``: its probabilities of the classes are stored beside its predictions.
    """

    component: str
    metrics: Metrics
    seconds: float
    prediction_seconds: float | None = None
    title: str = ""
    probabilities: bool = False


class Throughput(msgspec.Struct, frozen=True, kw_only=True):
    """Training throughput, without evaluations; real tokens exclude padding."""

    examples_per_second: float
    real_tokens_per_second: float
    padded_tokens_per_second: float


class KeptActivations(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about the frozen prefix: the distinct texts and the sources of their activations.

    ``computed`` texts were computed in this run, ``continued`` of them from kept activations of an
    earlier stage. ``found`` texts were in the cache of earlier runs; ``found_seconds`` is the time
    that computing the activations of earlier runs took there (``None`` if it is unknown).
    ``recomputed`` counts repeated computations of texts that could not be kept.
    """

    texts: int
    distinct: int
    computed: int
    found: int
    found_seconds: float | None = None
    continued: int = 0
    recomputed: int
    memory_bytes: int
    disk_bytes: int


class FastPath(msgspec.Struct, frozen=True, kw_only=True):
    """All shortcuts, enabled or not, and facts about kept activations (``None`` before the run, or
    if there are none)."""

    shortcuts: tuple[Shortcut, ...]
    kept: KeptActivations | None = None


class ComponentIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Where a component of this run comes from, and what determines its behaviour besides options.

    ``source_sha256`` is a hash of its source and of the plugin's own modules that it imports; it is
    set if the version does not identify the code: for plugins named by file or module (which have
    no version) and editable installs. ``libraries`` maps its declared libraries to their installed
    versions; ``files`` maps the options' texts that name files to the hashes of these files.
    ``parts`` are the components in its options, by option; their files are in ``files`` too.
    """

    axis: str
    component: str
    distribution: str
    version: str | None
    source_sha256: str | None = None
    libraries: dict[str, str] = {}
    files: dict[str, str] = {}
    parts: dict[str, ComponentIdentity] = {}


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of a run."""

    device: str
    device_name: str
    precision: str
    threads: int
    deterministic: bool
    clsbench: str
    python: str
    torch: str
    platform: str
    cpu: str
    cpu_count: int
    memory_bytes: int
    gpus: tuple[str, ...] = ()
    cuda: str | None = None
    git_commit: str | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about one run.

    ``status`` is ``finished``, ``interrupted``, ``failed`` or ``planned`` (a dry run). Runs with
    equal ``fingerprint`` did the same experiment; with equal ``run_key`` also on the same kind of
    device, in the same precision, with the same seed. ``precision_deviation`` is the largest
    difference of a batch's loss from that in fp32, before training, where bf16 was asked for.
    ``prediction_seconds`` is the time to classify all texts of all splits after training, without
    that of the frozen prefix.
    ``full_batch``: each step took the whole training split. ``files_sha256`` holds the hashes of
    the files beside the record that are read again. Relative paths in ``spec`` start in
    ``working_directory``. ``thresholds`` by class, for multi-label data, are chosen on the
    validation split: a class is predicted if its probability is at least its threshold.
    """

    schema_version: int = SCHEMA_VERSION
    status: str
    experiment: str
    fingerprint: str
    run_key: str
    created: str
    spec: dict[str, Any]
    spec_fingerprint: str
    modified: bool
    published: PublishedFigures | None = None
    stand_ins: tuple[StandIn, ...]
    plugins: tuple[ComponentIdentity, ...]
    environment: Environment
    data: DataFacts | None = None
    parameters: ParameterCounts | None = None
    memory_bytes_expected: int | None = None
    peak_memory_bytes: int | None = None
    assets: dict[str, str] = {}
    history: History | None = None
    metrics: Metrics | None = None
    thresholds: dict[str, float] = {}
    baselines: tuple[BaselineResult, ...] = ()
    phases_seconds: dict[str, float] = {}
    throughput: Throughput | None = None
    prediction_seconds: float | None = None
    fast_path: FastPath | None = None
    full_batch: bool = False
    precision_deviation: float | None = None
    files_sha256: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    working_directory: str | None = None
    error: str | None = None


class RunNotStoredError(ClsbenchError):
    """A run ended but could not be stored. ``record`` holds its results."""

    def __init__(self, reason: str, record: RunRecord) -> None:
        super().__init__(reason)
        self.record = record
