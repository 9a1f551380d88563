"""``clsbench assets``: list, download and verify the files that experiments need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import rich_click as click

from clsbench.cli.completion import complete_component, complete_spec
from clsbench.cli.json_command import JsonCommand, write_result
from clsbench.cli.options import (
    chosen_changes,
    panels,
    run_options,
    spec_changes,
)
from clsbench.cli.output import Line, print_lines
from clsbench.cli.session import Session, chosen_run_options
from clsbench.components.axes import AXES
from clsbench.errors import AssetError, ClsbenchError, UsageError
from clsbench.schema.quantities import size_text

if TYPE_CHECKING:
    from clsbench.assets import FileState
    from clsbench.components.axes import Backbone
    from clsbench.components.catalog import Catalog
    from clsbench.components.values import Asset, NumericalCheck

_BACKBONES = next(axis for axis in AXES if axis.name == "backbones")
_EXPERIMENTS = "Registered experiments or TOML files (default: all registered experiments)."


class Need(NamedTuple):
    """An asset, and the experiments that need it."""

    asset: Asset
    experiments: tuple[str, ...]


@click.group("assets")
def assets() -> None:
    """List, download and verify the published files that experiments need.

    \b
    clsbench assets list                      show location and hash of each file
    clsbench assets fetch DIR gpt2-sms-spam   fill a folder on a machine with a network …
    clsbench run gpt2-sms-spam --assets DIR   … and use it on a machine without one
    clsbench assets verify DIR                check every hash
    clsbench assets verify --numerics gpt2    check the weights against published figures
    """


@assets.command("list", cls=JsonCommand)
@panels
@click.argument(
    "experiments", nargs=-1, shell_complete=complete_spec("experiments"), help=_EXPERIMENTS
)
@run_options("assets")
@spec_changes
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def list_assets(ctx: click.Context, experiments: tuple[str, ...], as_json: bool) -> None:
    """List the files that experiments need, with location, size and hash.

    Searches the assets folder, the cache, and the caches of Hugging Face and tiktoken, without
    network access. Takes the same changes as run: --backbone gpt2:size=medium.
    """
    from clsbench.assets import find

    needs = _needs(ctx, experiments)
    states = find([need.asset for need in needs.values()], chosen_run_options(ctx).assets)
    _write(ctx, needs, states, as_json)


@assets.command("fetch", cls=JsonCommand)
@panels
@click.argument(
    "folder", metavar="DIR", type=click.Path(path_type=Path), help="Created if it does not exist."
)
@click.argument(
    "experiments", nargs=-1, shell_complete=complete_spec("experiments"), help=_EXPERIMENTS
)
@spec_changes
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def fetch_assets(
    ctx: click.Context, folder: Path, experiments: tuple[str, ...], as_json: bool
) -> None:
    """Fill the folder DIR with the files that experiments need, for machines without a network.

    \b
    clsbench assets fetch DIR gpt2-sms-spam
    clsbench assets fetch DIR gpt2-sms-spam --backbone gpt2:size=medium

    Correct files in DIR are kept, cached files are copied, all others are downloaded.
    """
    from clsbench.assets import fetch_folder
    from clsbench.cli.display.downloads import showing_downloads

    session = ctx.find_object(Session) or Session()
    needs = _needs(ctx, experiments)
    with showing_downloads(session.quiet) as progress:
        states = fetch_folder([n.asset for n in needs.values()], folder, progress=progress)
    _write(ctx, needs, states, as_json)


@assets.command("verify", cls=JsonCommand)
@panels
@click.argument(
    "targets",
    metavar="[DIR] [EXPERIMENT]...",
    nargs=-1,
    shell_complete=complete_spec("experiments"),
    help="A folder that must hold every file (default: the places that run searches), then "
    "experiments or TOML files (default: all registered experiments).",
)
@click.option(
    "--numerics",
    metavar="BACKBONE[:OPTION=VALUE,…]",
    shell_complete=complete_component(_BACKBONES),
    help="Build this backbone from its files and check its weights against published figures.",
)
@run_options("assets")
@spec_changes
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_context
def verify_assets(
    ctx: click.Context, targets: tuple[str, ...], numerics: str | None, as_json: bool
) -> None:
    """Check the hash of every file; exit code 3 if a file is missing or wrong.

    Does not access the network.

    \b
    clsbench assets verify DIR                 all files of a folder
    clsbench assets verify DIR gpt2-sms-spam   the files of one experiment
    clsbench assets verify --numerics gpt2     the weights that run would use
    """
    from clsbench.assets import find

    catalog = (ctx.find_object(Session) or Session()).catalog()
    folder, experiments = _folder_and_experiments(targets, catalog)
    backbone = _backbone(numerics, catalog) if numerics is not None else None
    needs = {} if backbone and not experiments else _needs(ctx, experiments, catalog)
    for asset in backbone.assets() if backbone else ():
        users = needs[asset.key].experiments if asset.key in needs else ()
        needs[asset.key] = Need(asset, (*users, f"backbone {numerics}"))
    wanted = [need.asset for need in needs.values()]
    states = find(wanted, folder or chosen_run_options(ctx).assets, caches=folder is None)
    bad = [state for state in states if state.state != "found"]
    checks: tuple[NumericalCheck, ...] | None = None
    if backbone is not None and not bad:
        checks = _numerical_checks(backbone, str(numerics), states)
    _write(ctx, needs, states, as_json, checks)
    if bad:
        raise AssetError(_bad_text(bad, folder))
    if disagreeing := [check.name for check in checks or () if not check.agrees]:
        raise AssetError(
            f"the weights of {numerics} have the right hash, but do not reproduce the published "
            f"figures: {'; '.join(disagreeing)}. Please report this with the output of "
            "clsbench doctor"
        )


# --- what is needed ------------------------------------------------------------------------------


def _needs(
    ctx: click.Context, experiments: Sequence[str], catalog: Catalog | None = None
) -> dict[str, Need]:
    """The assets of the named experiments (default: all), by key.

    Raises:
        UsageError: a named experiment does not exist, or the changes are invalid for it.
    """
    import logging

    from clsbench.cli.experiments import resolve_named

    catalog = catalog or (ctx.find_object(Session) or Session()).catalog()
    changes = chosen_changes(ctx)
    needs: dict[str, Need] = {}
    for name in experiments or catalog.entries["experiments"]:
        try:
            (experiment,) = resolve_named(name, [changes], catalog)
        except ClsbenchError as error:
            if experiments or changes:
                raise
            logging.getLogger(__name__).warning("skipped experiment %s: %s", name, error)
            continue
        for asset in (*experiment.dataset.assets(), *experiment.backbone.assets()):
            known = needs[asset.key].experiments if asset.key in needs else ()
            needs[asset.key] = Need(asset, tuple(dict.fromkeys((*known, name))))
    return needs


def _folder_and_experiments(
    targets: tuple[str, ...], catalog: Catalog
) -> tuple[Path | None, tuple[str, ...]]:
    """The first target is a folder unless it is an experiment and no such folder exists."""
    if not targets:
        return None, ()
    first = Path(targets[0])
    is_experiment = targets[0] in catalog.entries["experiments"] or first.suffix == ".toml"
    if is_experiment and not first.is_dir():
        return None, targets
    return first, targets[1:]


def _backbone(text: str, catalog: Catalog) -> Backbone:
    from clsbench.components.axes import Backbone
    from clsbench.schema.convert import convert
    from clsbench.schema.experiment import parse_component

    table = parse_component(text)
    name = table.pop("name")
    kind = catalog.entry("backbones", name).component
    assert isinstance(kind, type)
    assert issubclass(kind, Backbone)
    return convert(table, kind, f"backbone {name!r}")


def _numerical_checks(
    backbone: Backbone, text: str, states: Sequence[FileState]
) -> tuple[NumericalCheck, ...]:
    files = {state.asset.key: state.path for state in states if state.path is not None}
    checks = backbone.numerical_checks(files)
    if not checks:
        raise UsageError(f"backbone {text} has no published figures to check")
    return checks


def _bad_text(bad: Sequence[FileState], folder: Path | None) -> str:
    keys = ", ".join(f"{state.asset.key} ({state.state})" for state in bad)
    return (
        f"{len(bad)} file{'s are' if len(bad) > 1 else ' is'} missing or wrong: {keys}; "
        f"on a machine with a network, run: clsbench assets fetch {folder or 'DIR'}"
    )


# --- showing -------------------------------------------------------------------------------------


def _write(
    ctx: click.Context,
    needs: dict[str, Need],
    states: Sequence[FileState],
    as_json: bool,
    checks: Sequence[NumericalCheck] | None = None,
) -> None:
    if as_json:
        result: dict[str, Any] = {"assets": [_plain(needs[s.asset.key], s) for s in states]}
        write_result(ctx, result if checks is None else {**result, "numerics": checks})
        return
    print_lines(_asset_lines(needs, states))
    if checks is not None:
        print_lines(_check_lines(checks))


def _plain(need: Need, state: FileState) -> dict[str, Any]:
    from clsbench.assets import source_url

    return {
        "key": state.asset.key,
        "state": state.state,
        "detail": state.detail,
        "path": str(state.path) if state.path else None,
        "size_bytes": _size_bytes(state),
        "sha256": state.sha256,
        "expected_sha256": state.asset.sha256,
        "needed_by": need.experiments,
        "sources": [source_url(source) for source in state.asset.sources],
    }


def _asset_lines(needs: dict[str, Need], states: Sequence[FileState]) -> Iterator[Line]:
    from rich.text import Text

    style = {"found": "green", "missing": "yellow", "wrong": "bold red"}
    for state in states:
        size_bytes = _size_bytes(state)
        size = f"  {size_text(size_bytes)}" if size_bytes is not None else ""
        where = f" ({state.detail})" if state.state == "found" else ""
        yield Line(
            Text(f"{state.asset.key}  ", "bold cyan"),
            Text.assemble((state.state, style[state.state]), where, size),
        )
        if state.state == "found":
            yield Line(Text("    "), Text(str(state.path)))
        else:
            yield Line(Text("    "), Text(state.detail))
        label = "sha256 " if state.sha256 else "expected sha256 "
        hash_text = state.sha256 or state.asset.sha256 or "not published; its revision is pinned"
        yield Line(Text(f"    {label}", "dim"), Text(hash_text, "dim"))
        users = ", ".join(needs[state.asset.key].experiments)
        yield Line(Text("    needed by ", "dim"), Text(users, "dim"))


def _check_lines(checks: Sequence[NumericalCheck]) -> Iterator[Line]:
    from rich.text import Text

    for check in checks:
        verdict = ("agrees", "green") if check.agrees else ("DISAGREES", "bold red")
        yield Line(Text(f"{check.name}  ", "bold cyan"), Text.assemble(verdict))
        yield Line(Text("    expected ", "dim"), Text(check.expected))
        yield Line(Text("    measured ", "dim"), Text(check.measured))


def _size_bytes(state: FileState) -> int | None:
    return state.path.stat().st_size if state.path else state.asset.size_bytes
