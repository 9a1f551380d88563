"""What a machine that has Python and torch needs beyond them, for a machine without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import NamedTuple

from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYTHON = "3.12"
ROOTS = ("clsbench[gpu]", "pytest", "pytest-timeout", "pytest-xdist", "hypothesis")
"""clsbench and what its tests import."""

PEERS = ("llms-from-scratch",)
"""Peers, without their own requirements."""

_PRESENT = "torch"
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")


class Needed(NamedTuple):
    """A distribution: its pinned version, or the requirement if it is not installed here."""

    requirement: str
    installed_bytes: int | None


def lines() -> Iterator[str]:
    """The requirements as lines for ``pip download --no-deps -r``."""
    found = needed(ROOTS, PEERS)
    total = sum(each.installed_bytes or 0 for each in found)
    yield (
        f"# Beyond torch and its own requirements, for Python {PYTHON} on Linux x86-64: "
        f"{len(found)} distributions, {total / 1e6:,.0f} MB installed."
    )
    platforms = " ".join(f"--platform {name}_x86_64" for name in _PLATFORMS)
    yield (
        f"# pip download --no-deps --only-binary=:all: --python-version {PYTHON} {platforms} "
        "-d wheels -r FILE"
    )
    yield "# and clsbench itself: pip wheel --no-deps -w wheels ."
    for each in found:
        size = each.installed_bytes
        yield each.requirement + ("" if size is None else f"  # {size / 1e6:,.1f} MB installed")


def needed(roots: Iterable[str], peers: Iterable[str]) -> list[Needed]:
    """What ``roots`` need in turn, without the roots that are this project, and without torch and
    what it needs itself; and ``peers``. By name."""
    wanted = _closure(roots)
    for name in (_PRESENT, "clsbench", *_closure([_PRESENT])):
        wanted.pop(name, None)
    for peer in peers:
        wanted.setdefault(canonicalize_name(peer), Requirement(peer))
    return [_pinned(wanted[name]) for name in sorted(wanted)]


def _closure(roots: Iterable[str]) -> dict[str, Requirement]:
    """The requirements by canonical name, according to the installed distributions."""
    found: dict[str, Requirement] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        found.setdefault(name, requirement)
        waiting += _requirements_of(name, requirement.extras)
    return found


def _requirements_of(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    """The requirements of an installed distribution on the machine in question."""
    try:
        stated = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    environments = [_environment(extra) for extra in ("", *extras)]
    for text in stated:
        requirement = Requirement(text)
        marker = requirement.marker
        if marker is None or any(marker.evaluate(each) for each in environments):
            yield requirement


def _environment(extra: str) -> Mapping[str, str]:
    machine = {
        "python_version": PYTHON,
        "python_full_version": f"{PYTHON}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "extra": extra,
    }
    return {**default_environment(), **machine}  # type: ignore[dict-item]


def _pinned(requirement: Requirement) -> Needed:
    try:
        found = metadata.distribution(requirement.name)
    except metadata.PackageNotFoundError:
        return Needed(f"{requirement.name}{requirement.specifier}", None)
    # The index has no local versions such as 2.0+cpu.
    version = re.sub(r"\+.*", "", found.version)
    size = sum(file.size or 0 for file in found.files or ())
    return Needed(f"{found.name}=={version}", size)
