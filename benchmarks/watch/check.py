"""``benchmarks.watch check``: whether the latest run of the benchmarks is slower than before."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import rich_click as click
from benchmarks.watch.show_history import DEFAULT_BASELINE, folder_option, history_in
from click.core import ParameterSource

from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.session import Session
from clsbench.cli.termination import handling_termination
from clsbench.errors import NotMeasuredError, UsageError
from clsbench.schema.quantities import duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.watch.history import BenchmarkRun, History
    from benchmarks.watch.verdicts import Machine, Thresholds, Verdict

_SLOWER, _NOT_MEASURED = 1, 4
_LEAST_THRESHOLD = 0.01


@click.command("check", cls=JsonCommand)
@folder_option
@click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="[NAME=]FRACTION",
    default=("0.05",),
    show_default=True,
    help="The smallest slow-down that matters, as a fraction; with NAME=, for benchmarks whose "
    "group begins with NAME or whose name contains it; repeatable, the longest match applies.",
)
@click.option(
    "--by",
    "judges",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help=f"Folder of runs for comparison [default: {DEFAULT_BASELINE}, written by the command "
    "baseline, if it contains runs on a similar machine; else the earlier runs]",
)
@click.option(
    "--against",
    metavar="REV",
    help="Compare the sources here with those of a git revision instead: runs of both at the same "
    "time, with alternating rounds, which a shared machine requires.",
)
@click.option(
    "--pairs",
    type=click.IntRange(min=5),
    default=5,
    show_default=True,
    help="Minimum number of runs per side for --against; up to five times as many if they vary too "
    "much to detect the threshold.",
)
@click.option(
    "--select",
    metavar="EXPRESSION",
    default="",
    help="Run only these benchmarks for --against (expression of pytest -k).",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="CPU threads of torch for --against (default: torch's own). One thread is most precise, "
    "since it stays on one core.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def check(
    ctx: click.Context,
    folder: Path,
    judges: Path | None,
    thresholds: tuple[str, ...],
    against: str | None,
    pairs: int,
    select: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Compare the latest run of the benchmarks with the baseline, or with all earlier ones.

    Only complete runs on similar machines are used; at least five are required. If at least five
    come from other commits, runs of the commit under test are ignored, so a regression cannot mask
    itself. Later commits are compared with this run too, so a lasting slow-down is reported once,
    unless the command baseline has fixed the reference.

    A benchmark is slower if it exceeds the threshold and the prediction interval of unchanged runs,
    which any benchmark leaves by chance in one run of two hundred. Reference work is timed beside
    every round: if earlier runs agree better in multiples of it than in seconds, multiples are
    compared. If its time differs by 3 % or more from all earlier runs (multiples: 10 %), the
    machine is in another state and no verdict is given. If the times of a benchmark shift between
    two commits and those of the reference work do not, with five runs on either side, only the
    later runs count.

    If unchanged runs vary so much that twice the threshold could not be detected, the benchmark
    counts as not measured. A benchmark with two speeds, of which earlier runs showed only one, may
    be reported as slower: run it again, or use --against.

    Exit codes: 0: nothing is slower; 1: a benchmark is slower; 2: invalid request; 4: a benchmark
    could not be judged (too few undisturbed rounds, runs that vary too much, a machine in another
    state, too few earlier runs, or failing benchmarks of --against). Benchmarks that only the new
    side of --against has are ignored.

    PYTEST_ADDOPTS holds further options of pytest benchmarks/ for the runs of --against, such as
    "--backbone gpt2:size=small,weights=random --assets DIR --seconds 5".

    \b
    python -m benchmarks.watch check
    python -m benchmarks.watch check --threshold 0.1 --threshold "freezing: train step=0.05"
    python -m benchmarks.watch check --against main --select last-blocks --threads 1
    """
    from benchmarks.watch.verdicts import MOST_TIMES, judge, judge_pairs, more_pairs

    ctx.with_resource(handling_termination())
    chosen = _thresholds(thresholds)
    _refuse_options_of_the_other_way(ctx, against is not None)
    if against is not None:
        from benchmarks.watch.checkouts import commit_of, runs_in_pairs

        arguments = ["-k", select] if select else []
        if threads is not None:
            arguments.append(f"--threads={threads}")
        quiet = (ctx.find_object(Session) or Session()).quiet

        def more(done: Sequence[tuple[BenchmarkRun, BenchmarkRun]]) -> bool:
            if len(done) == 1:  # before hours are spent
                _refuse_names_of_nothing(chosen, judge_pairs(done, chosen))
            wanted = more_pairs(done, chosen, pairs)
            if wanted and not quiet:
                most = pairs if len(done) < pairs else MOST_TIMES * pairs
                up_to = "" if most == pairs else "at most "
                click.echo(f"pair {len(done) + 1} of {up_to}{most} …", err=True)
            return wanted

        commit = commit_of(Path.cwd(), against)
        try:
            runs = runs_in_pairs(Path.cwd(), commit, arguments, more)
        except OSError as error:  # a full disk, no socket: no regression
            raise NotMeasuredError(f"the benchmarks cannot be run: {error}") from None
        verdicts = judge_pairs(runs, chosen)
        facts: dict[str, Any] = {
            "against": against,
            "commit": commit,
            "pairs": len(runs),
            "machine": msgspec.json.decode(runs[0][1].machine),
        }
        titles = [
            f"the sources here against {against}, {len(runs)} runs of each, with alternating rounds"
        ]
    else:
        history = history_in(folder)
        latest = _latest(history)
        earlier, origin = _to_judge_by(history, latest, judges)
        verdicts, machine = judge(latest, earlier, chosen)
        _refuse_names_of_nothing(chosen, verdicts)
        facts = {
            "run": str(latest.file),
            "commit": latest.commit,
            "judged_by": origin,
            "machine": machine,
        }
        titles = [
            f"the run of {latest.date[:19]} at {latest.commit} ({latest.file}), judged by {origin}"
        ]
        if machine is not None:
            titles.append(_machine_text(machine))
    if as_json:
        write_result(ctx, {**facts, "verdicts": verdicts})
    else:
        _print_verdicts(titles, verdicts)
    if not verdicts:
        raise NotMeasuredError("nothing to judge: no benchmark of that run was timed")
    outcomes = {verdict.outcome for verdict in verdicts}
    if "slower" in outcomes:
        ctx.exit(_SLOWER)
    if outcomes & {"not measured", "too few runs"}:
        ctx.exit(_NOT_MEASURED)


