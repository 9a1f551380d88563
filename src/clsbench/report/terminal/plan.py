"""The plan of a run: the banner printed before it, and the output of a dry run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from clsbench.components.values import RunPlan
from clsbench.report.wording import dropped_text, listed, percent, plain
from clsbench.schema.quantities import size_text
from clsbench.schema.record import (
    NEW_STAGES,
    DataFacts,
    ParameterCounts,
    RunRecord,
    Shortcut,
    StageParameters,
    StandIn,
)

_MOST_STAGES = 4
"""Longer lists of stages are abbreviated."""
_STAND_IN_NOTE = (
    "This is not the real experiment: the results are those of embedded stand-ins and are never "
    "compared with published results."
)


def plan_banner(plan: RunPlan) -> RenderableType:
    """The plan of a run, preceded by its stand-ins."""
    batches = f"{plan.steps:,} batch{'' if plan.steps == 1 else 'es'}"
    epochs = f"{plan.epochs} epoch{'' if plan.epochs == 1 else 's'}"
    facts = [
        *((key.rpartition(".")[2], plain(text)) for key, text in plan.components.items()),
        ("device", plain(f"{plan.device}, {plan.precision}, seed {plan.seed}")),
        (
            "training",
            Text(
                f"{epochs}, {batches} from {plan.train_texts:,} texts of up to "
                f"{plan.max_length:,} tokens"
            ),
        ),
        *_dropped_facts(plan.dropped),
        ("parameters", _trained(plan.parameters_trainable, plan.parameters_total)),
        *_adapter_facts(adapter_note(plan.components.get("adapter"), plan.trained_stages)),
        *shortcut_facts(plan.shortcuts),
    ]
    return Group(
        *_stand_in_texts(plan.stand_ins), plain(plan.experiment, "bold"), fact_table(facts)
    )


def stand_in_panel(stand_ins: Sequence[StandIn]) -> RenderableType:
    """A panel that names each stand-in and what it replaces."""
    return Group(*_stand_in_texts([stand_in_text(stand_in) for stand_in in stand_ins]))


def stand_in_text(stand_in: StandIn) -> str:
    """``dataset: synthetic-sms in place of sms-spam (offline, …)``."""
    return f"{stand_in.axis}: {stand_in.by} in place of {stand_in.replaced} ({stand_in.reason})"


def _stand_in_texts(texts: Sequence[str]) -> list[RenderableType]:
    if not texts:
        return []
    lines = [plain(text) for text in texts]
    return [
        Panel(
            Group(*lines, Text(_STAND_IN_NOTE, "bold")),
            title="STAND-INS",
            title_align="left",
            border_style="yellow",
            box=box.HEAVY,
        )
    ]


def shortcut_facts(shortcuts: Iterable[Shortcut]) -> list[tuple[str, RenderableType]]:
    """Each shortcut with what it saves, or with the reason why it is not used."""
    lines = [
        plain(f"{s.name}: {s.detail}") if s.taken else plain(f"no {s.name}: {s.detail}", "dim")
        for s in shortcuts
    ]
    return [("fast path" if number == 0 else "", line) for number, line in enumerate(lines)]


def fact_table(facts: Iterable[tuple[str, RenderableType]]) -> Table:
    """A table of names and values."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(plain(f"  {name}"), value)
    return table


def data_facts(data: DataFacts) -> list[tuple[str, RenderableType]]:
    """Sizes, classes, padding, truncated texts and leaked texts."""
    sizes = [f"{size:,} {name}" for name, size in data.sizes.items()]
    facts = [
        (
            "text pairs" if data.text_pairs else "texts",
            Text(f"{listed(sizes)}, from a corpus of {data.corpus_texts:,}"),
        ),
        *_dropped_facts(data.dropped),
        ("classes", plain(_class_counts(data))),
        (
            "tokens",
            Text(
                f"{data.max_length:,} per text; {percent(data.padding_fraction)} of the training "
                "tokens are padding"
            ),
        ),
    ]
    cut = [f"{count:,} in {name}" for name, count in data.truncated.items() if count]
    if cut:
        text = f"{listed(cut)}, to {data.max_length:,} tokens"
        facts.append(("truncated", Text(text)))
    facts.append(("leaked", leaked_text(data)))
    return [*facts]


def _dropped_facts(dropped: Mapping[str, int]) -> list[tuple[str, RenderableType]]:
    return [("left out", plain(dropped_text(dropped)))] if dropped else []


def leaked_text(data: DataFacts) -> Text:
    """How many validation and test texts occur word for word in the training split."""
    counts = {"validation": data.leaked.validation, "test": data.leaked.test}
    parts = [f"{n:,} of {data.sizes[name]:,} {name}" for name, n in counts.items() if n]
    if not parts:
        return Text("no validation or test text occurs in the training split")
    return Text(f"{listed(parts)} texts occur word for word in the training split")


