"""The values passed between the stages of a run. Does not import torch or pandas."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from clsbench.components.labels import Label
from clsbench.schema.record import Shortcut

if TYPE_CHECKING:
    from torch import Tensor

Files = Mapping[str, Path]
"""The paths of a component's assets by :attr:`Asset.key`; complete when they are passed to it."""


class WebFile(msgspec.Struct, frozen=True):
    """A file at a URL, or a member of the zip archive at the URL."""

    url: str
    member: str | None = None


class HubFile(msgspec.Struct, frozen=True):
    """A file in a Hugging Face repository at a pinned revision (a commit hash).

    ``kind``: whether the repository is in the hub's list of models or of data sets.
    """

    repository: str
    filename: str
    revision: str
    kind: Literal["model", "dataset"] = "model"


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A published file that a component needs.

    ``key`` is also its path in an assets folder (``sms-spam/SMSSpamCollection``). ``sources`` are
    tried in order. ``sha256`` is that of the content (of the member, not of the archive); ``None``
    only if a pinned hub revision identifies the content. If ``size_bytes`` is unknown, and for
    archives, at most ``largest_bytes`` are downloaded or unpacked.
    """

    key: str
    sources: tuple[WebFile | HubFile, ...]
    sha256: str | None
    size_bytes: int | None = None
    largest_bytes: int = 1 << 34


class NumericalCheck(msgspec.Struct, frozen=True, kw_only=True):
    """A published figure of pretrained weights, measured on the local files.

    ``expected`` and ``measured`` are texts for display; ``agrees`` is whether they agree within the
    tolerance that ``name`` or ``expected`` states.
    """

    name: str
    expected: str
    measured: str
    agrees: bool


class TextPair(NamedTuple):
    """Two texts that are classified together, such as a premise and a hypothesis."""

    first: str
    second: str

    def joined(self, separator: str) -> str:
        """Both as one text."""
        return f"{self.first}{separator}{self.second}"


Text = str | TextPair
"""What a data set has one label for."""


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled texts, as a data set loads them.

    ``labels[i]`` is an index into ``class_names``. With ``multi_label``, it is the ascending tuple
    of the indices of a text's classes, which may be empty; names of classes are then not empty and
    do not contain ``|``. ``text_pairs[i]``, for a corpus of text pairs, is the second text of the
    pair of which ``texts[i]`` is the first. ``splits[i]``, for a corpus with predefined splits, is
    ``"train"``, ``"validation"`` or ``"test"``. ``groups[i]`` names the group of a text, such as
    its author, for ``data.split=group``; ``times[i]`` is a number that is greater for newer texts,
    such as seconds since 1970, for ``data.split=time``.
    """

    class_names: tuple[str, ...]
    texts: Sequence[str]
    labels: Sequence[Label]
    text_pairs: Sequence[str] | None = None
    splits: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    times: Sequence[float] | None = None
    multi_label: bool = False


class TableFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The format of a file of texts, and which of its columns hold the texts."""

    format: Annotated[
        Literal["csv", "tsv", "jsonl"] | None,
        Meta(description="csv, tsv or jsonl (default: from the file's extension)"),
    ] = None
    delimiter: Annotated[
        Annotated[str, Meta(pattern=r'^[^"\r\n\x00]$')] | None,
        Meta(description="the column separator (default: a comma, in TSV a tab)"),
    ] = None
    quoting: Annotated[
        Literal["default", "none"],
        Meta(description="default: double quotes enclose a field; none: quotes are ordinary text"),
    ] = "default"
    encoding: Annotated[
        str, Meta(min_length=1, description="the character encoding, such as utf-16 or latin-1")
    ] = "utf-8"
    text: Annotated[str, Meta(min_length=1, description="the column that holds the texts")] = "text"
    text_pair: (
        Annotated[
            str, Meta(min_length=1, description="the column of the second texts, for text pairs")
        ]
        | None
    ) = None


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of one split, or its text pairs, with their rows in the corpus."""

    name: str
    rows: tuple[int, ...]
    texts: tuple[Text, ...]
    labels: tuple[Label, ...]

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.rows)


class Splits(msgspec.Struct, frozen=True, kw_only=True):
    """Train, validation and test of one corpus."""

    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    multi_label: bool = False

    def all(self) -> tuple[Split, Split, Split]:
        """The three splits in their usual order."""
        return (self.train, self.validation, self.test)


class ParameterInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a backbone, as a freezing strategy sees it. Tied parameters appear once.

    ``role`` is ``weight``, ``bias``, ``norm`` or ``embedding``; ``stage`` names the part of the
    backbone it belongs to (``embeddings``, ``block.0`` …, ``final_norm``).
    """

    name: str
    stage: str
    role: str
    shape: tuple[int, ...]
    numel: int


class Stage(NamedTuple):
    """One step of a backbone: ``run(hidden, context) -> hidden``, both (B, T, H).

    The first stage receives ``None`` for ``hidden`` and reads the token ids from the context. A
    stage reads only its arguments and does not change the context: earlier stages may not have run
    for this batch, since frozen stages are computed once. State is kept only in parameters (which
    only the optimizer changes), buffers and attributes of the modules.

    Two optional declarations allow computing less. ``positionwise``: the output at a position
    depends only on the input at that position, so the stage accepts any subset of positions (a
    norm, an MLP). ``at_positions(hidden, context, positions (B,)) -> (B, 1, H)``: returns what
    ``run`` returns at one position of each text, at lower cost.
    """

    name: str
    run: Callable[[Tensor | None, Any], Tensor]
    positionwise: bool = False
    at_positions: Callable[[Tensor, Any, Tensor], Tensor] | None = None


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The plan of a run, for observers.

    ``steps`` counts batches; ``trainable_by_epoch`` is empty if it was not counted;
    ``trained_stages`` names the stages (of the backbone, ``pooling``, ``adapter``, ``head``) that
    train in some epoch; ``dropped`` counts by class the texts that ``data.balance`` leaves out.
    """

    experiment: str
    stand_ins: tuple[str, ...]
    components: dict[str, str]
    device: str
    precision: str
    seed: int
    epochs: int
    steps: int
    train_texts: int
    max_length: int
    parameters_total: int
    parameters_trainable: int
    shortcuts: tuple[Shortcut, ...] = ()
    trainable_by_epoch: tuple[int, ...] = ()
    trained_stages: tuple[str, ...] = ()
    dropped: dict[str, int] = {}


class StepReport(msgspec.Struct, frozen=True, kw_only=True):
    """One finished training batch: ``step`` counts from 0, ``loss`` is that batch's.

    ``loss`` is a function, since reading it may have to wait for the device.
    """

    step: int
    epoch: int
    loss: Callable[[], float]
    examples: int
    real_tokens: int


def last_blocks(parameters: Iterable[ParameterInfo], n: int) -> frozenset[str]:
    """The names of the last ``n`` block stages (``{"block.11"}``), or of all if there are fewer."""
    blocks = {p.stage for p in parameters if p.stage.startswith("block.")}
    ordered = sorted(blocks, key=lambda stage: int(stage.removeprefix("block.")))
    return frozenset(ordered[max(len(ordered) - n, 0) :])
