"""Measure clsbench on a GPU with one command, or rehearse that on the CPU; ``--help`` explains."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import rich_click as click

import clsbench
from bounded_parts import OtherConditionsError, PartReport, earlier_report, run_parts
from clsbench.cli.termination import TERMINATED, handling_termination
from clsbench.schema.quantities import duration_text
from clsbench.system.environment import cpu_name, git_commit, no_cuda_device
from clsbench.system.filesystem import replace_text
from gpu_page import Heading, page
from gpu_parts import KINDS, Job, parts

PAGE = "gpu.md"
_MINUTES, _REHEARSAL_MINUTES = 8.0, 60.0
_INTERRUPTED_CODE = 130


def no_gpu() -> str | None:
    """The reason why nothing can run on a GPU, and what to do; ``None`` if torch finds one."""
    import torch

    if torch.cuda.is_available():
        return None
    way = "choose --rehearse to run everything on the CPU with miniature sizes"
    return f"{no_cuda_device()}, or {way}"


def _print_requirements(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from needed_distributions import lines

        for line in lines():
            click.echo(line)
        ctx.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--assets",
    type=click.Path(path_type=Path, file_okay=False, exists=True, resolve_path=True),
    envvar="CLSBENCH_ASSETS",
    help="Folder with the SMS corpus and GPT-2's vocabulary, as filled by clsbench assets fetch; "
    "missing files are downloaded.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False, resolve_path=True),
    required=True,
    help="Folder for the page gpu.md, one JSON file per part, and the trace.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0),
    show_default="8, or 60 with --rehearse",
    help="Time for all parts; those that it does not reach are skipped.",
)
@click.option(
    "--rehearse",
    is_flag=True,
    help="Run everything on the CPU with miniature sizes, to see that it works.",
)
@click.option(
    "--part",
    "chosen",
    multiple=True,
    type=click.Choice(list(KINDS)),
    help="Run only this part; repeatable. The page keeps the other parts in OUTPUT.",
)
@click.option(
    "--requirements",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_requirements,
    help="Only list what a machine with torch needs besides, as a requirements file.",
)
def main(
    assets: Path | None,
    output: Path,
    minutes: float | None,
    rehearse: bool,
    chosen: tuple[str, ...],
) -> None:
    """Measure everything worth knowing on a GPU, the most valuable first.

    Each part runs in a process of its own with a limit in time. Its results are written to
    OUTPUT/PART.json, and the page OUTPUT/gpu.md is rewritten after each part, so that an early end
    loses nothing. OUTPUT holds the results of one machine with one set of versions and sources.

    The parts: doctor, the tests marked cuda, the race against the book's code and its GPTModelFast
    in fp32 (TF32 off and on) and bf16, rows 1 and 5 run whole, CUDA graphs and torch.compile for
    the cached step, a trace of the training loop, peak memory, throughput per freezing strategy.

    Exit codes: 0: every part finished; 1: a part failed, was ended at its limit or was skipped; 2:
    invalid request, no GPU, or OUTPUT holds results of other conditions; 130: interrupted; 143:
    terminated.

    A first try: python benchmarks/gpu.py --rehearse --assets DIR --output rehearsal

    On a GPU: python benchmarks/gpu.py --assets DIR --output gpu

    It needs the peer: pip install --no-deps llms-from-scratch==1.0.19.
    """
    if not rehearse and (problem := no_gpu()) is not None:
        click.echo(f"error: {problem}", err=True)
        sys.exit(2)
    job = Job(
        part="",
        device="cpu" if rehearse else "cuda",
        output=str(output),
        assets=None if assets is None else str(assets),
        rehearse=rehearse,
    )
    if minutes is None:
        minutes = _REHEARSAL_MINUTES if rehearse else _MINUTES
    heading = heading_of(rehearse, minutes, chosen)
    try:
        found = [earlier_report(part, output, heading.conditions()) for part in parts(job)]
    except OtherConditionsError as problem:
        click.echo(f"error: {problem}\nchoose another folder for --output", err=True)
        sys.exit(2)
    earlier = {each.name: each for each in found if each is not None and each.name not in chosen}
    output.mkdir(parents=True, exist_ok=True)
    reports: list[PartReport] = []
    statuses: dict[str, str] = {}

    def write_page(ended: str) -> None:
        by_name = (earlier if chosen else {}) | {report.name: report for report in reports}
        shown = [by_name[name] for name in KINDS if name in by_name]
        replace_text(output / PAGE, page(heading, shown, ended))

    def changed(latest: Sequence[PartReport]) -> None:
        reports[:] = latest
        write_page("Not finished yet")
        for report in latest:
            if statuses.get(report.name, "not started") != report.status:
                statuses[report.name] = report.status
                click.echo(_progress(report), err=True)

    wanted = [part for part in parts(job) if not chosen or part.name in chosen]
    ended = "Finished"
    code = 0
    with handling_termination() as terminated:
        try:
            run_parts(wanted, output, minutes * 60, changed, heading.conditions())
        except KeyboardInterrupt:
            ended = "Interrupted"
            code = TERMINATED if terminated else _INTERRUPTED_CODE
    seconds = sum(report.seconds for report in reports)
    ended = f"{ended} after {duration_text(seconds)}"
    write_page(ended)
    click.echo(f"{ended}; see {output / PAGE}", err=True)
    sys.exit(code or int(any(report.status != "finished" for report in reports)))


def heading_of(rehearse: bool, minutes: float, chosen: Sequence[str]) -> Heading:
    name = cpu_name()
    if not rehearse:
        import torch

        name = f"{torch.cuda.get_device_name()} (CUDA {torch.version.cuda}), {name}"
    versions = {name: metadata.version(name) for name in ("clsbench", "torch")}
    return Heading(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={
            "Python": platform.python_version(), **versions, "commit": git_commit() or "unknown",
            "sources": _sources(),
        },
        device_name=name,
        rehearse=rehearse,
        minutes=minutes,
        chosen=chosen,
    )  # fmt: skip


def _sources() -> str:
    """A checksum of the modules of clsbench, which may come from a wheel, and of this folder."""
    digest = hashlib.sha256()
    for folder in (Path(clsbench.__file__).parent, Path(__file__).parent):
        for file in sorted(folder.rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _progress(report: PartReport) -> str:
    took = f" in {duration_text(report.seconds)}" if report.seconds else ""
    reason = f" ({report.reason})" if report.reason else ""
    return f"{report.name}: {report.status}{took}{reason}"


if __name__ == "__main__":
    main()
