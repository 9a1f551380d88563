"""Options that several commands share, derived from the structs that hold their values."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from msgspec import inspect

from clsbench.cli.completion import complete_component, complete_spec
from clsbench.cli.fields import Field, fields_of
from clsbench.cli.session import RUN_OPTIONS
from clsbench.components.axes import AXES
from clsbench.errors import UsageError
from clsbench.schema.convert import parse_value
from clsbench.schema.environment_variables import ENVIRONMENT
from clsbench.schema.experiment import ExperimentSpec, Method
from clsbench.schema.options import RunOptions

F = TypeVar("F", bound=Callable[..., Any])

WHERE_AND_HOW = "Where and how"
EXPERIMENT = "What to run"
PANELS = ("Arguments", EXPERIMENT, WHERE_AND_HOW, "Options")
"""The panels of a command's help, in order."""

_COMPONENTS = "clsbench.components"
_SETTINGS = "clsbench.settings"
_LONGEST_SHOWN = 200


def panels(function: F) -> F:
    """Order the panels of a command's help; apply directly below ``@click.command``."""
    for name in reversed(PANELS):
        function = click.option_panel(name)(function)
    return function


# --- where and how -------------------------------------------------------------------------------


def run_options(*names: str) -> Callable[[F], F]:
    """Add the options for these fields of :class:`RunOptions` to a command; without names, all.

    The command reads them with :func:`chosen_run_options`.
    """
    fields = [field for field in fields_of(RunOptions) if field.name != "plugins"]

    def decorate(function: F) -> F:
        for field in reversed(fields):
            if not names or field.name in names:
                function = _run_option(field)(function)
        return function

    return decorate


def _run_option(field: Field) -> Callable[[F], F]:
    is_flag = isinstance(field.kind, inspect.BoolType)
    several = isinstance(field.kind, inspect.VarTupleType)
    begins_with_a_value = bool(field.default) and field.description.startswith(str(field.default))
    first = field.description[0] if begins_with_a_value else field.description[0].upper()
    name = field.name.replace("_", "-")
    return click.option(
        f"--{name}/--no-{name}" if field.default is True else f"--{name}",
        field.name,
        type=None if is_flag else _parameter_type(field),
        is_flag=is_flag,
        multiple=several,
        default=field.default,
        show_default=field.default not in (None, (), False),
        envvar=ENVIRONMENT.get(field.name),
        show_envvar=True,
        help=f"{first}{field.description[1:]}.",
        panel=WHERE_AND_HOW,
        expose_value=False,
        callback=_keep_in(RUN_OPTIONS),
    )


