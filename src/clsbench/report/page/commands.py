"""The commands that repeat a row or a suite."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clsbench.analysis.row_figures import RowFigures
from clsbench.analysis.sides import BASELINE, train_texts
from clsbench.analysis.suite_figures import SuiteFigures
from clsbench.components.axes import option_of
from clsbench.components.resolve import find_spec, resolve
from clsbench.errors import ClsbenchError
from clsbench.report.wording import shortest_label
from clsbench.results.baseline_states import stored_baselines
from clsbench.results.suite_results import SuiteResults
from clsbench.schema.experiment import (
    COMPONENT_KEYS,
    ExperimentSpec,
    format_component,
    format_toml,
    from_tree,
    inline_toml,
    to_tree,
)
from clsbench.schema.record import RunRecord
from clsbench.system.printable import printable

if TYPE_CHECKING:
    from clsbench.analysis.comparison import Contender
    from clsbench.components.catalog import Catalog
    from clsbench.results.store import StoredRun

_OFF = "switched off by "
"""The start of a shortcut's detail in a record if an option disabled it."""

_NOT_CHANGES = ("name", "description", "seed")


def row_command(each: RowFigures, results: SuiteResults, catalog: Catalog) -> str | None:
    """The command that repeats the runs of a row, for a POSIX shell; ``None`` without a run."""
    record = each.record
    if record is None:
        return None
    changes = each.row.final_changes()
    if changes or not _from_runs(results):
        return _run(results.base, changes, each, _plugins(results.command))
    spec = _before_stand_ins(record, catalog)
    try:
        base = resolve(find_spec(record.experiment, catalog), {}, catalog).tree
    except ClsbenchError:
        return _from_file(spec, each)
    return _run(record.experiment, differences(base, to_tree(spec)), each, [])


def train_command(figures: SuiteFigures, best: Contender | None, catalog: Catalog) -> str | None:
    """The command that trains and stores the row of a contender; ``None`` for a baseline."""
    row = next((each for each in figures.rows if each.contender is best is not None), None)
    return row_command(row, figures.results, catalog) if row is not None else None


def predict_words(best: Contender | None, runs: Sequence[StoredRun]) -> list[str]:
    """The arguments of ``clsbench`` that classify a text, or a pair of texts, with a contender of
    these runs."""
    run, baseline = runs[0], list[str]()
    if best is not None and best.runs:
        run = next((each for each in runs if each.path.name in best.runs), run)
    elif best is not None:
        component = best.name.removeprefix(BASELINE)
        holding = [each for each in runs if component in stored_baselines(each)]
        if holding:
            # Of the first data set; the run whose baselines the comparison has.
            dataset = holding[0].record.spec["dataset"]
            alike = (each for each in holding if each.record.spec["dataset"] == dataset)
            run = max(alike, key=train_texts)
            baseline = ["--baseline", shortest_label(component, stored_baselines(run))]
    data = run.record.data
    pair = ["--pair", "another text"] if data is not None and data.text_pairs else []
    return ["predict", run.path.name, *baseline, "a text", *pair]


def suite_command(figures: SuiteFigures) -> str | None:
    """The command that repeats these rows; ``None`` if they come from single runs."""
    results = figures.results
    if _from_runs(results):
        return None
    words = list(results.command)
    labels = [row.label for row in results.rows]
    if results.labels and labels != list(results.labels):
        words += ["--rows", ",".join(labels)]
    return shell_line(words)


