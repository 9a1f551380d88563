"""The compared settings: the rows of the table, and the texts on which each is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import Experiment, find_spec, resolve
from clsbench.data.tokens import TokenRows
from clsbench.experiment.planning import identify_run, plan_run
from clsbench.experiment.preparation import PreparedData, PreparedFiles, prepare_data, prepare_files
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.rows import DistinctRows
from clsbench.model.freezing import FreezingPlan
from clsbench.schema.options import RunOptions
from clsbench.training.schedule import Evaluation, TrainBatch, book_schedule

BACKBONES = {"small": "gpt2:size=small,weights=random", "tiny": "gpt2-tiny"}
"""The backbones by size, with random weights, which cost the same as trained ones."""

_PLUGIN = Path(__file__).with_name("tiny_backbone.py")
_SAMPLE_ROWS = {"small": 64, "tiny": 16}
"""The number of distinct rows on which the prefix and the final scoring are timed."""


class Promise(NamedTuple):
    """The target speed-up over the book's code (size small, two threads); ``None`` without a
    target."""

    step: float
    cold: float
    kept: float | None = None


class Setting(NamedTuple):
    """One row of the table. ``blocks`` train, counted from the top; ``None``: everything trains."""

    name: str
    about: str
    changes: Mapping[str, Any]
    blocks: int | None
    real_token: bool
    lora: bool
    promise: Promise


_LORA_RANK, _LORA_ALPHA = 16, 16
_FLEXIBLE = {"pooling": "last-real-token"}

SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "last-block", "the last block trains, the last token is read (row 1)",
            {"freezing": "last-blocks:n=1"}, 1, False, False, Promise(60, 7, 60),
        ),
        Setting(
            "two-blocks", "the last two blocks train",
            {"freezing": "last-blocks:n=2"}, 2, False, False, Promise(5.5, 4, 6),
        ),
        Setting(
            "head-only", "nothing but the head trains",
            {"freezing": "head-only"}, 0, False, False, Promise(1000, 7),
        ),
        Setting(
            "last-block-real-token", "the last block trains, the last real token is read",
            {"freezing": "last-blocks:n=1", **_FLEXIBLE}, 1, True, False, Promise(50, 20),
        ),
        Setting("all", "everything trains", {"freezing": "all"}, None, False, False,
                Promise(1.5, 1.45)),
        Setting(
            "all-real-token", "everything trains, the last real token is read",
            {"freezing": "all", **_FLEXIBLE}, None, True, False, Promise(3.5, 4),
        ),
        Setting(
            "lora", f"LoRA of rank {_LORA_RANK} on every linear layer, and the head",
            {"freezing": "head-only", "adapter": f"lora:r={_LORA_RANK},alpha={_LORA_ALPHA}"},
            0, False, True, Promise(1.2, 1.2),
        ),
    )
}  # fmt: skip
"""The rows by name, in the table's order."""


class Lora(NamedTuple):
    """The rank and the scale of LoRA."""

    rank: int = _LORA_RANK
    alpha: int = _LORA_ALPHA


class Amounts(NamedTuple):
    """The work of a whole run of 5 epochs, counted from its schedule.

    ``book_scoring_batches``: those of the book's final accuracies, whose training loader drops its
    last batch. ``*_positions`` count token positions: of the distinct rows of all splits together
    (``prefix``), and of those of each split separately, added up (``scoring``).
    """

    steps: int
    evaluations: int
    evaluation_batches: int
    book_scoring_batches: int
    distinct_rows: int
    prefix_positions: int
    scoring_positions: int


class Workload(NamedTuple):
    """One setting, ready to be timed.

    ``rows`` are the measured texts by split; ``batches`` are the training batches and
    ``evaluation`` those of one evaluation, as indices into ``rows``. ``train_indices`` are the
    batches' texts in the whole training split. ``sample`` in ``rows`` holds distinct rows of every
    width, from all splits.
    """

    setting: Setting
    experiment: Experiment
    files: PreparedFiles
    data: PreparedData
    freezing: FreezingPlan
    plan: FastPlan
    options: RunOptions
    rows: dict[str, TokenRows]
    train_indices: list[tuple[int, ...]]
    batches: list[TrainBatch]
    evaluation: Evaluation
    amounts: Amounts
    sample_positions: int

    @property
    def device(self) -> torch.device:
        """The device on which both sides compute."""
        return torch.device(self.options.device)


