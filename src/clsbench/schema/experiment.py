"""What to run: the specification of an experiment, its text forms and its overrides.

*Where and how* to run it (device, threads, assets …) is in ``options.py``.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from msgspec import Meta

from clsbench.errors import UsageError
from clsbench.schema.convert import convert
from clsbench.schema.decoding import DecodingError, decode_toml
from clsbench.schema.training import ComponentTable, TrainSettings

SplitName = Literal["stratified", "group", "time", "predefined", "book", "book-ablation"]
"""The ways to divide a corpus."""


class SplitSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the corpus is divided; the rest after train and validation is the test split.

    If ``name`` is not set, the data set's default is filled in when the spec is resolved.
    """

    name: Annotated[
        SplitName | None,
        Meta(
            description="stratified: each class divided by the shares; group: no group in two"
            " splits; time: oldest texts for training, newest for testing; predefined: the corpus'"
            " own test split, validation cut from its train; book: shuffle once, then cut;"
            " book-ablation: shuffle twice (the bonus script) (default: the data set's)"
        ),
    ] = None
    train: Annotated[float, Meta(gt=0, lt=1, description="share of the texts to train on")] = 0.7
    validation: Annotated[
        float, Meta(gt=0, lt=1, description="share of the texts for validation")
    ] = 0.1
    seed: Annotated[
        int, Meta(ge=0, le=2**32 - 1, description="seed of balancing and shuffling")
    ] = 123


class DataSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How texts become splits and token rows.

    If ``balance`` is not set, the data set's default is filled in when the spec is resolved.
    """

    split: SplitSettings = SplitSettings()
    balance: Annotated[
        bool | None,
        Meta(
            description="sample every class down to the size of the smallest (default: set by the"
            " data set)"
        ),
    ] = None
    train_size: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="number of training texts, drawn from the training split so that classes"
            " keep their shares; larger sizes contain the smaller ones (default: all)"
        ),
    ] = None
    padding: Annotated[
        Annotated[int, Meta(ge=1)] | Literal["longest-train", "context", "none"],
        Meta(
            description="pad and truncate every text to the longest training text (of the whole"
            " split, whatever data.train_size is), to this many tokens, to the backbone's context,"
            " or not at all (requires train.batch_size=1)"
        ),
    ] = "longest-train"
    pair_separator: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="text between the two texts of a pair, for backbones without special tokens"
            " for that and for baselines that read texts (default: a line break)"
        ),
    ] = None


PublishedAccuracy = dict[
    Annotated[str, Meta(pattern=r"^(train|validation|test)\Z")],
    Annotated[float, Meta(ge=0, le=1)],
]
"""A fraction by split."""


class PublishedFigures(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Figures published for exactly this experiment, shown beside the measured ones.

    Accuracies are fractions by split; ``losses`` are rows of step, train and validation loss.
    """

    source: str
    conditions: str
    accuracy: PublishedAccuracy
    accuracy_before: PublishedAccuracy = {}
    loss_before: dict[str, float] = {}
    losses: tuple[tuple[int, float, float], ...] = ()


ACCURACY = "accuracy"
"""The default primary metric."""

DEFAULT_METRICS = (ACCURACY, "log-loss", "macro-f1", "mcc", "ece", "brier")
"""The metrics of an experiment that does not list any."""


class ExperimentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole experiment: one component per axis, the data's and the training's settings.

    Components may be written ``"last-blocks:n=2"`` or as a table ``{name = "last-blocks", n = 2}``;
    a resolved spec holds tables with every option written out. ``stand_ins`` are the axes that use
    an embedded stand-in unless a component is chosen.
    """

    name: Annotated[str, Meta(description="name of the experiment")] = ""
    description: str = ""
    dataset: str | ComponentTable
    backbone: str | ComponentTable
    pooling: str | ComponentTable = "last-token"
    head: str | ComponentTable = "linear"
    freezing: str | ComponentTable = "last-blocks"
    adapter: str | ComponentTable | None = None
    baselines: tuple[str | ComponentTable, ...] = ("majority", "tfidf-logreg", "frozen-logreg")
    metrics: Annotated[
        tuple[str, ...] | None,
        Meta(description="metrics in tables; no effect on the result (default: by the data set)"),
    ] = None
    metric: Annotated[
        str | None,
        Meta(
            description="primary metric: it orders tables, has an interval, and is tested; it"
            " affects the result only if it selects a model (default: accuracy or, for any number"
            " of labels per text, micro-f1)"
        ),
    ] = None
    data: DataSettings = DataSettings()
    train: TrainSettings = TrainSettings()
    seed: Annotated[
        int,
        Meta(
            ge=0,
            le=2**32 - 1,
            description="seed of a random backbone, the head and training, not of the split",
        ),
    ] = 123
    stand_ins: tuple[Literal["dataset", "backbone"], ...] | None = None
    published: PublishedFigures | None = None

    def identity(self) -> dict[str, Any]:
        """What decides the result, seed included: all but names and published figures."""
        return identity_of(to_tree(self))


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A freezing strategy and an adapter under one name.

    ``--method lora`` stands for ``--freezing`` and ``--adapter`` together; a method without an
    adapter removes that of the experiment. Specs and records hold only these two.
    """

    freezing: str | ComponentTable
    adapter: str | ComponentTable | None = None
    description: str = ""

    def changes(self) -> dict[str, Any]:
        """What the method changes in a spec."""
        return {"freezing": self.freezing, "adapter": self.adapter or "none"}


