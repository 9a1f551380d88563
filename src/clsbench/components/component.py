"""The base of every component."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec

from clsbench.components.values import Asset


def unwritten(component: Component, method: str) -> NotImplementedError:
    """The error of a method that a class of a plugin must write."""
    return NotImplementedError(f"the class {type(component).__name__} has no method {method}()")


class Component(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of every component; its fields, the options, are plain TOML values.

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
        """The published files it needs, found or fetched before it is used."""
        return ()

    def user_files(self) -> tuple[Path, ...]:
        """The files that the user named in its options; checked first, never replaced.

        Their content (for a folder, that of all files in it) identifies the run, so name every file
        that is read because of an option.
        """
        return ()

    def user_file_warnings(self) -> tuple[str, ...]:
        """Messages about content of :meth:`user_files` that is not used, each with the reason."""
        return ()

    def stand_in(self) -> Component | None:
        """The embedded component to use where ``--offline`` finds an asset missing."""
        return None
