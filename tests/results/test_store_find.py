"""Runs found by name, prefix, path or ``latest``."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from record_examples import make_record
from stored_runs import store_run

from clsbench.errors import UsageError
from clsbench.results.store import find_run, scan
from clsbench.results.suite_results import (
    RowResult,
    RowTuning,
    SuiteResults,
    TrialResult,
    trials_not_chosen,
    trials_of_rows,
    write_suite_results,
)
from clsbench.schema.tuning import TuneSpec


@pytest.fixture
def three_runs(tmp_path: Path) -> Path:
    store = tmp_path / "store"
    names = {
        "20251121T090000Z-gpt2-sms-spam-aaaaaaaa": "2025-11-21T09:00:00.5+00:00",
        "20251121T100000Z-gpt2-sms-spam-bbbbbbbb": "2025-11-21T10:00:00.9+00:00",
        "20251121T100000Z-gpt2-sms-spam-cccccccc": "2025-11-21T10:00:00.1+00:00",
    }
    for name, created in names.items():
        store_run(store, make_record(created=created), name)
    return store


def test_find_run_accepts_name_prefix_path_and_latest(three_runs: Path) -> None:
    first = three_runs / "20251121T090000Z-gpt2-sms-spam-aaaaaaaa"
    assert find_run(three_runs, first.name) == first
    assert find_run(three_runs, first.name + "/") == first
    assert find_run(three_runs, "20251121T09") == first
    assert find_run(three_runs, str(first)) == first
    assert find_run(three_runs, first) == first
    assert find_run(three_runs, first / "record.json") == first
    latest = three_runs / "20251121T100000Z-gpt2-sms-spam-bbbbbbbb"
    assert find_run(three_runs, "latest") == latest


def test_runs_are_in_the_order_in_which_they_were_started(three_runs: Path) -> None:
    """Also if they were started in the same second."""
    assert [run.path.name[-1] for run in scan(three_runs).runs] == ["a", "c", "b"]


def test_find_run_latest_skips_runs_without_a_record(three_runs: Path) -> None:
    (three_runs / "20261121T100000Z-gpt2-sms-spam-dddddddd").mkdir()
    assert find_run(three_runs, "latest").name.endswith("bbbbbbbb")


def test_find_run_latest_skips_trials_that_were_not_chosen(three_runs: Path) -> None:
    """Those of this invocation and of earlier ones, which a later one did not choose again."""
    first, tried, other = (path.name for path in sorted(three_runs.iterdir()))
    trials = [TrialResult(point={"train.lr": lr}, run=run) for lr, run in ((1, first), (2, tried))]
    suite = SuiteResults(
        name="tuned", description="", base="gpt2-sms-spam", for_all={}, seeds=1, source="",
        conditions="", command=(), created="", tune=TuneSpec(space={"train.lr": (1, 2)}),
        rows=(RowResult(label="1", title="", changes={}, published=None, runs=(first,),
                        tuning=RowTuning(budget=2, trials=tuple(trials), chosen=0)),),
    )  # fmt: skip
    write_suite_results(three_runs, suite)
    assert trials_of_rows(three_runs) == {first: 2}
    assert find_run(three_runs, "latest").name == other
    wider = TuneSpec(space={"train.lr": (3, 4)})
    later = msgspec.structs.replace(suite, tune=wider, rows=(), tried=(other,))
    write_suite_results(three_runs, later)
    assert trials_not_chosen(three_runs) == {tried: "tuned", other: "tuned"}
    assert find_run(three_runs, "latest").name == first
    write_suite_results(three_runs, msgspec.structs.replace(later, tried=(first,)))
    assert trials_of_rows(three_runs) == {}
    with pytest.raises(UsageError, match=r"latest: all runs .* are trials of tuned suites"):
        find_run(three_runs, "latest")


def test_find_run_latest_skips_a_damaged_record(
    three_runs: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged = three_runs / "20261121T100000Z-gpt2-sms-spam-dddddddd"
    damaged.mkdir()
    (damaged / "record.json").write_text('{"schema_version": 1, "created": "2026-11-21T10:00:00Z"}')
    assert find_run(three_runs, "latest").name.endswith("bbbbbbbb")
    assert f"left out {damaged}: damaged" in caplog.text


def test_find_run_latest_with_only_damaged_runs_raises(tmp_path: Path) -> None:
    damaged = tmp_path / "20261121T100000Z-gpt2-sms-spam-dddddddd"
    damaged.mkdir()
    (damaged / "record.json").write_bytes(b'{"a":' * 100_000)
    with pytest.raises(UsageError, match=r"every record in .* is damaged"):
        find_run(tmp_path, "latest")


def test_find_run_outside_the_store_is_found_by_path(tmp_path: Path, three_runs: Path) -> None:
    other = store_run(tmp_path / "other", make_record())
    assert find_run(three_runs, other) == other


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("20251121T10", "ambiguous.*2 match: .*bbbbbbbb, .*cccccccc"),
        ("20251121T090000Z-gpt2-sms-spam-aaaaaaab", "did you mean 20251121T090000Z.*aaaaaaaa"),
        ("zzz", "no run 'zzz'.*latest runs: .*aaaaaaaa.*cccccccc"),
        ("", "no run ''"),
    ],
)
def test_find_run_with_an_unknown_name_suggests_runs(
    three_runs: Path, reference: str, expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        find_run(three_runs, reference)


def test_find_run_with_the_name_of_a_suite_names_the_report(three_runs: Path) -> None:
    (three_runs / "suites").mkdir()
    (three_runs / "suites" / "mine.json").write_text("{}")
    with pytest.raises(UsageError, match=r"no run 'mine'.*it is a suite: clsbench report mine"):
        find_run(three_runs, "mine")


def test_find_run_of_a_folder_without_a_record_raises(tmp_path: Path, three_runs: Path) -> None:
    with pytest.raises(UsageError, match=r"is not a run: it has no record\.json"):
        find_run(three_runs, tmp_path)


@pytest.mark.parametrize("reference", ["latest", "20251121"])
def test_find_run_in_an_empty_store_raises(tmp_path: Path, reference: str) -> None:
    with pytest.raises(UsageError, match="contains no runs"):
        find_run(tmp_path / "none", reference)
