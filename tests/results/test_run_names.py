"""Names of runs that are shown together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from record_examples import make_record, make_spec

from clsbench.results.run_names import names_of
from clsbench.results.store import StoredRun


def named(*specs: dict[str, Any]) -> list[str]:
    return names_of(
        [StoredRun(Path(f"run-{n}"), make_record(spec=spec)) for n, spec in enumerate(specs)]
    )


def test_names_of_runs_with_other_training_recipes_say_what_differs() -> None:
    base = make_spec()
    other = {**base, "train": {**base["train"], "optimizer": {"name": "sgd", "momentum": 0.9}}}
    late = {**base, "train": {**base["train"], "select": "best-validation"}}
    names = named(base, base | {"seed": 2}, base | {"seed": 3}, other, late)
    assert names == [f"run-{n}" for n in range(5)]  # seeds are not in names, so three are the same
    assert named(base, other) == [
        "optimizer=adamw:beta1=0.9,beta2=0.999,eps=1e-08", "optimizer=sgd:momentum=0.9",
    ]  # fmt: skip
    assert named(base, late) == ["select=last", "select=best-validation"]


def test_names_of_runs_that_list_other_metrics_are_not_their_metrics() -> None:
    base = make_spec()
    assert named(base, {**base, "metrics": ["mcc"], "head": {"name": "mlp"}}) == ["linear", "mlp"]


def test_names_of_runs_leave_out_empty_options() -> None:
    base, options = make_spec(), {"model": "mini", "revision": "", "files": [], "options": {}}
    assert named(base, {**base, "backbone": {"name": "hf", **options}})[1] == "hf:model=mini"
