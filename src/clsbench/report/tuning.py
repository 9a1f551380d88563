"""What was chosen for tuned rows, in words."""

from __future__ import annotations

from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.analysis.tuning import Choice
from clsbench.report.wording import listed
from clsbench.schema.changes import changes_text, value_text
from clsbench.schema.experiment import format_component
from clsbench.schema.tuning import TuneSpec


def choices(figures: SuiteFigures) -> list[Choice]:
    """The choices of the tuned rows."""
    return [row.choice for row in figures.rows if row.choice is not None]


def tuning_text(tune: TuneSpec, trials: int, metric: str, lower: bool) -> str:
    """How the rows were tuned, in two sentences; ``metric`` is its header or name."""
    values = "; ".join(
        f"{key} = {', '.join(map(value_text, tried))}" for key, tried in tune.space.items()
    )
    return (
        f"Each row is tuned with {trials} trial{'' if trials == 1 else 's'} "
        f"({format_component(tune.tuner)}) over {values}. The trial with the "
        f"{'lowest' if lower else 'highest'} validation {metric} is chosen; of equal ones, that "
        "with the lower validation loss."
    )


def choice_text(choice: Choice) -> str:
    """``train.lr=0.001 ▲, train.epochs=5``; marks a value at an end of those tried."""
    marks = {"highest": " ▲", "lowest": " ▼"}
    return ", ".join(
        changes_text({key: value}) + marks.get(choice.edges.get(key, ""), "")
        for key, value in choice.point.items()
    )


def edge_notes(found: list[Choice], tune: TuneSpec) -> list[str]:
    """A note for each tuned key with choices at an end of its values: widen them."""
    notes = []
    for key in tune.space:
        for edge in ("lowest", "highest"):
            labels = [each.row.label for each in found if each.edges.get(key) == edge]
            if labels:
                value = next(e.point[key] for e in found if e.edges.get(key) == edge)
                rows = ("row " if len(labels) == 1 else "rows ") + listed(labels)
                beyond = "smaller" if edge == "lowest" else "larger"
                notes.append(
                    f"{rows[0].upper()}{rows[1:]}: the chosen {key}={value_text(value)} is the "
                    f"{edge} value tried; also try {beyond} ones (--tune {key})"
                )
    return notes


def tuning_notes(figures: SuiteFigures) -> list[str]:
    """Notes on the tuning: how it was done, choices at an edge, trials that failed or are left."""
    tune = figures.results.tune
    tunings = [row.row.tuning for row in figures.rows if row.row.tuning is not None]
    if tune is None or not tunings:
        return []
    found = choices(figures)
    first = tunings[0]
    metric = found[0].metric.header if found else first.metric
    notes = [tuning_text(tune, first.budget, metric, first.lower), *edge_notes(found, tune)]
    for row in figures.rows:
        if row.row.tuning is None:
            continue
        trials = row.row.tuning.trials
        failed = [trial for trial in trials if trial.error is not None]
        if failed and row.choice is not None:
            notes.append(
                f"Row {row.row.label}: {len(failed)} of {len(trials)} trials failed and count as "
                f"tried; the first: {changes_text(failed[0].point)}: {failed[0].error}"
            )
        ended = sum(trial.ended for trial in trials)
        if ended < row.row.tuning.budget and not row.row.errors:
            notes.append(
                f"Row {row.row.label}: {ended} of {row.row.tuning.budget} trials have ended; one "
                "is chosen when all have."
            )
    return notes


def shown_trials(trials: int) -> list[int]:
    """The numbers of trials for which the expected best score is listed: 1, 2, 4, … and all."""
    found = [1]
    while found[-1] * 2 < trials:
        found.append(found[-1] * 2)
    return found + ([trials] if trials > 1 else [])
