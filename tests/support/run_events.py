"""Events of a run, for tests of observers."""

from __future__ import annotations

from clsbench.components.values import RunPlan, StepReport

PLAN = RunPlan(
    experiment="fruit",
    stand_ins=("gpt2-nano in place of gpt2",),
    components={"dataset": "csv:path=fruit.csv", "backbone": "gpt2-nano"},
    device="cpu",
    precision="fp32",
    seed=123,
    epochs=2,
    steps=20,
    train_texts=80,
    max_length=12,
    parameters_total=1_000_000,
    parameters_trainable=1_000,
)


def step_report(step: int) -> StepReport:
    """The end of a batch, ten in an epoch."""
    return StepReport(step=step, epoch=step // 10, loss=lambda: 0.5, examples=8, real_tokens=80)
