from __future__ import annotations

import msgspec
from fake_clock import Clock
from run_events import PLAN, step_report

from clsbench.cli.display.pace import TrainingProgress, prefix_progress, update_prefix


def test_training_progress_evaluations_count_for_time_left_only() -> None:
    clock = Clock()
    training = TrainingProgress(PLAN, clock)
    assert training.rate_text() == training.left_text() == ""
    for step in range(10):
        clock.now_seconds += 2
        training.step(step_report(step))
    clock.now_seconds += 20
    training.pause()
    assert training.rate_text() == "4 texts/s"
    assert training.left_text() == "0:20 left"
    clock.now_seconds += 2
    training.step(step_report(10))
    assert training.rate_text() == "4 texts/s"
    assert training.left_text() == "0:38 left"


def test_training_progress_excludes_first_step_and_its_evaluation() -> None:
    clock = Clock()
    training = TrainingProgress(PLAN, clock)
    clock.now_seconds += 60
    training.step(step_report(0))
    clock.now_seconds += 30
    training.pause()
    for step in range(1, 3):
        assert training.rate_text() == training.left_text() == ""
        clock.now_seconds += 2
        training.step(step_report(step))
    assert training.rate_text() == "4 texts/s"
    assert training.left_text() == "0:34 left"


def test_training_progress_gradual_unfreezing_estimates_to_next_change() -> None:
    clock = Clock()
    plan = msgspec.structs.replace(PLAN, epochs=4, steps=40, trainable_by_epoch=(5, 5, 9, 9))
    training = TrainingProgress(plan, clock)
    texts = {}
    for step in range(40):
        clock.now_seconds += 1 if step < 20 else 3
        training.step(step_report(step))
        texts[step] = training.left_text()
    assert texts[9] == "0:10 left to epoch 2"
    assert texts[10] == "0:09 left in epoch 2"
    assert texts[20] == ""
    assert texts[29] == "0:30 left"
    assert texts[39] == "0:00 left"


def test_prefix_progress_restart_resets_the_estimate() -> None:
    clock = Clock()
    prefix = prefix_progress(clock)
    for total in (1000, 1000, 500):
        update_prefix(prefix, 0, total)
        assert not prefix.finished
        for done in (100, 200):
            clock.now_seconds += 10
            update_prefix(prefix, done, total)
        assert prefix.tasks[0].time_remaining == (total - 200) / 10
        update_prefix(prefix, total, total)
        assert prefix.finished
    update_prefix(prefix, 0, 0)
    assert prefix.finished, "the whole prefix is cached"
