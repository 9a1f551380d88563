"""``clsbench doctor``: check this machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import rich_click as click

from clsbench.cli.json_command import JsonCommand
from clsbench.cli.options import panels, run_options
from clsbench.cli.output import Line, only_results_on_stdout, print_lines, write_json
from clsbench.cli.session import Session, chosen_run_options
from clsbench.schema.quantities import size_text

if TYPE_CHECKING:
    from clsbench.cli.commands.doctor_checks import AssetState, Diagnosis


_TITLE = "bold underline"


@click.command("doctor", cls=JsonCommand)
@panels
@run_options("assets", "offline", "out")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this machine: versions, devices, threads, plugins and assets.

    Exit codes: 0: success; 1: a plugin cannot be loaded, or an asset file has the wrong content;
    2: an option is invalid.

    \b
    clsbench doctor                contact the servers of missing assets, for up to 5 s
    clsbench doctor --offline      do not access the network
    clsbench doctor --assets DIR   search that folder first, as run does
    """
    import logging

    from clsbench.components.catalog import load_catalog

    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    if not session.verbose:  # the report lists wrong files in caches
        logging.getLogger("clsbench.assets").setLevel(logging.ERROR)
    with only_results_on_stdout():
        from clsbench.cli.commands.doctor_checks import diagnose

        # The report lists plugins that fail to load, installed ones and those of --plugin.
        catalog = load_catalog(session.plugins, skip_failed=True)
        diagnosis = diagnose(options, catalog)
    if as_json:
        write_json(diagnosis)
    else:
        print_lines(_lines(diagnosis))
    if diagnosis.problems():
        ctx.exit(1)


def _lines(diagnosis: Diagnosis) -> Iterator[Line]:
    yield from _section("Versions", diagnosis.versions.items())
    yield from _section(
        "Machine",
        [
            ("platform", diagnosis.platform),
            ("memory", size_text(diagnosis.memory_bytes)),
            (
                "threads",
                f"torch uses {diagnosis.threads.torch} (--threads); this process may use "
                f"{diagnosis.threads.available} of {diagnosis.threads.machine} processors",
            ),
        ],
    )
    yield from _section(
        "Devices",
        [
            (device.name, device.description + _memory(device.memory_bytes))
            for device in diagnosis.devices
        ],
    )
    yield from _section("Folders", diagnosis.folders.items())
    yield from _section("Environment", diagnosis.environment.items())
    used = [p for p in diagnosis.plugins if p.failure is None]
    failed = [p for p in diagnosis.plugins if p.failure is not None]
    yield from _section("Plugins in use", [(p.plugin, p.file or "") for p in used])
    yield from _section("Plugins that failed", [(p.plugin, p.failure or "") for p in failed], "red")
    yield from _asset_lines(diagnosis.assets)


def _section(title: str, rows: Iterable[tuple[str, str]], style: str = _TITLE) -> Iterator[Line]:
    from rich.text import Text

    rows = list(rows)
    if not rows:
        return
    yield Line(Text(title, style), Text())
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield Line(Text(f"  {name.ljust(width)}  ", "cyan"), Text(text))
    yield Line(Text(), Text())


def _asset_lines(assets: Iterable[AssetState]) -> Iterator[Line]:
    from rich.text import Text

    yield Line(Text("Assets", _TITLE), Text())
    for asset in assets:
        detail = f"{asset.state}: {asset.detail}" if asset.state != "missing" else "missing"
        needed = f"  (for {', '.join(asset.needed_by)})"
        yield Line(Text(f"  {asset.key}  ", "cyan"), Text.assemble(detail, (needed, "dim")))
        for url, answer in asset.servers.items():
            yield Line(Text(f"      {url}  "), Text(answer))


def _memory(size_bytes: int | None) -> str:
    return f", {size_text(size_bytes)}" if size_bytes is not None else ""
