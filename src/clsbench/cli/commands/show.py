"""``clsbench show``: an experiment's complete specification as TOML."""

from __future__ import annotations

import rich_click as click

from clsbench.cli.experiments import resolve_named
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import (
    chosen_changes,
    experiment_argument,
    json_option,
    panels,
    spec_changes,
)
from clsbench.cli.output import write_data
from clsbench.cli.session import Session


@click.command("show", cls=JsonCommand)
@panels
@experiment_argument()
@spec_changes
@json_option
@click.pass_context
def show_spec(ctx: click.Context, experiment: str, as_json: bool) -> None:
    """Show the complete spec of an experiment as TOML.

    It takes the same changes as run, and run accepts the printed TOML.

    \b
    clsbench show gpt2-sms-spam
    clsbench show gpt2-sms-spam --freezing all --set train.epochs=2 > mine.toml
    clsbench run mine.toml
    """
    from clsbench.schema.experiment import format_toml

    session = ctx.find_object(Session) or Session()
    [resolved] = resolve_named(experiment, [chosen_changes(ctx)], session.catalog())
    if as_json:
        write_result(ctx, dict(resolved.tree))
    else:
        write_data(format_toml(resolved.spec))
