"""The identity of a component: its code, its libraries, its options and the user's files.

The fingerprint, the record, ``predict`` and the keys of cached activations all use it. Code is
identified by distribution and version, or by its source if that can change without a new version
(``--plugin``, editable installs). The user's files are identified by content, not by path.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from clsbench.components.component import Component, parts_of
from clsbench.errors import PluginError, UsageError
from clsbench.schema.changes import short_component
from clsbench.schema.experiment import COMPONENT_KEYS, value_at, with_value
from clsbench.schema.record import ComponentIdentity

if TYPE_CHECKING:
    from clsbench.components.chosen import ChosenComponent
    from clsbench.components.resolve import Experiment


DECIDE_PREDICTIONS = ("backbone", "pooling", "head", "adapter")
"""The components that a stored classifier needs to predict. The others only affect its weights,
which are stored."""


class Change(NamedTuple):
    """A difference from the component of a stored run. ``in_version_alone``: only a version
    differs; changes in code or files are unknown."""

    text: str
    in_version_alone: bool


def identify(
    experiment: Experiment, axes: Container[str] | None = None
) -> tuple[ComponentIdentity, ...]:
    """The identity of every component, in the order of the spec; the user's files are read.

    ``axes`` limits them to some axes.

    Raises:
        UsageError: a file of the user cannot be read.
        PluginError: a library that a component declares is not installed.
    """
    return tuple(
        _identity(each) for each in experiment.components if axes is None or each.axis in axes
    )


def _identity(chosen: ChosenComponent) -> ComponentIdentity:
    parts = {option: _identity(part) for option, part in chosen.parts.items()}
    files: dict[str, str] = {}
    for part in parts.values():
        files |= part.files
    return ComponentIdentity(
        axis=chosen.axis,
        component=chosen.entry.name,
        distribution=chosen.entry.distribution,
        version=chosen.entry.version,
        source_sha256=chosen.entry.source_sha256,
        libraries=library_versions(chosen.quoted_name, chosen.component),
        files=files | _files_sha256(chosen.component, chosen.table),
        parts=parts,
    )


def changes_since(
    recorded: Iterable[ComponentIdentity], now: Iterable[ComponentIdentity]
) -> list[Change]:
    """How the current components differ from those that a run recorded on the same axes."""
    before = {each.axis: each for each in recorded}
    found = []
    for each in now:
        if each.axis in before:
            name = f"{each.axis} {each.component!r} ({each.distribution})"
            found += [
                Change(f"{name}: {text}", in_version_alone)
                for text, in_version_alone in _differences(before[each.axis], each)
            ]
    return found


def _differences(before: ComponentIdentity, now: ComponentIdentity) -> Iterator[tuple[str, bool]]:
    sources = (before.source_sha256, now.source_sha256)
    if None not in sources and sources[0] != sources[1]:
        yield "its source, or that of a module it imports, has changed since training", False
    elif (sources[0] is None) != (sources[1] is None):
        yield "its source cannot be compared: it is not known both now and in training", True
    elif (before.distribution, before.version) != (now.distribution, now.version):
        was = " ".join(filter(None, (before.distribution, before.version)))
        yield f"its version is {now.version}; in training it was {was}", True
    if now.files and not before.files:  # records of versions that did not hash them
        yield f"the run did not record the content of {', '.join(now.files)}", True
    elif list(before.files.values()) != list(now.files.values()):
        yield f"the content of {', '.join(before.files)} has changed since training", False
    for library in before.libraries.keys() | now.libraries.keys():
        was, found = (each.libraries.get(library, "not declared") for each in (before, now))
        if was != found:
            yield f"its library {library} is {found}; in training it was {was}", True
    for option, part in now.parts.items():
        if option in before.parts:
            for text, in_version_alone in _differences(before.parts[option], part):
                yield f"{option} = {part.component!r}: {text}", in_version_alone


def decisive(identity: ComponentIdentity) -> dict[str, Any]:
    """The part of an identity that goes into fingerprints and cache keys, as plain values."""
    by_version = identity.source_sha256 is None
    found: dict[str, Any] = {
        "distribution": [identity.distribution, identity.version] if by_version else None,
        "source": identity.source_sha256,
        "libraries": identity.libraries,
        "files": list(identity.files.values()),
    }
    if identity.parts:
        found["parts"] = {option: decisive(part) for option, part in identity.parts.items()}
    return found


def label_of(table: Mapping[str, Any], identity: ComponentIdentity) -> str:
    """A component's table as text, with the components in its options as text too."""
    parts = {option: label_of(table[option], part) for option, part in identity.parts.items()}
    return short_component({**table, **parts})


def options_by_content(table: Mapping[str, Any], identity: ComponentIdentity) -> dict[str, Any]:
    """A component's table with the hashes of the user's files instead of their paths."""

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return identity.files.get(value, value)
        if isinstance(value, Mapping):
            return {key: changed(each) for key, each in value.items()}
        return [changed(each) for each in value] if isinstance(value, list | tuple) else value

    return {key: changed(value) for key, value in table.items()}


def spec_by_content(
    experiment: Experiment, identities: tuple[ComponentIdentity, ...]
) -> dict[str, Any]:
    """The spec's identity, seed included, with the hashes of the user's files instead of paths."""
    tree = experiment.identity()
    found = iter(identities)
    for key in COMPONENT_KEYS:
        if (table := value_at(tree, key)) is not None:
            tree = with_value(tree, key, options_by_content(table, next(found)))
    tree["baselines"] = [options_by_content(table, next(found)) for table in tree["baselines"]]
    return tree


def library_versions(label: str, component: Component) -> dict[str, str]:
    """The installed version of every library that the component declares.

    Raises:
        PluginError: one is not installed.
    """
    found = {}
    for library in component.libraries:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            raise PluginError(
                f"{label} requires the library {library}, which is not installed; install it with "
                f"pip install {library}"
            ) from None
    return found


# --- the user's files -----------------------------------------------------------------------------


def _files_sha256(component: Component, table: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the user's files, by the text of the option that names the file or its folder; by
    the file's own path if no option names it. Files of components in the options are left out."""
    texts = _texts([value for key, value in table.items() if key != "name"])
    places = {text: Path(os.path.abspath(os.path.expanduser(text))) for text in texts if text}
    groups: dict[str, list[tuple[str, Path]]] = {}
    others = {file for part in parts_of(component).values() for file in part.user_files()}
    for file in component.user_files():
        if file in others:  # part of their own identity
            continue
        path = Path(os.path.abspath(file))
        exact = [text for text, place in places.items() if place == path]
        around = [text for text, place in places.items() if place in path.parents]
        suffix = "" if path.is_dir() else path.suffix.lower()
        for text in exact or around or [str(file)]:
            within = path.relative_to(places[text]).as_posix() if around and not exact else ""
            groups.setdefault(text, []).append((within or suffix, path))
    return {text: _sha256(files) for text, files in groups.items()}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _sha256(files: list[tuple[str, Path]]) -> str:
    """A hash of names and contents; a folder stands for the files in it."""
    found = []
    for name, path in files:
        try:
            for each in _files_in(path):
                if each.exists() and not each.is_file():  # opening a pipe may block
                    raise UsageError(f"{each} is not a regular file; copy its content into one")
                with each.open("rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
                within = f"{name}/{each.relative_to(path).as_posix()}" if each != path else name
                found.append([within, digest])
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _files_in(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        yield from (Path(folder, name) for name in sorted(names))
