"""Export the classifier of a stored run in the format of another library."""

from __future__ import annotations

import os
from pathlib import Path

from clsbench.components.component import Component
from clsbench.components.outer_axes import Exporter, TrainedRun
from clsbench.errors import ClsbenchError, PluginError, UsageError
from clsbench.experiment.restore import Restored
from clsbench.results.store import StoredRun
from clsbench.system.filesystem import folder_reason, give_usual_mode
from clsbench.system.unfinished import temporary_folder

_TEMPORARY_PREFIX = ".clsbench-export-"


def check_target(directory: Path) -> None:
    """Check that ``directory`` can be made by an export.

    Raises:
        UsageError: it holds files, or is not a folder.
    """
    if not os.path.lexists(directory):
        return
    if not directory.is_dir() or directory.is_symlink():
        raise UsageError(f"--output {directory}: expected a new folder, found a file or a link")
    if any(directory.iterdir()):
        raise UsageError(f"--output {directory}: the folder is not empty; name a new folder")


def export_run(
    run: StoredRun, restored: Restored, exporter: Component, label: str, directory: Path
) -> tuple[str, ...]:
    """Export into ``directory``, which appears complete or not at all; return its files in order.

    Raises:
        UsageError: the format cannot represent the classifier, or the folder cannot be written.
        PluginError: the exporter fails, or writes nothing.
    """
    assert isinstance(exporter, Exporter)
    assert run.record.data is not None
    if run.record.data.multi_label and "multi-label" not in exporter.tasks:
        raise UsageError(
            f"the format {label!r} is for texts with one class each; the run {run.path.name} has "
            "multi-label data"
        )
    check_target(directory)
    experiment = restored.experiment
    trained = TrainedRun(
        record=run.record,
        backbone=experiment.backbone,
        pooling=experiment.pooling,
        head=experiment.head,
        adapter=experiment.adapter,
        classifier=restored.classifier.eval(),
        tokenizer=restored.tokenizer,
        files=restored.files,
    )
    target = directory.absolute()
    try:
        place = next(folder for folder in target.parents if os.path.lexists(folder))
        with temporary_folder(place, _TEMPORARY_PREFIX) as temporary:
            content = temporary / "content"
            content.mkdir()
            _call(exporter, label, trained, content)
            files = [file for file in sorted(content.rglob("*")) if file.is_file()]
            if not files:
                raise PluginError(f"exporter {label} has written no files")
            for file in files:
                give_usual_mode(file)
            target.parent.mkdir(parents=True, exist_ok=True)
            content.rename(target)
    except OSError as error:
        raise UsageError(
            f"--output {directory} cannot be written: {folder_reason(error, directory)}"
        ) from None
    return tuple(file.relative_to(content).as_posix() for file in files)


def _call(exporter: Exporter, label: str, trained: TrainedRun, directory: Path) -> None:
    try:
        exporter.export(trained, directory)
    except ClsbenchError:
        raise
    except Exception as error:
        raise PluginError(f"exporter {label} failed: {type(error).__name__}: {error}") from error
