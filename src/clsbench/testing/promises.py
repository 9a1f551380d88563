"""The contract of all components: documented, frozen, and equal after conversion to text and
back."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import msgspec

from clsbench.components.axes import AXES, Axis
from clsbench.components.component import Component, parts_of
from clsbench.components.parts import convert_options
from clsbench.components.values import HubFile
from clsbench.schema.experiment import (
    ExperimentSpec,
    format_component,
    format_toml,
    override,
    parse_component,
    parse_toml,
    to_tree,
    value_at,
)
from clsbench.schema.training import ComponentTable

C = TypeVar("C", bound=Component)

PROBE = "component-under-test"


def require(condition: bool, component: object, promise: str) -> None:
    """Raise ``AssertionError`` naming the component unless ``condition`` holds."""
    if not condition:
        raise AssertionError(f"{component!r}: {promise}")


def check_options(component: Component) -> None:
    """Check that the component is documented, frozen, and equal after conversion to text and back.

    Both text forms are tried: the command line and TOML. Components in its options are taken as
    they are.

    Raises:
        AssertionError: the contract is broken.
    """
    require(
        bool((type(component).__doc__ or "").strip()),
        component,
        "its class has no docstring; the first line is the help text",
    )
    require(
        type(component).__struct_config__.frozen,
        component,
        "its class is not frozen: options never change (write 'frozen=True' after the base)",
    )
    plain = msgspec.to_builtins(component)
    options = {name: each for name, each in plain.items() if name not in parts_of(component)}
    table: ComponentTable = {"name": PROBE, **options}
    _require_same(component, options, "its options as they stand")
    text = format_component(table)
    read = parse_component(text)
    require(
        read.pop("name") == PROBE,
        component,
        f"its name is lost on the command line: {text!r} reads as {read}",
    )
    _require_same(component, read, f"the command line {text!r}")
    _require_same(component, _through_toml(component, table), "TOML")


def check_assets(component: Component) -> None:
    """Check that every asset is pinned and named once, and that a stand-in needs no assets.

    Raises:
        AssertionError: the contract is broken.
    """
    keys = [asset.key for asset in component.assets()]
    require(len(set(keys)) == len(keys), component, f"two of its assets share a key: {keys}")
    for asset in component.assets():
        place = PurePosixPath(asset.key)
        require(
            not place.is_absolute() and ".." not in place.parts and str(place) == asset.key,
            component,
            f"the asset key {asset.key!r} is not a relative path in an assets folder",
        )
        require(bool(asset.sources), component, f"the asset {asset.key} has no source")
        pinned = all(isinstance(source, HubFile) for source in asset.sources)
        require(
            asset.sha256 is not None or pinned,
            component,
            f"the asset {asset.key} has no sha256, and no pinned revision of a hub fixes it",
        )
        require(
            asset.sha256 is None or re.fullmatch("[0-9a-f]{64}", asset.sha256) is not None,
            component,
            f"the sha256 of the asset {asset.key} is not a hexadecimal SHA-256: {asset.sha256}",
        )
    stand_in = component.stand_in()
    require(
        stand_in is None or not stand_in.assets(),
        component,
        f"its stand-in {stand_in!r} needs assets itself",
    )
    paths = component.user_files()
    require(
        all(isinstance(path, Path) for path in paths), component, f"user_files() returns {paths!r}"
    )


def _through_toml(component: Component, table: ComponentTable) -> dict[str, Any]:
    key = _axis_of(component).spec_key
    probe = ExperimentSpec(dataset=PROBE, backbone=PROBE)
    spec = override(probe, {key: table} if key else {"baselines": [table]})
    read = to_tree(parse_toml(format_toml(spec), "the spec of the conformance check"))
    options = dict(value_at(read, key) if key else read["baselines"][0])
    del options["name"]
    return options


def _require_same(component: C, options: dict[str, Any], form: str) -> None:
    read = convert_options(options, type(component), form, parts_of(component))
    require(read == component, component, f"it reads back as {read!r} from {form}")


def _axis_of(component: Component) -> Axis:
    for axis in AXES:
        if isinstance(component, axis.kind):
            return axis
    raise AssertionError(f"{component!r} derives from no kind of component (clsbench.Head …)")
