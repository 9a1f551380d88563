"""Exporting the classifier of a stored run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import stored

import clsbench
from clsbench.components.catalog import load_catalog
from clsbench.experiment.export import check_target, export_run
from clsbench.experiment.restore import restore_trained
from clsbench.experiment.run import FinishedRun
from clsbench.results.store import StoredRun
from clsbench.schema.options import RunOptions


class Writing(clsbench.Exporter, frozen=True):
    """Writes what it was given, with one fault to choose."""

    fault: str = ""

    def export(self, run: clsbench.TrainedRun, directory: Path) -> None:
        if self.fault == "nothing":
            return
        (directory / "half").write_text("half")
        if self.fault == "refuses":
            raise clsbench.UsageError("the pooling 'last-token' has no equivalent; use mean")
        if self.fault == "breaks":
            raise KeyError("config")
        assert run.record.data is not None
        ids = run.tokenizer.encode("win a prize")
        with torch.no_grad():
            logits = run.classifier(torch.tensor([ids]), torch.tensor([len(ids)]))
        (directory / "deeper").mkdir()
        (directory / "deeper" / "facts").write_text(
            f"{run.record.data.class_names} {type(run.pooling).__name__} {run.adapter} "
            f"{tuple(logits.shape)}"
        )


def export(run: FinishedRun, directory: Path, fault: str = "") -> tuple[str, ...]:
    kept = StoredRun(stored(run), run.record)
    options = RunOptions(device="cpu", threads=1, offline=True)
    restored = restore_trained(kept, options, load_catalog())
    return export_run(kept, restored, Writing(fault), "writing", directory)


def test_export_run_writes_all_files_into_a_new_folder(
    finished: FinishedRun, tmp_path: Path
) -> None:
    target = tmp_path / "a" / "b"
    assert export(finished, target) == ("deeper/facts", "half")
    assert (target / "deeper/facts").read_text() == "('ham', 'spam') LastToken None (1, 2)"
    assert [path.name for path in target.parent.iterdir()] == ["b"]
    assert target.stat().st_mode & 0o777 == tmp_path.joinpath("a").stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        ("refuses", clsbench.UsageError, "has no equivalent; use mean"),
        ("breaks", clsbench.PluginError, "exporter writing failed: KeyError: 'config'"),
        ("nothing", clsbench.PluginError, "exporter writing has written no files"),
    ],
)
def test_export_run_failing_exporter_leaves_nothing(
    finished: FinishedRun, tmp_path: Path, fault: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        export(finished, tmp_path / "out", fault)
    assert list(tmp_path.iterdir()) == []


def test_check_target_refuses_a_file_a_link_and_a_folder_with_files(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for name in ("file", "link"):
        with pytest.raises(clsbench.UsageError, match="expected a new folder"):
            check_target(tmp_path / name)
    with pytest.raises(clsbench.UsageError, match="is not empty; name a new folder"):
        check_target(tmp_path)
    check_target(tmp_path / "empty")
    check_target(tmp_path / "new")


def test_export_run_folder_that_cannot_be_made_is_a_usage_error(
    finished: FinishedRun, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(clsbench.UsageError, match="cannot be written"):
        export(finished, tmp_path / "file" / "out")
    assert (tmp_path / "file").read_text() == "kept"
