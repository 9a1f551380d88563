"""``clsbench.run``, the command line's ``run`` for Python, and ``clsbench.make_component``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from clsbench.components.axes import METHOD
from clsbench.components.catalog import axis_named, load_catalog
from clsbench.components.chosen import make_component as make
from clsbench.components.instances import with_instances
from clsbench.components.resolve import find_spec, resolve
from clsbench.errors import RunFailedError, UsageError
from clsbench.experiment.run import run_experiment
from clsbench.schema.experiment import ExperimentSpec
from clsbench.schema.options import RunOptionsDict, default_options
from clsbench.schema.record import RunRecord

logger = logging.getLogger(__name__)


def run(
    experiment: str | Path | ExperimentSpec,
    *,
    dataset: Any = None,
    backbone: Any = None,
    pooling: Any = None,
    head: Any = None,
    freezing: Any = None,
    adapter: Any = None,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int | None = None,
    dry_run: bool = False,
    observers: Sequence[object] = (),
    **options: Unpack[RunOptionsDict],
) -> RunRecord:
    """Run an experiment (a name, a TOML file or a spec) and return its record.

    Components are text (``"last-blocks:n=2"``), tables or instances. ``method="lora"`` sets
    ``freezing`` and ``adapter`` together. ``settings`` holds other keys of the spec, with dots
    (``{"train.optimizer": "adamw:beta2=0.98", "train.lr": 1e-4}``). An instance of a class that no
    plugin registers is named after its class (``MyDataset`` is ``my-dataset``); ``clsbench
    predict`` on such a run needs a plugin that registers the class under that name. ``options`` are
    the run options of the command line (``device="cpu"``, ``offline=True`` …) with the same
    defaults, including environment variables.

    Raises:
        RunFailedError: the run failed after training had begun; partial results are stored.
        RunNotStoredError: the run ended but could not be stored; the error holds its record.
        ClsbenchError: the request is invalid, or a file is unavailable; nothing is stored.
        KeyboardInterrupt: the run was interrupted; partial results are stored.
    """
    chosen = {
        "dataset": dataset,
        "backbone": backbone,
        "pooling": pooling,
        "head": head,
        "freezing": freezing,
        "adapter": adapter,
        METHOD: method,
        "seed": seed,
    }
    changes: dict[str, Any] = {key: value for key, value in chosen.items() if value is not None}
    for key, value in (settings or {}).items():
        if key in changes:
            raise UsageError(f"{key} is set twice: to {changes[key]!r} and to {value!r}")
        changes[key] = value
    chosen_options = default_options({k: v for k, v in options.items() if v is not None})
    catalog = with_instances(changes, load_catalog(chosen_options.plugins))
    for failure in catalog.failures:
        logger.warning("skipped an installed plugin: %s", failure.reason)
    base = experiment if isinstance(experiment, ExperimentSpec) else find_spec(experiment, catalog)
    resolved = resolve(base, changes, catalog)
    record, path = run_experiment(resolved, chosen_options, catalog, observers, dry_run)
    if path is not None and record.error is not None:
        if record.status == "interrupted":
            raise KeyboardInterrupt(f"partial results are kept in {path}")
        raise RunFailedError(record.error, path)
    return record


def make_component(
    axis: str, choice: str | Mapping[str, Any], *, plugins: Sequence[str] = ()
) -> Any:
    """A registered component with its options: ``make_component("dataset", "csv:path=a.csv")``.

    ``axis`` is the name of an axis (``clsbench list``); ``choice`` is text, or a table with
    ``name`` and options. ``plugins`` replaces those of ``CLSBENCH_PLUGINS``, which are loaded in
    addition to installed ones.

    Raises:
        UsageError: the axis or the component does not exist, or an option is invalid.
        PluginError: a plugin cannot be loaded.
    """
    given = {"plugins": plugins} if plugins else {}
    catalog = load_catalog(default_options(given).plugins)
    return make(choice if isinstance(choice, str) else dict(choice), axis_named(axis).name, catalog)
