"""The checks of ``clsbench doctor``: versions, devices, plugins and assets."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from importlib import metadata

import msgspec

from clsbench.components.catalog import Catalog
from clsbench.components.component import Component
from clsbench.components.values import Asset
from clsbench.errors import ClsbenchError
from clsbench.schema.environment_variables import ENVIRONMENT
from clsbench.schema.options import RunOptions

ANSWER_SECONDS = 5.0
"""The time limit for the answer of a server."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A torch device; memory in bytes if known."""

    name: str
    description: str
    memory_bytes: int | None = None


class Threads(msgspec.Struct, frozen=True, kw_only=True):
    """CPU threads that torch would use, and processors that this process may use."""

    torch: int
    available: int
    machine: int


class PluginState(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin: its file, or the reason why it cannot be used."""

    plugin: str
    file: str | None = None
    failure: str | None = None


class AssetState(msgspec.Struct, frozen=True, kw_only=True):
    """An asset: ``found``, ``wrong`` or ``missing``; if missing, with the answer of each server."""

    key: str
    state: str
    detail: str
    needed_by: tuple[str, ...]
    servers: dict[str, str] = {}


class Diagnosis(msgspec.Struct, frozen=True, kw_only=True):
    """The results of all checks."""

    versions: dict[str, str]
    platform: str
    cpu: str
    memory_bytes: int
    devices: tuple[Device, ...]
    threads: Threads
    environment: dict[str, str]
    folders: dict[str, str]
    plugins: tuple[PluginState, ...]
    assets: tuple[AssetState, ...]

    def problems(self) -> bool:
        """Whether a plugin failed to load, or an asset file has the wrong content."""
        failed = any(plugin.failure is not None for plugin in self.plugins)
        return failed or any(asset.state == "wrong" for asset in self.assets)


def diagnose(options: RunOptions, catalog: Catalog) -> Diagnosis:
    """Run all checks; contacts the servers of missing assets unless ``options.offline``."""
    import platform

    import psutil

    from clsbench.assets import cache_folder
    from clsbench.system.environment import cpu_name

    folder = options.assets
    if folder is None:
        assets_folder = "none given (--assets DIR)"
    elif folder.is_dir():
        assets_folder = str(folder)
    else:
        assets_folder = f"{folder} does not exist or is not a folder"
        options = msgspec.structs.replace(options, assets=None)
    return Diagnosis(
        versions=versions(),
        platform=platform.platform(),
        cpu=cpu_name(),
        memory_bytes=psutil.virtual_memory().total,
        devices=devices(),
        threads=threads(),
        environment={v: os.environ[v] for v in _variables() if v in os.environ},
        folders={
            "assets": assets_folder,
            "cache": str(cache_folder()),
            "runs": str(options.out.absolute()),
        },
        plugins=plugins(catalog),
        assets=assets(options, catalog),
    )


def versions() -> dict[str, str]:
    """The versions of Python, clsbench and its requirements."""
    found = {"python": sys.version.split()[0], "clsbench": metadata.version("clsbench")}
    for requirement in metadata.requires("clsbench") or ():
        name, _, marker = requirement.partition(";")
        if "extra" not in marker:
            distribution = re.split(r"[^A-Za-z0-9_.-]", name.strip(), maxsplit=1)[0]
            found[distribution] = _version(distribution)
    return found


def devices() -> tuple[Device, ...]:
    """The devices that torch can use on this machine."""
    import psutil
    import torch

    from clsbench.system.environment import cpu_name

    memory_bytes = psutil.virtual_memory().total
    found = [Device(name="cpu", description=cpu_name(), memory_bytes=memory_bytes)]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append(
                Device(
                    name=f"cuda:{index}",
                    description=f"{properties.name}, CUDA {torch.version.cuda}",
                    memory_bytes=properties.total_memory,
                )
            )
    if torch.backends.mps.is_available():
        found.append(Device(name="mps", description="Apple GPU, in the CPU's memory"))
    return tuple(found)


def threads() -> Threads:
    """The number of threads that torch would use, and of processors."""
    import torch

    machine = os.cpu_count() or 1
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else machine
    return Threads(torch=torch.get_num_threads(), available=available, machine=machine)


def plugins(catalog: Catalog) -> tuple[PluginState, ...]:
    """The plugins in use, and those that cannot be used."""
    used = [
        PluginState(plugin=label, file=getattr(module, "__file__", None))
        for label, module in catalog.plugins.items()
    ]
    failed = [PluginState(plugin=f.plugin, failure=f.reason) for f in catalog.failures]
    return (*used, *failed)


def assets(options: RunOptions, catalog: Catalog) -> tuple[AssetState, ...]:
    """All assets that registered experiments or components need, with their location."""
    from clsbench.assets import find

    needed = needed_assets(catalog)
    states = find([asset for asset, _ in needed.values()], options.assets)
    missing = [state.asset for state in states if state.state == "missing"]
    answers = {} if options.offline else ask_servers(missing)
    return tuple(
        AssetState(
            key=state.asset.key,
            state=state.state,
            detail=str(state.path) if state.state == "found" else state.detail,
            needed_by=needed[state.asset.key][1],
            servers={url: answers[url] for url in _urls(state.asset) if url in answers},
        )
        for state in states
    )


def needed_assets(catalog: Catalog) -> dict[str, tuple[Asset, tuple[str, ...]]]:
    """The assets by key, with the experiments and components that need them."""
    from clsbench.components.resolve import resolve
    from clsbench.schema.experiment import ExperimentSpec

    users: list[tuple[str, Component]] = []
    for name in catalog.entries["experiments"]:
        try:
            resolved = resolve(catalog.spec(ExperimentSpec, name), {}, catalog)
        except ClsbenchError:  # it needs a plugin that failed; the plugins section reports that
            continue
        users += [(name, resolved.dataset), (name, resolved.backbone)]
    for axis in ("datasets", "backbones"):
        for name, entry in catalog.entries[axis].items():
            component = entry.component
            if isinstance(component, type) and not _requires_options(component):
                with contextlib.suppress(ValueError):  # it requires one of several options
                    users.append((name, component()))
    found: dict[str, tuple[Asset, tuple[str, ...]]] = {}
    for user, used in users:
        for asset in used.assets():
            known = found.get(asset.key, (asset, ()))[1]
            found[asset.key] = (asset, tuple(dict.fromkeys((*known, user))))
    return found


def ask_servers(missing: Iterable[Asset], seconds: float = ANSWER_SECONDS) -> dict[str, str]:
    """The answer of each source of missing assets, by URL, within about ``seconds``."""
    urls = list(dict.fromkeys(url for asset in missing for url in _urls(asset)))
    answers: dict[str, str] = {}

    def ask(url: str) -> None:
        answers[url] = _ask(url, seconds)

    # Daemons, since name resolution has no time limit and may outlast this process.
    askers = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + seconds
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(max(deadline - time.monotonic(), 0.01))
    return {url: answers.get(url, f"no answer within {seconds:g} s") for url in urls}


def _ask(url: str, seconds: float) -> str:
    request = urllib.request.Request(url, method="HEAD", headers={"User-Agent": "clsbench"})
    try:
        with urllib.request.urlopen(request, timeout=seconds) as response:
            return f"answers ({response.status})"
    except urllib.error.HTTPError as error:
        return f"refuses: {error.code} {error.reason}"
    except urllib.error.URLError as error:
        return f"cannot be reached: {error.reason}"
    except (OSError, ValueError) as error:
        return f"cannot be reached: {error}"


def _urls(asset: Asset) -> Sequence[str]:
    from clsbench.assets.attempt import source_url

    return [source_url(source) for source in asset.sources]


def _variables() -> tuple[str, ...]:
    others = ("CLSBENCH_CACHE", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE")
    torchs = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    proxies = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "no_proxy", "NO_PROXY")
    return (*ENVIRONMENT.values(), *others, *torchs, *proxies)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _requires_options(component: type[Component]) -> bool:
    return any(field.required for field in msgspec.structs.fields(component))
