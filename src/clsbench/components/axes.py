"""What a component is, and the axes of an experiment that components fill.

A component is a frozen struct: its fields are its options, its docstring is its help text, its
one main method is its behaviour. Validation, ``clsbench list``, the TOML form and the command-line
form (``last-blocks:n=2``) all derive from the class.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    Protocol,
    runtime_checkable,
)

from clsbench.components.component import Component, unwritten
from clsbench.components.labels import Task
from clsbench.components.metric import Metric
from clsbench.components.outer_axes import Executor, Exporter
from clsbench.components.tokenizers import Tokenizer
from clsbench.components.training_axes import Loss, Optimizer, Schedule
from clsbench.components.tuner import Tuner
from clsbench.components.values import (
    Asset,
    Corpus,
    Files,
    NumericalCheck,
    ParameterInfo,
    Stage,
    TableFormat,
)
from clsbench.errors import UsageError
from clsbench.schema.experiment import ExperimentSpec, Method, SplitName
from clsbench.schema.suite import SuiteSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from clsbench.model.packing import Packing


class Dataset(Component, frozen=True):
    """Loads labelled texts."""

    def default_split(self) -> SplitName:
        """The ``data.split.name`` of experiments that do not set it."""
        return "stratified"

    def default_balance(self) -> bool:
        """The ``data.balance`` of experiments that do not set it."""
        return False

    def task(self) -> Task:
        """The shape of the labels: ``multi-label`` if its corpus has ``multi_label`` set.

        It chooses the default loss and the default metrics.
        """
        return "single-label"

    def load(self, files: Files) -> Corpus:
        """Read the corpus.

        Python's and NumPy's global generators are seeded with ``data.split.seed`` beforehand.

        Raises:
            UsageError: a file of the user is not valid.
        """
        raise unwritten(self, "load")

    def table_format(self) -> TableFormat:
        """The format in which ``clsbench predict --csv`` reads texts for a run on this data set.

        A data set that reads a file of the user returns the format of that file.
        """
        return TableFormat()


class BackboneModule(Protocol):
    """The torch module that a backbone builds: stages from token ids to hidden states."""

    hidden_size: int
    context_length: int

    @property
    def attends_to_padding(self) -> bool:
        """Whether the hidden states of real tokens depend on the padding after the text."""
        ...

    def prepare(self, input_ids: Tensor, lengths: Tensor) -> Any:
        """Deterministic context for the stages. ``input_ids`` (B, T), ``lengths`` (B,), int64."""
        ...

    def stages(self) -> Sequence[Stage]:
        """The stages in order; together they give hidden states (B, T, H)."""
        ...


@runtime_checkable
class PackingBackboneModule(BackboneModule, Protocol):
    """A backbone module whose stages also accept packed texts, without padding."""

    def prepare_packed(self, input_ids: Tensor, packing: Packing) -> Any:
        """A context with which every stage maps (N, H) to (N, H), ``input_ids`` being (N,).

        The output equals that of :meth:`prepare` at the real tokens. ``at_positions`` still
        returns (B, 1, H), with positions counted within each text.
        """
        ...


class Backbone(Component, frozen=True):
    """Builds a tokenizer, and a module of ordered stages."""

    def tokenizer_assets(self) -> tuple[Asset, ...]:
        """The subset of :meth:`assets` that the tokenizer needs (a dry run loads no weights)."""
        return self.assets()

    def with_files(self, files: Files) -> Backbone:
        """The backbone to use once its files are available; ``files`` as for :meth:`tokenizer`.

        Called before all other methods except those for files and stand-ins, so that a backbone
        can read its shape from an asset. By default the backbone itself.
        """
        return self

    def tokenizer(self, files: Files) -> Tokenizer:
        """Build the tokenizer from its assets."""
        raise unwritten(self, "tokenizer")

    def context_length(self) -> int:
        """The longest text the backbone can read, in tokens."""
        raise unwritten(self, "context_length")

    def hidden_size(self) -> int:
        """The number of features per position, H."""
        raise unwritten(self, "hidden_size")

    def describe(self) -> tuple[ParameterInfo, ...]:
        """The parameters of :meth:`skeleton` in their order, with stage and role."""
        raise unwritten(self, "describe")

    def skeleton(self) -> nn.Module:
        """The module of :meth:`build` on the meta device: shapes without data, made at once."""
        raise unwritten(self, "skeleton")

    def build(self, files: Files) -> nn.Module:
        """Build the module (a :class:`BackboneModule`) on the CPU in float32.

        Random weights are drawn from PyTorch's global generator, which the runner has seeded.

        Raises:
            UsageError: a checkpoint that the user named does not fit.
        """
        raise unwritten(self, "build")

    def cache_facts(self, value: object) -> object:
        """Plain values that identify ``value``, an object that a module of the backbone holds.

        For a Hugging Face config, ``value.to_dict()``; for an unknown object ``None``: then the
        activations are not cached across runs.
        """
        return None

    def numerical_checks(self, files: Files) -> tuple[NumericalCheck, ...]:
        """Compare the weights in ``files`` with figures published for the pretrained weights.

        Called by ``clsbench assets verify --numerics`` and by the first run after a download:
        a hash proves that the right file arrived; this proves that it is loaded correctly. Builds
        the module from ``files``, which holds all of :meth:`assets`, on the CPU in float32, and
        restores PyTorch's global generator. Empty if no figures are published, as for random
        weights. A figure that differs is returned with ``agrees=False``, not raised.
        """
        return ()


class Pooling(Component, frozen=True):
    """Builds a module that turns the hidden states of a text into one vector."""

    def build(self, hidden_size: int) -> nn.Module:
        """A module ``(hidden (B, T, H), lengths (B,) int64) -> (B, H)``; it may have parameters.

        Every run first builds and runs it on torch's meta device, where tensors have no values:
        ``forward`` must not read values (no ``lengths.tolist()``, no ``if`` on a tensor).
        """
        raise unwritten(self, "build")

    def positions(self, lengths: Tensor, padded_length: int) -> Tensor | None:
        """The one position read of each text, (B,) int64, or ``None`` if it reads several.

        A position promises that the module returns the same result for that position alone, as
        texts (B, 1, H) of length 1. Other positions may then not be computed.
        """
        return None

    def reads_padding(self) -> bool:
        """Whether the result depends on the values or the number of padding positions.

        If not, a batch may be trimmed to its longest text or padded to any greater width.
        """
        raise unwritten(self, "reads_padding")


class Head(Component, frozen=True):
    """Builds the module that turns the pooled vector into class logits."""

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        """A module (B, H) → (B, C), drawn from PyTorch's global generator.

        Every run first builds and runs it on torch's meta device, where tensors have no values.
        """
        raise unwritten(self, "build")


class FreezingStrategy(Component, frozen=True):
    """Selects the parameters of the backbone to train. A pure function, without torch.

    Python's and NumPy's global generators are seeded with the run's seed before ``trainable`` is
    called for the first epoch, so that random choices are the same each time a run is planned.

    New parameters (head, pooling, adapter) always train and are not in the list.
    """

    def trainable(self, parameters: Sequence[ParameterInfo]) -> Iterable[str]:
        """The names of the parameters to train (at some epoch, for one that changes over time)."""
        raise unwritten(self, "trainable")

    def trainable_at(self, parameters: Sequence[ParameterInfo], epoch: int) -> Iterable[str]:
        """The names to train in ``epoch`` (counted from 0); a subset of :meth:`trainable`."""
        return self.trainable(parameters)


class Adapter(Component, frozen=True):
    """Adds modules or parameters to the classifier before freezing."""

    def apply(self, classifier: nn.Module) -> None:
        """Add modules or parameters in place, keeping the names of the existing parameters.

        Every run first applies it to a classifier on torch's meta device, so create new tensors on
        the device of the module that they extend. Hooks cannot pass values from a frozen stage to a
        later one, since frozen stages are not recomputed. Keep state that changes during forward
        passes (a step count, a generator) in buffers or plain attributes of modules. Declare
        ``stateful = True`` if state is kept elsewhere, or if the result for a text depends on the
        other texts of its batch.
        """
        raise unwritten(self, "apply")

    def merge(self, classifier: nn.Module) -> None:
        """Put what :meth:`apply` has added into the classifier's own parameters, in place.

        The classifier then has the modules and names of one without the adapter, and the same
        logits up to rounding. ``clsbench export`` needs this for formats without adapters.

        Raises:
            UsageError: the adapter cannot be merged.
        """
        raise UsageError(
            f"the adapter {type(self).__name__} cannot be merged into the classifier's own "
            "parameters; train without --adapter, for example with --freezing last-blocks"
        )

    def cache_facts(self, value: object) -> object:
        """Plain values that identify ``value``, an object that a module that it adds holds.

        For a Hugging Face config, ``value.to_dict()``; for an unknown object ``None``: then the
        activations are not cached across runs.
        """
        return None


BaselineInputs = Literal["texts", "pooled-features"]


class Baseline(Component, frozen=True):
    """A cheap classifier, reported beside the model.

    ``inputs: ClassVar`` is what its estimator classifies. ``"texts"``: the raw texts.
    ``"pooled-features"``: the input of the head, (N, H) float32, from the run's backbone, adapter
    and pooling before training, so with pretrained or initial weights.

    ``tasks: ClassVar`` are the shapes of labels that it can learn. For ``multi-label`` data, labels
    and predictions are (N, C) bool.
    """

    inputs: ClassVar[BaselineInputs] = "texts"
    tasks: ClassVar[tuple[Task, ...]] = ("single-label",)

    def build(self, seed: int) -> Any:
        """A scikit-learn style estimator: ``fit(texts, labels)``, ``predict(texts)``.

        With pooled features, ``fit(features, labels, validation_features, validation_labels)`` and
        ``predict(features)``. Labels are (N,) int64.

        If it also has ``predict_proba``, which returns the probabilities of the classes (N, C), for
        ``multi-label`` data independent ones, the baseline has metrics that need probabilities.
        All other figures are those of what ``predict`` returns.

        ``seed`` is the run's seed; the estimator's randomness must depend on it alone. The global
        generators of Python, NumPy and PyTorch are also seeded with it before each call.
        """
        raise unwritten(self, "build")

    def from_state(self, state: Mapping[str, Any]) -> Any:
        """The fitted estimator whose ``state()`` returned ``state``; it can predict.

        An estimator with a method ``state()`` is stored with its run, for ``clsbench predict
        --baseline``. The state is a mapping from text to NumPy arrays of finite numbers, or to
        values that JSON represents exactly: numbers, text, true, false, null, lists, and mappings
        with text as keys.
        """
        raise unwritten(self, "from_state")

    def title(self) -> str:
        """The title in reports, such as ``TF-IDF + logistic regression``; if empty, its name."""
        return ""


METHOD = "method"
"""The key of a change that names a method; resolving replaces it by freezing and adapter."""


def option_of(key: str) -> str:
    """The command-line option of a component's key: ``--optimizer`` for ``train.optimizer``."""
    return f"--{key.rpartition('.')[2]}"