def _keep_in(
    key: str, name: str | None = None
) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that stores the value in the context, by default under the parameter's name."""

    def keep(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None:
            ctx.meta.setdefault(key, {})[name or parameter.name] = value
        return value

    return keep


def _parameter_type(field: Field) -> click.ParamType[Any]:
    match field.kind:
        case inspect.LiteralType(values=values):
            return click.Choice(values)
        case inspect.VarTupleType(item_type=inspect.LiteralType(values=values)):
            return click.Choice(values)
        case inspect.IntType(ge=lowest):
            return click.IntRange(min=lowest)
        case inspect.CustomType(cls=cls) if issubclass(cls, Path):
            return _FolderType(path_type=Path)
        case inspect.StrType(pattern=str(pattern)):
            return _PatternType(pattern, field.form)
    return click.STRING


class _FolderType(click.Path):
    """A folder. Empty text, as from an unset shell variable, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and not value.strip():
            self.fail(f"{value!r} is not a folder (use '.' for the current one)", param, ctx)
        return super().convert(value, param, ctx)


class FiniteRange(click.FloatRange):
    """A finite number within limits."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Refuse ``nan`` and ``inf``."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number", param, ctx)
        return number


class OutputType(click.Path):
    """A file to write; its folder must exist."""

    name = "file"

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Refuse a file whose folder does not exist, before anything is computed."""
        file = Path(str(super().convert(value, param, ctx)))
        if not file.absolute().parent.is_dir():
            self.fail(f"{file}: the folder {file.absolute().parent} does not exist", param, ctx)
        return file


def output_option(text: str) -> Callable[[F], F]:
    """Add ``-o/--output``: the file that a command writes."""
    return click.option("--output", "-o", "file", type=OutputType(), help=text)


def json_option(function: F) -> F:
    """Add ``--json``: the result as JSON on stdout."""
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(
        function
    )


def metric_option(function: F) -> F:
    """Add ``--metric``: the primary metric of stored runs."""
    axis = next(axis for axis in AXES if axis.name == "metrics")
    return click.option(
        "--metric",
        metavar="NAME[:OPTION=VALUE,…]",
        shell_complete=complete_component(axis),
        help="Primary metric (clsbench list metrics); computed from stored predictions (default: "
        "that of the experiments).",
    )(function)


def chosen_form(
    form: str | None, as_json: bool, file: Path | None, endings: Mapping[str, str], default: str
) -> str:
    """The output format: from ``--json`` or ``--format``, else from the extension of ``--output``.

    Raises:
        UsageError: both options are given, or the extension is unknown.
    """
    if form is not None and as_json:
        raise UsageError(f"--json and --format {form} cannot be combined")
    if as_json:
        return "json"
    if form is not None or file is None:
        return form or default
    return form_of_ending(file, endings)


def form_of_ending(file: Path, endings: Mapping[str, str]) -> str:
    """The format of a file to write, from its extension.

    Raises:
        UsageError: the extension is unknown.
    """
    form = endings.get(file.suffix.lower())
    if form is None:
        raise UsageError(
            f"--output {file}: unknown extension {file.suffix!r}; expected one of "
            f"{', '.join(endings)}, or --format"
        )
    return form


PLOT_HELP = (
    "Plot accuracy by number of training texts, data.train_size, or mean ranks over data sets "
    "(.svg, .pdf or .png)."
)


class PlotType(OutputType):
    """A plot file; its extension selects the format."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Refuse another extension, or a folder that does not exist."""
        file = super().convert(value, param, ctx)
        if file.suffix not in (".svg", ".pdf", ".png"):
            self.fail(
                f"{file}: unknown extension for a plot; expected .svg, .pdf or .png", param, ctx
            )
        return file


class _PatternType(click.ParamType[str]):
    """Text of a given form; the error describes the form in words."""

    name = "text"

    def __init__(self, pattern: str, meaning: str) -> None:
        self._pattern = re.compile(pattern)
        self._meaning = meaning

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._pattern.match(value):
            shown = value if len(value) <= _LONGEST_SHOWN else value[: _LONGEST_SHOWN - 1] + "…"
            self.fail(f"{shown!r} is not valid; expected {self._meaning}", param, ctx)
        return value


def guard_formulas_option(function: F) -> F:
    """Add ``--guard-formulas``, for commands that write CSV."""
    return click.option(
        "--guard-formulas",
        is_flag=True,
        help="In CSV, put an apostrophe before text that a spreadsheet would evaluate as a "
        "formula: text that begins with =, +, -, @ or a tab. Numbers are unchanged.",
    )(function)


def check_guard_formulas(guard_formulas: bool, form: str) -> None:
    """Refuse ``--guard-formulas`` where no CSV is written.

    Raises:
        UsageError: it is given and ``form`` is not ``csv``.
    """
    if guard_formulas and form != "csv":
        raise UsageError(f"--guard-formulas applies to CSV only, but the output is {form}")


# --- what to run -------------------------------------------------------------------------------


def experiment_argument(default: str | None = None) -> Callable[[F], F]:
    """Add the argument ``EXPERIMENT``: a registered name or a TOML file."""
    optional: dict[str, Any] = {"default": default} if default else {}  # None would be a default
    return click.argument(
        "experiment",
        metavar="[EXPERIMENT|FILE.toml]" if default else "EXPERIMENT|FILE.toml",
        **optional,
        shell_complete=complete_spec("experiments"),
        help="A registered experiment (clsbench list experiments) or a TOML file"
        + (f" [default: {default}]" if default else "."),
    )


def spec_changes(function: F) -> F:
    """Add one option per axis, and ``--set``; read them with :func:`chosen_changes`."""
    function = click.option(
        "--set",
        "settings",
        multiple=True,
        metavar="KEY=VALUE",
        help="Set any other key of the spec: train.lr=1e-4, data.split=book-ablation, seed=7, "
        "freezing.n=2; repeatable (clsbench show EXPERIMENT lists the keys).",
        panel=EXPERIMENT,
        expose_value=False,
        callback=_keep_in(_SETTINGS),
    )(function)
    fields = fields_of(ExperimentSpec)
    optional = {f.name for f in fields if f.default is None and not f.required}
    for axis in reversed(AXES):
        if axis.change_key is not None and axis.option is not None:
            what = (axis.kind.__doc__ or "").partition("\n")[0].partition(". ")[0].rstrip(".")
            removing = "; 'none' removes it" if axis.change_key in optional else ""
            function = click.option(
                axis.option,
                axis.change_key.rpartition(".")[2],
                metavar="NAME" if axis.kind is Method else "NAME[:OPTION=VALUE,…]",
                help=f"{what}{removing}.",
                shell_complete=complete_component(axis),
                panel=EXPERIMENT,
                expose_value=False,
                callback=_keep_in(_COMPONENTS, axis.change_key),
            )(function)
    return function


def chosen_changes(ctx: click.Context) -> dict[str, Any]:
    """The changes to the spec, by dotted key.

    Raises:
        UsageError: a key is set twice, or an argument is not ``KEY=VALUE``.
    """
    changes: dict[str, Any] = dict(ctx.meta.get(_COMPONENTS, {}))
    for text in ctx.meta.get(_SETTINGS, {}).get("settings", ()):
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UsageError(f"--set {text!r} is not KEY=VALUE; example: --set train.lr=1e-4")
        if key in changes:
            raise UsageError(f"{key} is set twice: to {changes[key]!r} and to {value!r}")
        changes[key] = parse_value(value)
    return changes


def parse_seeds(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, ...]:
    """Read ``--seeds 123,124,125``."""
    if value is None:
        return ()
    try:
        seeds = tuple(int(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a list of integers; example: --seeds 123,124,125", ctx, parameter
        ) from None
    if len(set(seeds)) < len(seeds):
        raise click.BadParameter(f"{value!r} names a seed twice", ctx, parameter)
    return seeds
