"""The values that flow from one stage of a run to the next. No torch, no pandas."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from clsbench.schema.record import Shortcut

if TYPE_CHECKING:
    from torch import Tensor

Files = Mapping[str, Path]
"""Where each asset of a component lies, by :attr:`Asset.key`; complete when a component sees it."""


class WebFile(msgspec.Struct, frozen=True):
    """A file behind a URL, or one member of the zip archive behind it."""

    url: str
    member: str | None = None


class HubFile(msgspec.Struct, frozen=True):
    """A file in a Hugging Face repository at a pinned revision (a commit hash)."""

    repository: str
    filename: str
    revision: str


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a component needs and that is published somewhere.

    ``key`` is also its place in an assets folder (``sms-spam/SMSSpamCollection``). ``sources`` are
    tried in order. ``sha256`` is that of the content (of the member, not of the archive); ``None``
    only where a pinned hub revision fixes the content. Where ``size_bytes`` is not known, and for
    an archive, no more than ``largest_bytes`` are downloaded or unpacked.
    """

    key: str
    sources: tuple[WebFile | HubFile, ...]
    sha256: str | None
    size_bytes: int | None = None
    largest_bytes: int = 1 << 34


class NumericalCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One published figure of pretrained weights, measured again on the files at hand.

    ``expected`` and ``measured`` are text to be read side by side; ``agrees`` is the verdict,
    within the tolerance that ``name`` or ``expected`` states.
    """

    name: str
    expected: str
    measured: str
    agrees: bool


class Corpus(msgspec.Struct, frozen=True, kw_only=True):
    """Labelled texts as a data set hands them over.

    ``labels[i]`` is an index into ``class_names``. ``splits[i]``, where the corpus comes with
    predefined splits, is ``"train"``, ``"validation"`` or ``"test"``.
    """

    class_names: tuple[str, ...]
    texts: Sequence[str]
    labels: Sequence[int]
    splits: Sequence[str] | None = None


class TableFormat(msgspec.Struct, frozen=True, kw_only=True):
    """The format of a file of texts, and which of its columns holds the texts."""

    format: Annotated[
        Literal["csv", "tsv", "jsonl"] | None,
        Meta(description="csv, tsv or jsonl (default: by the file's ending)"),
    ] = None
    delimiter: Annotated[
        Annotated[str, Meta(pattern=r'^[^"\r\n\x00]$')] | None,
        Meta(description="the column separator (default: a comma, in TSV a tab)"),
    ] = None
    quoting: Annotated[
        Literal["default", "none"],
        Meta(description="default: double quotes enclose a field; none: they are part of it"),
    ] = "default"
    encoding: Annotated[
        str, Meta(min_length=1, description="the character encoding, such as utf-16 or latin-1")
    ] = "utf-8"
    text: Annotated[str, Meta(min_length=1, description="the column that holds the texts")] = "text"


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """The texts of one split, with the row each had in the corpus."""

    name: str
    rows: tuple[int, ...]
    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.rows)


class Splits(msgspec.Struct, frozen=True, kw_only=True):
    """Train, validation and test of one corpus."""

    class_names: tuple[str, ...]
    train: Split
    validation: Split
    test: Split

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
    stage sees nothing but its arguments, and leaves the context as it is: those before it may not
    have run for this batch, since what is frozen is computed once. State lives in parameters (which
    only the optimizer writes), buffers and attributes of the modules, nowhere else.

    Two things a stage may say of itself, so that less need be computed. ``positionwise``: what it
    gives at a position depends on its input at that position alone, so that it takes any choice of
    positions (a norm, an MLP). ``at_positions(hidden, context, positions (B,)) -> (B, 1, H)``:
    what ``run`` gives at one position of each text, for less than all of them.
    """

    name: str
    run: Callable[[Tensor | None, Any], Tensor]
    positionwise: bool = False
    at_positions: Callable[[Tensor, Any, Tensor], Tensor] | None = None


class RunPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is about to do, for those who watch it. ``steps`` counts batches;
    ``trainable_by_epoch`` is empty if it was not counted; ``trained_stages`` names the stages (of
    the backbone, ``pooling``, ``adapter``, ``head``) that train in some epoch; ``dropped`` counts
    by class the texts that ``data.balance`` leaves out."""

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
