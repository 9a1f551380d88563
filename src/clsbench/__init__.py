"""clsbench: which way of fine-tuning a language model as a classifier is best, and what it costs.

The public API, loaded on first use so that ``import clsbench`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsbench.api import run as run
    from clsbench.components import Adapter as Adapter
    from clsbench.components import Backbone as Backbone
    from clsbench.components import BackboneModule as BackboneModule
    from clsbench.components import Baseline as Baseline
    from clsbench.components import Dataset as Dataset
    from clsbench.components import Executor as Executor
    from clsbench.components import FreezingStrategy as FreezingStrategy
    from clsbench.components import Head as Head
    from clsbench.components import PackingBackboneModule as PackingBackboneModule
    from clsbench.components import Pooling as Pooling
    from clsbench.components import Tokenizer as Tokenizer
    from clsbench.components import last_blocks as last_blocks
    from clsbench.data.delimited import Table as Table
    from clsbench.data.delimited import TableRow as TableRow
    from clsbench.data.delimited import read_table as read_table
    from clsbench.decoding import DecodingError as DecodingError
    from clsbench.decoding import decode_json as decode_json
    from clsbench.decoding import read_bytes as read_bytes
    from clsbench.errors import AssetError as AssetError
    from clsbench.errors import ClsbenchError as ClsbenchError
    from clsbench.errors import PluginError as PluginError
    from clsbench.errors import RunFailedError as RunFailedError
    from clsbench.errors import RunNotStoredError as RunNotStoredError
    from clsbench.errors import UsageError as UsageError
    from clsbench.errors import closest_match_hint as closest_match_hint
    from clsbench.hookspecs import hookimpl as hookimpl
    from clsbench.jobs import Board as Board
    from clsbench.jobs import Job as Job
    from clsbench.jobs import JobEnd as JobEnd
    from clsbench.jobs import JobNote as JobNote
    from clsbench.jobs import JobProgress as JobProgress
    from clsbench.jobs import JobResult as JobResult
    from clsbench.jobs import Message as Message
    from clsbench.model.packing import Packing as Packing
    from clsbench.model.packing import select_positions as select_positions
    from clsbench.model.parameters import describe_parameters as describe_parameters
    from clsbench.model.parameters import without_weights as without_weights
    from clsbench.options import RunOptions as RunOptions
    from clsbench.record import EpochEntry as EpochEntry
    from clsbench.record import RunRecord as RunRecord
    from clsbench.record import StepEntry as StepEntry
    from clsbench.results.table import load_results as load_results
    from clsbench.spec import DataSettings as DataSettings
    from clsbench.spec import ExperimentSpec as ExperimentSpec
    from clsbench.spec import Method as Method
    from clsbench.spec import PublishedFigures as PublishedFigures
    from clsbench.spec import SplitName as SplitName
    from clsbench.spec import SplitSettings as SplitSettings
    from clsbench.spec import TrainSettings as TrainSettings
    from clsbench.suite import PublishedRow as PublishedRow
    from clsbench.suite import SuiteRow as SuiteRow
    from clsbench.suite import SuiteSpec as SuiteSpec
    from clsbench.values import Asset as Asset
    from clsbench.values import Corpus as Corpus
    from clsbench.values import Files as Files
    from clsbench.values import HubFile as HubFile
    from clsbench.values import NumericalCheck as NumericalCheck
    from clsbench.values import ParameterInfo as ParameterInfo
    from clsbench.values import RunPlan as RunPlan
    from clsbench.values import Stage as Stage
    from clsbench.values import StepReport as StepReport
    from clsbench.values import TableFormat as TableFormat
    from clsbench.values import WebFile as WebFile
    from clsbench.worker import perform_job as perform_job
    from clsbench.worker import perform_job_away as perform_job_away
    from clsbench.worker import portable_job as portable_job
    from clsbench.worker import store_result as store_result

_HOMES = {
    "Adapter": "components",
    "Asset": "values",
    "AssetError": "errors",
    "Backbone": "components",
    "BackboneModule": "components",
    "Baseline": "components",
    "Board": "jobs",
    "ClsbenchError": "errors",
    "Corpus": "values",
    "DataSettings": "spec",
    "Dataset": "components",
    "DecodingError": "decoding",
    "EpochEntry": "record",
    "Executor": "components",
    "ExperimentSpec": "spec",
    "Files": "values",
    "FreezingStrategy": "components",
    "Head": "components",
    "HubFile": "values",
    "Job": "jobs",
    "JobEnd": "jobs",
    "JobNote": "jobs",
    "JobProgress": "jobs",
    "JobResult": "jobs",
    "Message": "jobs",
    "Method": "spec",
    "NumericalCheck": "values",
    "Packing": "model.packing",
    "PackingBackboneModule": "components",
    "ParameterInfo": "values",
    "PluginError": "errors",
    "Pooling": "components",
    "PublishedFigures": "spec",
    "PublishedRow": "suite",
    "RunFailedError": "errors",
    "RunNotStoredError": "errors",
    "RunOptions": "options",
    "RunPlan": "values",
    "RunRecord": "record",
    "SplitName": "spec",
    "SplitSettings": "spec",
    "Stage": "values",
    "StepEntry": "record",
    "StepReport": "values",
    "SuiteRow": "suite",
    "SuiteSpec": "suite",
    "Table": "data.delimited",
    "TableFormat": "values",
    "TableRow": "data.delimited",
    "Tokenizer": "components",
    "TrainSettings": "spec",
    "UsageError": "errors",
    "WebFile": "values",
    "closest_match_hint": "errors",
    "decode_json": "decoding",
    "describe_parameters": "model.parameters",
    "hookimpl": "hookspecs",
    "last_blocks": "components",
    "load_results": "results.table",
    "perform_job": "worker",
    "perform_job_away": "worker",
    "portable_job": "worker",
    "read_bytes": "decoding",
    "read_table": "data.delimited",
    "run": "api",
    "select_positions": "model.packing",
    "store_result": "worker",
    "without_weights": "model.parameters",
}
"""Where each public name is defined."""

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clsbench' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"clsbench.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
