"""Terminal output of a run: its plan, its results, a dry run, several seeds."""

from __future__ import annotations

from pathlib import Path

from rich.console import Group, RenderableType
from rich.text import Text

from clsbench.analysis.figures import ACCURACY, WITHOUT_LEAKED, MetricInfo, ShownMetrics
from clsbench.analysis.seeds import SPLITS, SeedSummary, Spread
from clsbench.components.values import RunPlan
from clsbench.report.terminal.console import Console
from clsbench.report.terminal.figures import (
    before_table,
    comparable_figures,
    confusion_table,
    labels_table,
    loss_table,
    metrics_table,
    published_heading,
    published_table,
)
from clsbench.report.terminal.layout import Row, fitting_table
from clsbench.report.terminal.plan import (
    data_facts,
    dry_run_view,
    fact_table,
    plan_banner,
    stand_in_panel,
)
from clsbench.report.wording import (
    metric_range,
    percent,
    plain,
    rate,
    selection_text,
    spread_text,
    threads_text,
)
from clsbench.schema.experiment import format_toml, from_tree
from clsbench.schema.quantities import duration_text, size_text
from clsbench.schema.record import KeptActivations, RunRecord

_PLOTS = ("loss.svg", "accuracy.svg")


def print_plan(console: Console, plan: RunPlan) -> None:
    """Print the plan of a run before it starts."""
    console.print(plan_banner(plan), highlight=False)


def print_run(
    console: Console, record: RunRecord, metrics: ShownMetrics, path: Path | None = None
) -> None:
    """Print the results of a run that ended; ``path`` is its directory, if it was saved."""

    def show(part: RenderableType | None) -> None:
        if part is not None:
            console.print(part, highlight=False, crop=False)

    width = console.width
    if record.stand_ins:
        show(stand_in_panel(record.stand_ins))
    show(_heading(record))
    if record.error is not None:
        show(plain(record.error, "red"))
    show(metrics_table(record, metrics, width))
    published = published_table(record, width)
    show(published)
    if published is None and (figures := comparable_figures(record)) and figures.losses:
        show(published_heading(record, figures))
    show(before_table(record, width))
    show(loss_table(record, width))
    show(confusion_table(record, width))
    show(labels_table(record, width))
    show(fact_table(_costs(record)))
    for warning in record.warnings:
        show(plain(f"warning: {warning}", "yellow"))
    if path is not None:
        print_paths(console, path)


def _kept_text(kept: KeptActivations) -> str:
    """``1,388 distinct of 1,494 texts: 1,388 computed; 512 MB in memory, 512 MB on disk``."""
    partly = f" ({kept.continued:,} from a cached earlier stage)" if kept.continued else ""
    sources = [f"{kept.computed:,} computed{partly}"]
    if kept.found:
        sources.append(f"{kept.found:,} from earlier runs")
    places = [f"{size_text(kept.memory_bytes)} in memory"]
    if kept.disk_bytes:
        places.append(f"{size_text(kept.disk_bytes)} on disk")
    if kept.recomputed:
        places.append(f"{kept.recomputed:,} recomputed for lack of space")
    return (
        f"{kept.distinct:,} distinct of {kept.texts:,} texts: {', '.join(sources)}; "
        f"{', '.join(places)}"
    )


def print_paths(console: Console, path: Path) -> None:
    """Print the paths of the record and the plots, unwrapped so that they can be copied."""
    plots = [path / name for name in _PLOTS if (path / name).is_file()]
    for name, file in [("record", path / "record.json"), *(("plot", plot) for plot in plots)]:
        line = Text.assemble((f"  {name:<8}", "dim"), plain(str(file)))
        console.print(line, soft_wrap=True, highlight=False)


def print_dry_run(console: Console, record: RunRecord) -> None:
    """Print what a run would do, and its spec as TOML that ``clsbench run`` accepts."""
    console.print(dry_run_view(record), highlight=False)
    console.print(Text("Spec", "bold"))
    spec = format_toml(from_tree(record.spec, "the record"))
    for line in spec.splitlines():
        console.print(plain(line.replace("\t", "    ")), soft_wrap=True, highlight=False)