def _class_counts(data: DataFacts, most: int = 6) -> str:
    train = data.class_counts.get("train", {})
    parts = [f"{name} {train.get(name, 0):,}" for name in data.class_names[:most]]
    if len(data.class_names) > most:
        parts.append(f"and {len(data.class_names) - most} more")
    return f"{', '.join(parts)} (in train)"


def _trained(trainable: int, total: int) -> Text:
    share = f" ({percent(trainable / total)})" if total else ""
    return Text(f"{trainable:,} of {total:,} trained{share}")


def recorded_adapter_note(record: RunRecord) -> str | None:
    """:func:`adapter_note` for a planned or stored run."""
    adapter = record.spec.get("adapter")
    if adapter is None or record.parameters is None:
        return None
    return adapter_note(adapter["name"], record.parameters.trained_stages)


def adapter_note(adapter: str | None, trained_stages: Sequence[str]) -> str | None:
    """A note on backbone stages that are trained in addition to an adapter, if there are any."""
    stages = [stage for stage in trained_stages if stage not in NEW_STAGES]
    if adapter is None or not stages:
        return None
    if len(stages) > _MOST_STAGES:
        named = f"{stages[0]}, {stages[1]} … {stages[-1]} ({len(stages)} stages)"
    else:
        named = listed(stages)
    verb = "is" if len(stages) == 1 else "are"
    return (
        f"in addition to the adapter {adapter.partition(':')[0]}, the backbone's {named} {verb} "
        "trained; use --freezing head-only to keep the backbone frozen"
    )


def _adapter_facts(note: str | None) -> list[tuple[str, RenderableType]]:
    return [] if note is None else [("note", plain(note, "yellow"))]


# --- a dry run ------------------------------------------------------------------------------------


def dry_run_view(record: RunRecord) -> RenderableType:
    """What a run would do: memory, data, shortcuts and the parameters of each stage."""
    parts: list[RenderableType] = [stand_in_panel(record.stand_ins)] if record.stand_ins else []
    environment = record.environment
    facts: list[tuple[str, RenderableType]] = [
        (
            "device",
            plain(f"{environment.device} ({environment.device_name}), {environment.precision}"),
        )
    ]
    if record.memory_bytes_expected is not None:
        expected = size_text(record.memory_bytes_expected)
        tensors = f"about {expected} of tensors at the peak of training, "
        facts.append(("memory", Text(f"{tensors}plus the process and its libraries")))
    if record.data is not None:
        facts += data_facts(record.data)
    facts += _adapter_facts(recorded_adapter_note(record))
    if record.fast_path is not None:
        facts += shortcut_facts(record.fast_path.shortcuts)
    parts += [plain(f"{record.experiment}: dry run, nothing is trained", "bold")]
    parts += [fact_table(facts)]
    if record.parameters is not None:
        parts.append(parameter_table(record.parameters))
    parts += [plain(f"warning: {warning}", "yellow") for warning in record.warnings]
    return Group(*parts)


def parameter_table(parameters: ParameterCounts) -> RenderableType:
    """Parameters of each stage, trained or frozen; equal consecutive blocks share a row."""
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    table.add_column("stage", footer="all", overflow="fold")
    table.add_column("parameters", footer=f"{parameters.total:,}", justify="right", no_wrap=True)
    table.add_column("trained", footer=f"{parameters.trainable:,}", justify="right", no_wrap=True)
    for name, stage in _merged(parameters.stages):
        trained = Text("frozen", "dim") if not stage.trainable else Text(f"{stage.trainable:,}")
        table.add_row(plain(name), f"{stage.total:,}", trained)
    by_epoch = parameters.trainable_by_epoch
    if len(set(by_epoch)) < 2:
        return table
    counts = ", ".join(f"{count:,}" for count in by_epoch)
    return Group(table, Text(f"  trained by epoch: {counts}"))


def _merged(stages: Iterable[StageParameters]) -> Iterable[tuple[str, StageParameters]]:
    """Merge consecutive blocks with equal counts: ``block.0 to block.10``."""

    def kind(stage: StageParameters) -> tuple[str, int, int]:
        name, _, number = stage.stage.rpartition(".")
        return (name if number.isdigit() else stage.stage, stage.total, stage.trainable)

    for _, merged in groupby(stages, key=kind):
        group = list(merged)
        first, last, n = group[0], group[-1], len(group)
        if n == 1:
            yield first.stage, first
            continue
        yield (
            f"{first.stage} to {last.stage}",
            StageParameters(
                stage=first.stage, total=first.total * n, trainable=first.trainable * n
            ),
        )