def fingerprint(value: Any) -> str:
    """A short stable hash of plain values (64 bits, hexadecimal)."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:16]


# --- components in text -----------------------------------------------------------------------


def parse_component(text: str) -> ComponentTable:
    """Read ``name:option=value,…``; an option that contains a comma must be in double quotes.

    Raises:
        UsageError: the text has another form.
    """
    name, _, rest = text.partition(":")
    table: ComponentTable = {"name": name.strip()}
    if not table["name"]:
        raise UsageError(f"component {text!r} has no name; write name or name:option=value,…")
    for part in comma_separated(rest, f"component {text!r}"):
        option, equals, value = part.partition("=")
        if not equals or not option.strip():
            raise UsageError(
                f"component {text!r}: {part!r} is not an option=value pair; write "
                "name:option=value,… and put an option that contains a comma in double quotes: "
                'name:"path=a,b.csv"'
            )
        if option.strip() in table:
            raise UsageError(f"component {text!r} sets the option {option.strip()!r} twice")
        table[option.strip()] = value
    return table


def comma_separated(values: str, source: str) -> list[str]:
    """Split ``a=1,"b=2,3"`` at the commas that are not in double quotes, as in a line of CSV.

    Raises:
        UsageError: it cannot be read; ``source`` names it.
    """
    try:
        found = csv.reader([values], skipinitialspace=True, strict=True)
        return next(found, []) if values.strip() else []
    except csv.Error as error:
        problem = str(error)
        if problem in ("unexpected end of data", "',' expected after '\"'"):
            problem = (
                "a double quote is not closed, or text follows a closed one; put the whole part "
                "that contains a comma in double quotes, and double those within it"
            )
        raise UsageError(f"{source[:200]} cannot be read: {problem}") from None


def format_component(choice: str | ComponentTable) -> str:
    """A component as text, ``name:option=value,…``; an array or a table is written as in TOML."""
    table = component_table(choice)

    def part(option: str, value: Any) -> str:
        text = f"{option}={value if isinstance(value, str) else inline_toml(value)}"
        return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text

    options = ",".join(part(k, v) for k, v in table.items() if k != "name" and v is not None)
    return f"{table['name']}:{options}" if options else str(table["name"])


def component_table(choice: str | ComponentTable) -> ComponentTable:
    """A component in either text form as a table."""
    return parse_component(choice) if isinstance(choice, str) else choice


def inline_toml(value: Any) -> str:
    """A plain value on one line, as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        pairs = (f"{inline_toml(key)} = {inline_toml(each)}" for key, each in value.items())
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(inline_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value)


# --- trees: plain nested dicts, as TOML has them -------------------------------------------------

COMPONENT_KEYS = (
    *("dataset", "backbone", "pooling", "head", "freezing", "adapter"),
    *("train.optimizer", "train.schedule", "train.loss"),
)
"""The keys of a spec that hold one component each, with dots for nested keys."""


