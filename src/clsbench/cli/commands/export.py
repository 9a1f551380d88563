"""``clsbench export``: write the classifier of a stored run in the format of another library."""

from __future__ import annotations

import logging
from pathlib import Path

import rich_click as click

from clsbench.cli.completion import complete_run
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import json_option, panels, run_options
from clsbench.cli.run_warnings import warn_of_run
from clsbench.cli.session import Session, chosen_run_options

logger = logging.getLogger(__name__)


@click.command("export", cls=JsonCommand)
@panels
@click.argument(
    "run",
    shell_complete=complete_run,
    help="A stored run: its name, a prefix of its name, its directory, or latest.",
)
@click.option(
    "--format",
    "form",
    metavar="NAME",
    required=True,
    help="Format to write, with options as NAME:OPTION=VALUE (clsbench list exporters).",
)
@click.option(
    "-o",
    "--output",
    "directory",
    metavar="DIR",
    required=True,
    type=click.Path(path_type=Path),
    help="New folder to write.",
)
@click.option(
    "--allow-changed",
    is_flag=True,
    help="Export even if a component's source has changed since training.",
)
@json_option
@run_options("assets", "offline", "out")
@click.pass_context
def export_classifier(
    ctx: click.Context,
    run: str,
    form: str,
    directory: Path,
    allow_changed: bool,
    as_json: bool,
) -> None:
    """Write the classifier of a stored run in the format of another library.

    Formats come from plugins. With clsbench-transformers, transformers writes a folder that
    AutoModelForSequenceClassification.from_pretrained loads.

    \b
    clsbench export latest --format transformers -o my-classifier
    """
    options = chosen_run_options(ctx)
    session = ctx.find_object(Session) or Session()
    catalog = session.catalog()

    from msgspec.structs import replace

    from clsbench.components.chosen import make_component

    exporter = make_component(form, "exporters", catalog)

    from clsbench.cli.display.downloads import showing_downloads
    from clsbench.cli.output import only_results_on_stdout
    from clsbench.experiment.export import check_target, export_run
    from clsbench.experiment.restore import restore_trained
    from clsbench.results.store import StoredRun, find_run, read_record

    check_target(directory)
    path = find_run(options.out, run)
    stored = StoredRun(path, read_record(path))
    precision = stored.record.environment.precision
    options = replace(options, device="cpu", precision=precision)
    warn_of_run(stored.record, ("dataset", "backbone"))
    with only_results_on_stdout(), showing_downloads(session.quiet) as progress:
        restored = restore_trained(stored, options, catalog, progress, allow_changed)
        files = export_run(stored, restored, exporter, form, directory)
    logger.info("wrote %d files to %s", len(files), directory)
    if as_json:
        write_result(ctx, {"directory": str(directory), "files": files})