def prepare(
    setting: Setting,
    size: str,
    assets: Path | None,
    threads: int | None,
    batches: int,
    device: str = "cpu",
    precision: Literal["fp32", "bf16"] = "fp32",
) -> Workload:
    """The setting on the real corpus, with its first ``batches`` batches in the book's order."""
    catalog = load_catalog([str(_PLUGIN)])
    options = RunOptions(
        device=device, precision=precision, threads=threads, assets=assets,
        plugins=(str(_PLUGIN),),
    )  # fmt: skip
    changes = {"backbone": BACKBONES[size], **setting.changes}
    experiment = resolve(find_spec("gpt2-sms-spam", catalog), changes, catalog)
    files = prepare_files(experiment, options, catalog)
    data = prepare_data(experiment, files.files)
    where = torch.device(device)
    record = identify_run(experiment, options, where, files, data)
    planned = plan_run(experiment, options, where, data, record)
    torch.manual_seed(experiment.spec.seed)
    events = list(
        book_schedule(len(data.tokens.train), len(data.tokens.validation), experiment.spec.train)
    )
    trained = [event for event in events if isinstance(event, TrainBatch)]
    evaluations = [event for event in events if isinstance(event, Evaluation)]
    first, looked = trained[:batches], evaluations[0]
    train = _Subset(
        data.tokens.train, [index for event in first for index in event.indices], looked.train
    )
    validation = _Subset(data.tokens.validation, [], looked.validation)
    everything = DistinctRows(data.tokens.by_name(), experiment.pooling, planned.fast.unpadded)
    sample = _sample(data, everything, _SAMPLE_ROWS[size])
    widths = everything.widths
    looks = len(events) - len(trained)
    amounts = Amounts(
        steps=len(trained),
        evaluations=looks,
        evaluation_batches=looks * (len(looked.train) + len(looked.validation)),
        book_scoring_batches=sum(data.facts.batches.values()),
        distinct_rows=len(everything),
        prefix_positions=int(widths.sum()),
        scoring_positions=sum(
            int(widths[slots.unique()].sum()) for slots in everything.slots.values()
        ),
    )
    measured = DistinctRows({"sample": sample}, experiment.pooling, planned.fast.unpadded)
    return Workload(
        setting=setting,
        experiment=experiment,
        files=files,
        data=data,
        freezing=planned.freezing,
        plan=planned.fast,
        options=options,
        rows={"train": train.rows, "validation": validation.rows, "sample": sample},
        train_indices=[event.indices for event in first],
        batches=[event._replace(indices=train.places(event.indices)) for event in first],
        evaluation=looked._replace(
            train=tuple(map(train.places, looked.train)),
            validation=tuple(map(validation.places, looked.validation)),
        ),
        amounts=amounts,
        sample_positions=int(measured.widths.sum()),
    )


class _Subset:
    """Some texts of a split without duplicates, and their new indices."""

    def __init__(
        self, rows: TokenRows, singly: Sequence[int], batches: Iterable[Sequence[int]]
    ) -> None:
        kept = list(dict.fromkeys([*singly, *(index for batch in batches for index in batch)]))
        self._places = {index: place for place, index in enumerate(kept)}
        self.rows = rows.take(kept)

    def places(self, indices: Sequence[int]) -> tuple[int, ...]:
        return tuple(self._places[index] for index in indices)


def _sample(data: PreparedData, distinct: DistinctRows, count: int) -> TokenRows:
    """``count`` distinct rows, from the narrowest to the widest in even steps."""
    by_width = distinct.widths.argsort(stable=True)
    places = torch.linspace(0, len(by_width) - 1, min(count, len(by_width))).round().long()
    wanted = by_width[places]
    return TokenRows(
        distinct.input_ids[wanted],
        distinct.lengths[wanted],
        torch.zeros(len(wanted), dtype=torch.int64),  # nothing is trained on them
        truncated=0,
        padded=data.tokens.train.padded,
    )