def differences(base: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """The changes by dotted key that turn the spec ``base`` into ``tree``; both are complete."""
    without = {key: value for key, value in tree.items() if key not in _NOT_CHANGES}
    found = _nested_differences(base, without)
    return found | {key: None for key in COMPONENT_KEYS if key in base and key not in tree}


def _nested_differences(
    base: Mapping[str, Any], tree: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        before, dotted = base.get(key), prefix + key
        if value == before:
            continue
        if (
            dotted not in COMPONENT_KEYS
            and isinstance(value, Mapping)
            and isinstance(before, Mapping)
        ):
            found |= _nested_differences(before, value, f"{dotted}.")
        else:
            found[dotted] = value
    return found


def shell_line(words: Sequence[str]) -> str:
    """A command as one line for a shell; characters that are not printable are escaped."""
    return " ".join(map(_quoted, words))


def shell_lines(words: Sequence[str], width: int) -> str:
    """As :func:`shell_line`, but continued with backslashes so that lines have at most ``width``
    characters, unless a single word is longer."""
    lines = [""]
    for word in map(_quoted, words):
        if lines[-1] and len(lines[-1]) + len(word) + 3 > width:
            lines[-1] += " \\"
            lines.append("   ")
        lines[-1] += f" {word}" if lines[-1] else word
    return "\n".join(lines)


def _from_runs(results: SuiteResults) -> bool:
    """Whether the rows come from single runs (``rows_of_runs``), so that changes are unknown."""
    return not results.command


def _plugins(command: Sequence[str]) -> list[str]:
    """The options in a suite's command that load plugins."""
    found: list[str] = []
    for before, word in zip(("", *command), command, strict=False):
        if before == "--plugin":
            found += [before, word]
        elif word.startswith("--plugin="):
            found.append(word)
    return found


def _run(base: str, changes: Mapping[str, Any], each: RowFigures, plugins: Sequence[str]) -> str:
    words = ["clsbench", *plugins, "run", base]
    for key, value in changes.items():
        if key != "seed":
            words += _change(key, value)
    return shell_line([*words, *_seeds(each), *_circumstances(each)])


def _change(key: str, value: Any) -> list[str]:
    if key in COMPONENT_KEYS:
        text = format_component(dict(value)) if isinstance(value, Mapping) else _text(value)
        return [option_of(key), text]
    return ["--set", f"{key}={_text(value)}"]


def _text(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else inline_toml(value)


def _seeds(each: RowFigures) -> list[str]:
    seeds = list(dict.fromkeys(str(run.record.spec["seed"]) for run in each.runs))
    return ["--set", f"seed={seeds[0]}"] if len(seeds) == 1 else ["--seeds", ",".join(seeds)]


def _circumstances(each: RowFigures) -> list[str]:
    record = each.record
    assert record is not None
    environment = record.environment
    words = ["--device", environment.device]
    if environment.device == "cpu":
        words += ["--threads", str(environment.threads)]
    if environment.precision != "fp32":
        words += ["--precision", environment.precision]
    if environment.deterministic:
        words.append("--deterministic")
    details = [s.detail for s in record.fast_path.shortcuts] if record.fast_path else []
    off = dict.fromkeys(d.removeprefix(_OFF) for d in details if d.startswith(_OFF))
    words += [word for option in off for word in option.split()]
    if any(stand_in.reason.startswith("offline") for stand_in in record.stand_ins):
        words.append("--offline")
    return words


def _before_stand_ins(record: RunRecord, catalog: Catalog) -> ExperimentSpec:
    meant = {stand_in.axis: stand_in.replaced for stand_in in record.stand_ins}
    spec = from_tree({**record.spec, **meant}, "the record")
    try:
        return resolve(spec, {}, catalog).spec
    except ClsbenchError:  # a component of it is not installed here
        return spec


def _from_file(spec: ExperimentSpec, each: RowFigures) -> str:
    """Commands that write the whole spec to a file and run it."""
    content, end = format_toml(spec), "END"
    while end in content.splitlines():
        end += "_"
    lines = [f"cat > experiment.toml <<'{end}'", content.rstrip("\n"), end]
    return "\n".join([*lines, _run("experiment.toml", {}, each, [])])


def _quoted(word: str) -> str:
    if printable(word) == word:
        return shlex.quote(word)
    return "$'" + printable(word.replace("\\", r"\\").replace("'", r"\'")) + "'"