def print_seeds(console: Console, summary: SeedSummary, metrics: ShownMetrics) -> None:
    """Print the mean, spread and interval of the mean over several seeds of one experiment."""
    console.print(seeds_table(summary, metrics, console.width), highlight=False, crop=False)


def seeds_table(summary: SeedSummary, metrics: ShownMetrics, width: int) -> RenderableType:
    """One row per split and metric."""
    seeds = ", ".join(map(str, summary.seeds)) or "none"
    title = Text(f"{len(summary.seeds)} of {summary.runs} seeds finished: {seeds}", "bold")
    if summary.stand_ins:
        title.append("\nSTAND-INS: ", "yellow")
        title.append_text(plain(", ".join(summary.stand_ins), "yellow"))
    groups = []
    for split in SPLITS:
        found = summary.splits.get(split)
        if found is None:
            continue
        first, *rest = metrics.all()
        spreads = [(each, found.get(each.column)) for each in (first, WITHOUT_LEAKED, *rest)]
        groups.append(
            [_spread_row(split, metric, each) for metric, each in spreads if each is not None]
        )
    headers = ("mean ± sd", "range", "95 % interval of mean")
    return Group(title, fitting_table("metric", headers, groups, width, ("range",), "--json"))


def _spread_row(split: str, metric: MetricInfo, spread: Spread) -> Row:
    first = metric.name == ACCURACY.name
    name = f"{split} {metric.header}" if first else f"  {metric.header}"
    cells = [
        spread_text(metric, spread.mean, spread.sd),
        metric_range(metric, spread.min, spread.max),
        metric_range(metric, *spread.interval) if spread.interval else "-",
    ]
    return Row(Text(name), cells)


def _heading(record: RunRecord) -> Text:
    environment = record.environment
    heading = plain(record.experiment, "bold")
    if record.status != "finished":
        heading.append(f" {record.status.upper()}", "bold red")
    if record.modified and not record.stand_ins:
        heading.append(" (modified)", "yellow")
    facts = f"  seed {record.spec.get('seed', '?')}, {environment.device}, {environment.precision}"
    threads = f", {threads_text(environment.threads)}" if environment.device == "cpu" else ""
    return heading.append_text(plain(f"{facts}{threads}, torch {environment.torch}", "dim"))


def _costs(record: RunRecord) -> list[tuple[str, RenderableType]]:
    """Data, parameters, time, throughput and memory, as far as they are known."""
    facts: list[tuple[str, RenderableType]] = []
    if record.data is not None:
        facts += data_facts(record.data)
    if record.parameters is not None:
        parameters = record.parameters
        share = percent(parameters.trainable / parameters.total) if parameters.total else "-"
        counts = f"{parameters.trainable:,} of {parameters.total:,} trained ({share})"
        facts.append(("parameters", Text(counts)))
    if record.fast_path is not None and record.fast_path.kept is not None:
        facts.append(("prefix", Text(_kept_text(record.fast_path.kept))))
    if record.precision_deviation is not None:
        facts.append(
            (
                "precision",
                Text(
                    f"the loss of a batch before training differs from fp32 by up to "
                    f"{record.precision_deviation:.1e}"
                ),
            )
        )
    if record.history is not None and record.history.selection is not None:
        facts.append(("epochs", plain(selection_text(record.history.selection))))
    if record.phases_seconds:
        phases = ", ".join(f"{name} {value:.1f}" for name, value in record.phases_seconds.items())
        total = duration_text(sum(record.phases_seconds.values()))
        facts.append(("time", plain(f"{total} ({phases})")))
    if record.throughput is not None:
        rates = record.throughput
        facts.append(
            (
                "training",
                Text(
                    f"{rate(rates.examples_per_second)} examples/s, "
                    f"{rate(rates.real_tokens_per_second)} real tokens/s "
                    f"({rate(rates.padded_tokens_per_second)} with padding)"
                ),
            )
        )
    if record.peak_memory_bytes is not None:
        facts.append(("memory", Text(f"{size_text(record.peak_memory_bytes)} at the peak")))
    return facts