def value_at(tree: Mapping[str, Any], key: str) -> Any:
    """The value at a dotted key; ``None`` if there is none."""
    value: Any = tree
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def with_value(tree: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of the tree with ``value`` at a dotted key."""
    first, _, rest = key.partition(".")
    return {**tree, first: with_value(tree.get(first, {}), rest, value) if rest else value}


def to_tree(spec: ExperimentSpec) -> dict[str, Any]:
    """The spec as plain values that TOML can represent, with components as tables."""
    tree: dict[str, Any] = msgspec.to_builtins(spec)
    for key in COMPONENT_KEYS:
        if (choice := value_at(tree, key)) is not None:
            tree = with_value(tree, key, component_table(choice))
    tree["baselines"] = [component_table(choice) for choice in tree["baselines"]]
    plain: dict[str, Any] = without_none(tree)
    return plain


def identity_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a spec's plain values that decides the result.

    Metrics are computed from predictions; the primary one is a part if it selects a model.
    """
    left_out = {"name", "description", "published", "metrics"}
    if not metric_selects(tree):
        left_out.add("metric")
    return {k: v for k, v in tree.items() if k not in left_out}


def metric_selects(tree: Mapping[str, Any]) -> bool:
    """Whether the primary metric selects the weights or the end of training."""
    train = tree.get("train", {})
    return train.get("select", "last") != "last" or bool(train.get("patience"))


def without_none(value: Any) -> Any:
    """Plain values without the keys that hold ``None``, which TOML does not have."""
    if isinstance(value, dict):
        return {k: without_none(v) for k, v in value.items() if v is not None}
    return [without_none(v) for v in value] if isinstance(value, list | tuple) else value


def from_tree(tree: Mapping[str, Any], source: str) -> ExperimentSpec:
    """Validate plain values as a spec; ``source`` names where they come from in errors.

    Raises:
        UsageError: an unknown key, a wrong type, or a value out of range.
    """
    tree = dict(tree)
    if isinstance(data := tree.get("data"), Mapping):
        if "quoting" in data:
            raise UsageError(
                f"{source}: data.quoting has become an option of the data set; set "
                f"dataset.quoting = {data['quoting']!r} instead"
            )
        if isinstance(data.get("split"), str):
            tree["data"] = {**data, "split": parse_component(data["split"])}
    return convert(tree, ExperimentSpec, source)


def toml_tree(text: str, source: str) -> dict[str, Any]:
    """The plain values of a TOML file.

    Raises:
        UsageError: with the offending line where the syntax is wrong.
    """
    try:
        return decode_toml(text)
    except DecodingError as error:
        raise UsageError(f"{source} is not valid TOML: {error}") from None


def parse_toml(text: str, source: str) -> ExperimentSpec:
    """Read a spec from TOML.

    Raises:
        UsageError: with the offending line where the syntax is wrong.
    """
    tree = toml_tree(text, source)
    return from_tree({"name": Path(source).stem, **tree}, source)


def format_toml(spec: ExperimentSpec) -> str:
    """The complete spec as TOML that :func:`parse_toml` reads back."""
    return tomli_w.dumps(to_tree(spec))


def override(spec: ExperimentSpec, changes: Mapping[str, Any]) -> ExperimentSpec:
    """The spec with dotted keys set: ``{"train.lr": 1e-4, "freezing": "last-blocks:n=2"}``.

    A replaced component starts from its own defaults; its options are set afterwards, independent
    of their order. ``adapter=none`` removes the adapter.

    Raises:
        UsageError: an unknown key or an invalid value.
    """
    tree = to_tree(spec)
    for key, value in sorted(changes.items(), key=lambda change: change[0].count(".")):
        if key == "name" and isinstance(value, str) and not value.strip():
            raise UsageError(f"name = {value!r}: an experiment's name cannot be empty")
        *parents, last = key.split(".")
        node = tree
        for depth, parent in enumerate(parents):
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                whole = ".".join(parents[: depth + 1])
                raise UsageError(f"{key} cannot be set: {whole} holds a value, not a table")
        if key == "adapter" and value in ("none", None):
            node.pop(last, None)
        elif key in (*COMPONENT_KEYS, "data.split") and isinstance(value, str):
            node[last] = parse_component(value)
        else:
            node[last] = value
    tree = without_stand_ins(tree, {key.partition(".")[0] for key in changes})
    return from_tree(tree, "the experiment with your changes")


def without_stand_ins(tree: Mapping[str, Any], axes: Collection[str]) -> dict[str, Any]:
    """A copy of the tree whose ``stand_ins`` lack these axes."""
    kept = [axis for axis in tree.get("stand_ins") or () if axis not in axes]
    tree = {**tree, "stand_ins": kept}
    return tree if kept else {key: tree[key] for key in tree if key != "stand_ins"}