def _refuse_options_of_the_other_way(ctx: click.Context, making: bool) -> None:
    """Refuse options that apply only with, or only without, ``--against``."""
    others = {"judges": "--by", "folder": "--from"} if making else {
        name: f"--{name}" for name in ("pairs", "select", "threads")}  # fmt: skip
    for name, option in others.items():
        if ctx.get_parameter_source(name) is ParameterSource.DEFAULT:
            continue
        if making:
            raise UsageError(f"{option} selects stored runs, but --against makes new ones")
        raise UsageError(f"{option} requires --against REV")


def _latest(history: History) -> BenchmarkRun:
    """The run to be judged.

    Raises:
        NotMeasuredError: a later run is stored, but cannot be read.
    """
    latest = history.runs[-1]
    for problem in history.problems:
        if problem.file.exists() and _written(problem.file) >= _written(latest.file):
            raise NotMeasuredError(
                f"{problem.text}; it was written after every run that can be read: remove it, or "
                "run pytest benchmarks/ again"
            )
    return latest


def _written(file: Path) -> str:
    """The time when pytest-benchmark wrote a run, from its name or else the file's time (UTC)."""
    named = re.search(r"_(\d{8}_\d{6})", file.name)
    if named is not None:
        return named[1]
    return datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime("%Y%m%d_%H%M%S")