class Axis(NamedTuple):
    """One axis of the catalog: ``name`` in the plural, ``singular``, and its key in a spec.

    ``kind`` is the class that components of this axis derive from (``ExperimentSpec`` itself for
    experiments, ``SuiteSpec`` for suites, ``Method`` for methods); ``spec_key``, with dots for a
    nested key, is ``None`` where a spec holds no single choice.
    """

    name: str
    singular: str
    spec_key: str | None
    kind: type[Component] | type[ExperimentSpec] | type[SuiteSpec] | type[Method]

    @property
    def change_key(self) -> str | None:
        """The key that chooses from this axis in changes to a spec."""
        return self.singular if self.kind in (Method, Metric) else self.spec_key

    @property
    def option(self) -> str | None:
        """The command-line option that chooses from this axis: ``--freezing``."""
        return self.change_key and option_of(self.change_key)

    @property
    def hook(self) -> str:
        """The name of the hook that registers components of this axis."""
        return f"clsbench_register_{self.name}"


AXES: tuple[Axis, ...] = (
    Axis("datasets", "dataset", "dataset", Dataset),
    Axis("backbones", "backbone", "backbone", Backbone),
    Axis("poolings", "pooling", "pooling", Pooling),
    Axis("heads", "head", "head", Head),
    Axis("freezing_strategies", "freezing_strategy", "freezing", FreezingStrategy),
    Axis("adapters", "adapter", "adapter", Adapter),
    Axis("methods", "method", None, Method),
    Axis("optimizers", "optimizer", "train.optimizer", Optimizer),
    Axis("schedules", "schedule", "train.schedule", Schedule),
    Axis("losses", "loss", "train.loss", Loss),
    Axis("baselines", "baseline", None, Baseline),
    Axis("experiments", "experiment", None, ExperimentSpec),
    Axis("suites", "suite", None, SuiteSpec),
    Axis("executors", "executor", None, Executor),
    Axis("exporters", "exporter", None, Exporter),
    Axis("tuners", "tuner", None, Tuner),
    Axis("metrics", "metric", None, Metric),
)
"""Every axis, in the order in which ``clsbench list`` shows them."""
