"""The command ``clsbench``: its subcommands, imported on use, and its exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, NoReturn

import rich_click as click

from clsbench.cli.errors import INTERRUPTED, report_error, report_unexpected
from clsbench.cli.session import add_global_options
from clsbench.cli.termination import TERMINATED, Terminated
from clsbench.errors import ClsbenchError, closest_match_hint


class _Entry(NamedTuple):
    """The name of a command's click object in its module, and the first line of its help."""

    attribute: str
    summary: str


COMMANDS = {
    "run": _Entry(
        "run_experiment", "Run an experiment: fine-tune, evaluate, store and show the result."
    ),
    "suite": _Entry("suite", "Run several experiments that differ from a base, and compare them."),
    "list": _Entry("list_components", "List the available components and their options."),
    "show": _Entry("show_spec", "Show the complete spec of an experiment as TOML."),
    "results": _Entry("results", "List stored runs, one per row."),
    "compare": _Entry("compare", "Compare stored runs and their baselines with paired tests."),
    "report": _Entry(
        "report", "Write a report on a suite or on several runs: which row is best, and its cost."
    ),
    "predict": _Entry(
        "predict", "Predict the classes of texts with the classifier of a stored run."
    ),
    "export": _Entry(
        "export_classifier",
        "Write the classifier of a stored run in the format of another library.",
    ),
    "bench": _Entry(
        "bench", "Time the phases of an experiment: tokenization, forward, backward, steps."
    ),
    "assets": _Entry(
        "assets", "List, download and verify the published files that experiments need."
    ),
    "cache": _Entry(
        "cache", "List or clear activations and converted files that earlier runs have cached."
    ),
    "doctor": _Entry(
        "doctor", "Check this machine: versions, devices, threads, plugins and assets."
    ),
}
"""The commands. ``clsbench.cli.commands.<name>`` holds the click object of each."""


class _LazyGroup(click.RichGroup):
    """Imports the module of a command when the command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command without its options; enough for help and completion of the group."""
        if cmd_name not in COMMANDS:
            return None
        return click.RichCommand(name=cmd_name, help=COMMANDS[cmd_name].summary)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in COMMANDS:
            return name, load_command(name), args[1:]
        if not name.startswith("-") and not ctx.resilient_parsing:
            raise click.UsageError(
                f"unknown command {name!r}{closest_match_hint(name, COMMANDS)}", ctx
            )
        return super().resolve_command(ctx, args)


def load_command(name: str) -> click.Command:
    """Import the module of the command ``name`` and return its click object."""
    module = import_module(f"clsbench.cli.commands.{name}")
    command = getattr(module, COMMANDS[name].attribute)
    assert isinstance(command, click.Command)
    add_global_options(command)
    return command


COMPLETION = """Shell completion: add the line for your shell to its start-up file.

eval "$(_CLSBENCH_COMPLETE=bash_source clsbench)"   in ~/.bashrc

eval "$(_CLSBENCH_COMPLETE=zsh_source clsbench)"    in ~/.zshrc

_CLSBENCH_COMPLETE=fish_source clsbench | source    in config.fish
"""


@click.group(
    cls=_LazyGroup,
    epilog=COMPLETION,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "rich_help_config": {
            "max_width": 100,
            "padding_helptext_first_line": (0, 0, 1, 0),
            "text_paragraph_linebreaks": "\n\n",
            "style_helptext": "default",
        },
    },
)
@click.version_option(package_name="clsbench", prog_name="clsbench")
def app() -> None:
    """Compare ways to fine-tune language models for text classification, and their cost.

    \b
    clsbench run gpt2-sms-spam --offline     with embedded stand-ins, one minute
    clsbench run gpt2-sms-spam --assets DIR  with the real corpus and weights
    clsbench run gpt2-sms-spam --freezing last-blocks:n=2 --set train.lr=1e-4
    clsbench list freezing                   available components
    clsbench results                         stored runs, as a table
    """


add_global_options(app)


def main(
    arguments: Sequence[str] | None = None,
    *,
    group: click.RichGroup = app,
    prog_name: str = "clsbench",
) -> NoReturn:
    """Run the command line, or that of another ``group``, and exit the process.

    Exit codes: 0: success; 2: invalid request; 3: a required file is unavailable; 130: interrupted;
    143: terminated; 1: any other error.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    _replace_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal without UTF-8 shows ?, without an error
            stream.reconfigure(errors="replace")
    try:
        code = group.main(arguments, prog_name=prog_name, standalone_mode=False) or 0
        sys.stdout.flush()
    except ClsbenchError as error:
        if error.__cause__ is not None:  # what a plugin raised, for --verbose
            import logging

            logging.getLogger("clsbench").debug("because of this", exc_info=error.__cause__)
        report_error(str(error))
        code = error.exit_code
    except click.ClickException as error:
        report_error(error.format_message(), _help_for(error))
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        # Click makes an Abort of it.
        terminated = any(isinstance(e, Terminated) for e in (error, error.__context__))
        report_error("terminated" if terminated else "interrupted")
        code = TERMINATED if terminated else INTERRUPTED
    except BrokenPipeError:  # the reader of our output has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except Exception as error:
        import logging

        code = report_unexpected(
            error, verbose=logging.getLogger("clsbench").isEnabledFor(logging.DEBUG)
        )
    sys.exit(code)


def _replace_closed_streams() -> None:
    """Open standard streams that the shell has closed (``>&-``) on the null device.

    Python has ``None`` for such a stream, and the next file opened would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
            mode = "r" if name == "stdin" else "w"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _help_for(error: click.ClickException) -> str | None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"see {context.command_path} --help" if context else None
