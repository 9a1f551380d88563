"""The base of every component."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from clsbench.components.values import Asset


def parts_of(component: Component) -> dict[str, Component]:
    """The components in the options of a component, by option."""
    values = {name: getattr(component, name) for name in component.__struct_fields__}
    return {name: value for name, value in values.items() if isinstance(value, Component)}


def unwritten(component: Component, method: str) -> NotImplementedError:
    """The error of a method that a class of a plugin must write."""
    return NotImplementedError(f"the class {type(component).__name__} has no method {method}()")


class Component(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every component; its fields, the options, are plain TOML values.

    An option may also hold another component, such as a wrapped data set: ``of: clsbench.Dataset``.
    What that needs, the component needs too.

    ``libraries`` declares the distributions, besides torch and clsbench, whose versions may change
    the component's results (``libraries: ClassVar[tuple[str, ...]] = ("transformers",)``). Their
    installed versions are recorded and are part of the experiment's fingerprint.

    ``stateful: ClassVar[bool] = True`` declares that a module of the component changes state that
    it holds outside its buffers and plain attributes; the run then takes the plain path (see
    docs/fast-path-contract.md).
    """

    libraries: ClassVar[tuple[str, ...]] = ()
    stateful: ClassVar[bool] = False

    def assets(self) -> tuple[Asset, ...]:
        """The published files it needs, found or fetched before it is used.

        By default those of the components in its options.
        """
        return tuple(asset for part in parts_of(self).values() for asset in part.assets())

    def user_files(self) -> tuple[Path, ...]:
        """The files that the user named in its options; checked first, never replaced.

        Their content (for a folder, that of all files in it) identifies the run, so name every file
        that is read because of an option. By default those of the components in its options.
        """
        return tuple(file for part in parts_of(self).values() for file in part.user_files())

    def user_file_warnings(self) -> tuple[str, ...]:
        """Messages about content of :meth:`user_files` that is not used, each with the reason."""
        parts = parts_of(self).values()
        return tuple(warning for part in parts for warning in part.user_file_warnings())

    def stand_in(self) -> Component | None:
        """The embedded component to use where ``--offline`` finds an asset missing.

        By default itself with the stand-ins of the components in its options, if they have any.
        """
        found = {option: part.stand_in() for option, part in parts_of(self).items()}
        replaced = {option: each for option, each in found.items() if each is not None}
        other = msgspec.structs.replace(self, **replaced) if replaced else None
        return other if other is not None and not other.assets() else None
