"""``python -m benchmarks.watch``: history, check and baseline of ``pytest benchmarks/``."""

from __future__ import annotations

import rich_click as click
from benchmarks.watch.check import check
from benchmarks.watch.keep_baseline import baseline
from benchmarks.watch.show_history import history

from clsbench.cli.main import main
from clsbench.cli.session import add_global_options


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def watch() -> None:
    """Watch the times of pytest benchmarks/ over commits and machines."""


for command in (history, check, baseline):
    watch.add_command(command)
add_global_options(watch)

if __name__ == "__main__":
    main(group=watch, prog_name="python -m benchmarks.watch")
