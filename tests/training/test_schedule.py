"""The order of batches and evaluations."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from record_examples import make_record
from small_runs import SMALL, run_small

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.preparation import prepare_data
from clsbench.schema.training import TrainSettings
from clsbench.training.schedule import EpochEnd, Evaluation, Event, TrainBatch, book_schedule


def schedule(
    train: int, validation: int, train_settings: TrainSettings, seed: int = 123
) -> list[Event]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return list(book_schedule(train, validation, train_settings))


def test_book_schedule_of_the_book_has_650_batches_and_13_evaluations() -> None:
    events = schedule(1045, 149, TrainSettings())
    kinds = Counter(type(event) for event in events)
    assert kinds == {TrainBatch: 650, Evaluation: 13, EpochEnd: 5}
    assert [e.step for e in events if isinstance(e, Evaluation)] == list(range(0, 650, 50))


def test_book_schedule_evaluations_change_later_batch_order() -> None:
    often, never = (
        [
            e.indices
            for e in schedule(64, 16, TrainSettings(epochs=2, eval_every=n))
            if isinstance(e, TrainBatch)
        ]
        for n in (2, 1000)
    )
    assert often[:8] == never[:8]  # the first epoch's order is drawn before any evaluation
    assert often[8:] != never[8:]


@settings(max_examples=40)
@given(
    st.integers(1, 60),
    st.integers(1, 20),
    st.builds(
        TrainSettings,
        epochs=st.integers(1, 3),
        batch_size=st.integers(1, 8),
        accumulation=st.integers(1, 5),
        eval_every=st.integers(1, 20),
        eval_batches=st.integers(1, 4),
    ),
)
def test_book_schedule_any_settings_cover_each_epoch_once(
    train: int, validation: int, train_settings: TrainSettings
) -> None:
    assume(train >= train_settings.batch_size)
    events = schedule(train, validation, train_settings)
    batches = [event for event in events if isinstance(event, TrainBatch)]
    per_epoch = train // train_settings.batch_size
    assert [batch.step for batch in batches] == list(range(per_epoch * train_settings.epochs))
    for epoch in range(train_settings.epochs):
        own = [batch for batch in batches if batch.epoch == epoch]
        indices = [index for batch in own for index in batch.indices]
        assert len(indices) == len(set(indices)) == per_epoch * train_settings.batch_size
        assert own[-1].update  # the last batch of an epoch completes its update
        updates = -(-per_epoch // train_settings.accumulation)
        assert sum(batch.update for batch in own) == updates
    for event in events:
        if not isinstance(event, TrainBatch):
            assert len(event.train) == min(train_settings.eval_batches, per_epoch)
            assert event.validation[0][0] == 0  # validation texts are not shuffled
    assert sum(isinstance(event, EpochEnd) for event in events) == train_settings.epochs


def test_book_schedule_same_seed_gives_the_same_schedule() -> None:
    one, two, other = (schedule(40, 10, TrainSettings(epochs=1), seed) for seed in (1, 1, 2))
    assert one == two != other


class Steps:
    """Keeps the number of real tokens of each batch."""

    def __init__(self) -> None:
        self.tokens: list[int] = []

    @clsbench.hookimpl
    def clsbench_step_finished(self, report: clsbench.StepReport) -> None:
        assert report.step == len(self.tokens)
        self.tokens.append(report.real_tokens)


def test_batch_order_is_that_of_the_run(tmp_path: Path) -> None:
    steps = Steps()
    settings = {"train.epochs": 2, "train.eval_every": 7, "data.padding": 60}
    record = run_small(tmp_path, [steps], freezing="head-only", **settings).record
    before = torch.get_rng_state()
    batches = clsbench.batch_order(record)
    assert torch.equal(torch.get_rng_state(), before)
    catalog = load_catalog()
    experiment = resolve(find_spec("gpt2-sms-spam", catalog), SMALL | settings, catalog)
    lengths = prepare_data(experiment, {}).tokens.train.lengths
    assert [int(lengths[list(batch.indices)].sum()) for batch in batches] == steps.tokens
    assert len(set(steps.tokens)) > 30  # so that another order differs
    assert [batch.epoch for batch in batches] == sorted(batch.epoch for batch in batches)


def test_batch_order_of_a_record_without_data_is_refused() -> None:
    with pytest.raises(clsbench.UsageError, match="the record has no data"):
        clsbench.batch_order(make_record(data=None))