def _to_judge_by(
    history: History, latest: BenchmarkRun, folder: Path | None
) -> tuple[Sequence[BenchmarkRun], str]:
    """The runs on a similar machine with which ``latest`` is compared, and their description."""
    from benchmarks.watch.history import FEWEST_RUNS, like_runs, read_history

    baseline = read_history(folder or DEFAULT_BASELINE)
    if baseline.problems:
        raise UsageError(
            f"{baseline.problems[0].text}; restore the file, or replace the baseline with "
            "python -m benchmarks.watch baseline"
        )
    if folder is not None and not baseline.runs:
        raise UsageError(f"no benchmark runs in {folder}; select another folder with --by")
    kept = like_runs(baseline, latest)
    if folder is None and not kept:
        earlier = like_runs(history, latest)
        others = [run for run in earlier if run.commit != latest.commit]
        if len(others) >= FEWEST_RUNS:
            return others, f"{len(others)} runs of other commits on a like machine"
        return earlier, f"{len(earlier)} earlier runs on a like machine"
    commits = " and ".join(dict.fromkeys(run.commit for run in kept)) or "no commit"
    return kept, f"{len(kept)} runs of {commits} in {folder or DEFAULT_BASELINE}"


def _machine_text(machine: Machine) -> str:
    """A description of the machine's state according to the reference work."""
    pace = (
        f"the reference work took {machine.pace:.0%} of its usual time; in the runs it is judged "
        f"by, {machine.lowest:.0%} to {machine.highest:.0%}"
    )
    if machine.strange:
        return f"{pace}: the machine is in a different state than then; no verdict is possible"
    if machine.relative:
        return f"{pace}: changes are of multiples of it, in which those runs agree better"
    return f"{pace}; changes are of seconds, in which those runs agree better"


def _thresholds(texts: Sequence[str]) -> Thresholds:
    from benchmarks.watch.verdicts import Thresholds

    general, special = 0.05, {}
    for text in texts:
        name, _, number = (part.strip() for part in text.rpartition("="))
        try:
            fraction = float(number)
        except ValueError:
            fraction = -1.0
        if not 0 <= fraction < 100:
            raise UsageError(
                f"--threshold {text!r} is not FRACTION or NAME=FRACTION; example: 0.05"
            )
        if fraction < _LEAST_THRESHOLD:
            raise UsageError(
                f"--threshold {text!r}: less than {_LEAST_THRESHOLD:g} cannot be detected"
            )
        if name:
            special[name] = fraction
        elif "=" in text:
            raise UsageError(f"--threshold {text!r} names no benchmarks before the =")
        else:
            general = fraction
    return Thresholds(general, special)


def _refuse_names_of_nothing(thresholds: Thresholds, verdicts: Sequence[Verdict]) -> None:
    for name in thresholds.special:
        if not any(thresholds.fits(name, each.benchmark, each.group) for each in verdicts):
            raise UsageError(
                f"--threshold {name}=…: no benchmark here has that in its name, or a group that "
                "begins so"
            )


def _print_verdicts(titles: Sequence[str], verdicts: Sequence[Verdict]) -> None:
    from rich.text import Text

    from clsbench.report.terminal.console import Console
    from clsbench.report.terminal.layout import Row, fitting_table

    console = Console()
    for title in titles:
        console.prose(title)
    styles = {"slower": "bold red", "faster": "green", "not measured": "yellow", "new": "dim"}
    rows = []
    for verdict in verdicts:
        time = duration_text(verdict.seconds) if verdict.seconds else "–"
        change = f"{verdict.ratio - 1:+.1%}" if verdict.ratio else "–"
        least = max((verdict.limit or 1) - 1, verdict.threshold)
        cells = (
            time,
            change,
            f"{least:.1%}" if verdict.limit else "–",
            str(verdict.earlier_runs),
            Text(verdict.outcome, styles.get(verdict.outcome, "")),
        )
        label = Text(verdict.benchmark.partition("::")[2] or verdict.benchmark)
        rows.append(Row(label, cells))
    headers = ("time", "change", "least detectable", "runs before", "verdict")
    optional = ("runs before", "least detectable")
    console.print(fitting_table("benchmark", headers, [rows], console.width, optional, "--json"))
