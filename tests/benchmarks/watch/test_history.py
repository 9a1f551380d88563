"""Reading runs of the benchmarks, and finding those of similar machines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.watch.history import Round, like_runs, read_history

NAME = "test_phases.py::test_freezing[a]"


def written(folder: Path, number: int, **changes: Any) -> Path:
    content = {
        "machine_info": {"node": "x", "clsbench": {"cpu": "A", "threads": 2}},
        "commit_info": {"id": "0123456789abcdef", "dirty": number == 2},
        "datetime": f"2026-01-0{number}T00:00:00",
        "benchmarks": [
            {
                "fullname": NAME,
                "group": "freezing",
                "stats": {"median": 1.0, "data": [0.25, 0.5, 0.75]},
                "extra_info": {
                    "quiet_median_seconds": 0.5 * number,
                    "quiet_median_of_reference": 50.0,
                    "started_seconds": [10.0, 11.0, 12.0],
                    "reference_seconds": [0.01, 0.01, 0.02],
                    "foreign_cores": [0.0, 0.5, 0.1],
                    "load_limit_cores": 0.15,
                    "device": "cpu",
                },
            }
        ],
        **changes,
    }
    file = folder / "Linux" / f"000{number}_run.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def test_read_history_sorts_runs_by_time(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        written(tmp_path, number)
    history = read_history(tmp_path)
    assert [run.results[NAME].seconds for run in history.runs] == [0.5, 1.0, 1.5]
    assert [run.commit for run in history.runs] == ["0123456789", "0123456789-dirty", "0123456789"]
    assert history.problems == ()
    assert read_history(tmp_path / "nowhere").runs == ()


def test_like_runs_returns_runs_on_the_same_kind_of_machine(tmp_path: Path) -> None:
    written(tmp_path, 1)
    written(tmp_path, 2, machine_info={"clsbench": {"cpu": "A", "threads": 1}})
    written(tmp_path, 3, machine_info={"clsbench": {"threads": 2, "cpu": "A"}, "node": "other"})
    history = read_history(tmp_path)
    assert [run.date for run in like_runs(history, history.runs[2])] == ["2026-01-01T00:00:00"]
    assert like_runs(history, history.runs[1]) == ()


def test_read_history_invalid_files_are_named_and_skipped(tmp_path: Path) -> None:
    written(tmp_path, 1)
    written(tmp_path, 2).write_text("{")
    written(tmp_path, 3, machine_info={"node": "x"})
    (tmp_path / "other.json").write_text("[1, 2]")
    written(tmp_path, 4, machine_info={"clsbench": None})
    impossible = {"fullname": "x", "extra_info": {"quiet_median_seconds": -1.0}}
    written(tmp_path, 5, benchmarks=[impossible])
    history = read_history(tmp_path)
    assert len(history.runs) == 1
    assert len(history.problems) == 5
    for number in (2, 3, 4, 5):
        assert f"000{number}_run.json is not a run of these benchmarks" in " ".join(
            problem.text for problem in history.problems
        )


def test_read_history_skips_unfinished_folders(tmp_path: Path) -> None:
    folder = tmp_path / ".a-unfinished"
    folder.mkdir()
    written(folder, 1)
    assert read_history(tmp_path) == ((), ())
    assert len(read_history(folder).runs) == 1, "only folders below the given one are skipped"


def test_read_history_reads_rounds_except_disturbed_ones(
    tmp_path: Path,
) -> None:
    written(tmp_path, 1)
    (run,) = read_history(tmp_path).runs
    assert run.results[NAME].rounds == (Round(10.0, 0.25), Round(12.0, 0.75))
    assert run.results[NAME].of_reference == 50.0
    assert run.reference_seconds == 0.01


def test_read_history_accepts_runs_without_reference_work(tmp_path: Path) -> None:
    plain = {"fullname": NAME, "extra_info": {"quiet_median_seconds": 1.0}}
    written(tmp_path, 1, benchmarks=[plain])
    (run,) = read_history(tmp_path).runs
    assert (run.reference_seconds, run.results[NAME].of_reference) == (None, None)
    assert run.results[NAME].rounds == ()
