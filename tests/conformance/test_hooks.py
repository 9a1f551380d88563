"""Every hook is documented; built-ins use the registration hooks, a run calls the others."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

import clsbench
from clsbench.components.axes import AXES
from clsbench.components.catalog import load_catalog
from clsbench.components.hookspecs import LifecycleHooks, RegistrationHooks

REPOSITORY = Path(__file__).resolve().parents[2]
REGISTRATION = [name for name in vars(RegistrationHooks) if name.startswith("clsbench_")]
LIFECYCLE = [name for name in vars(LifecycleHooks) if name.startswith("clsbench_")]

OBSERVER = '''
"""Logs every hook that is called, with the types of its arguments."""
import json, os
import clsbench


def note(hook, **given):
    with open(os.environ["HOOK_LOG"], "a") as log:
        shown = {
            k: v if isinstance(v, str | int) else type(v).__name__ for k, v in given.items()
        }
        log.write(json.dumps([hook, shown]) + "\\n")


@clsbench.hookimpl
def clsbench_run_started(plan, name):
    assert plan.steps > 0 and plan.parameters_trainable > 0
    note("clsbench_run_started", plan=plan, name=name)


@clsbench.hookimpl
def clsbench_phase_started(phase):
    note("clsbench_phase_started", phase=phase)


@clsbench.hookimpl
def clsbench_prefix_progressed(done, total):
    note("clsbench_prefix_progressed", done=done, total=total)


@clsbench.hookimpl
def clsbench_step_finished(report):
    assert report.loss() > 0 and report.examples > 0 and report.real_tokens > 0
    note("clsbench_step_finished", report=report)


@clsbench.hookimpl
def clsbench_evaluated(entry):
    note("clsbench_evaluated", entry=entry)


@clsbench.hookimpl
def clsbench_epoch_finished(entry):
    note("clsbench_epoch_finished", entry=entry)


@clsbench.hookimpl
def clsbench_run_finished(record, path):
    assert (path / "record.json").is_file()
    note("clsbench_run_finished", record=record, status=record.status, path=path.name)
'''

SPEC = """
dataset = "synthetic-sms:texts=100"
backbone = "gpt2-nano"
freezing = "head-only"
baselines = ["majority"]

[train]
epochs = 2
eval_every = 4
eval_batches = 1
"""


@pytest.mark.parametrize(
    "hook",
    [
        *(vars(RegistrationHooks)[name] for name in REGISTRATION),
        *(vars(LifecycleHooks)[name] for name in LIFECYCLE),
    ],
    ids=lambda hook: hook.__name__,
)
def test_hook_has_a_docstring(hook: object) -> None:
    assert inspect.getdoc(hook)


def test_axes_have_one_registration_hook_each() -> None:
    assert sorted(axis.hook for axis in AXES) == sorted(REGISTRATION)


@pytest.mark.parametrize("hook", REGISTRATION)
def test_registration_hook_is_used_by_a_built_in_or_a_documented_plugin(hook: str) -> None:
    used = [label for label, module in load_catalog().plugins.items() if hasattr(module, hook)]
    pages = (REPOSITORY / "docs/plugins").glob("*.md")
    assert used or any(f"def {hook}(" in page.read_text() for page in pages)


def test_run_calls_every_lifecycle_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, spec, store = (tmp_path / name for name in ("observer.py", "small.toml", "runs"))
    plugin.write_text(OBSERVER)
    spec.write_text(SPEC)
    monkeypatch.setenv("HOOK_LOG", str(tmp_path / "log"))
    record = clsbench.run(spec, plugins=[str(plugin)], out=store, device="cpu", threads=1)
    assert record.history is not None
    assert record.data is not None
    [path] = store.glob("*-small-*")
    calls = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    names = [name for name, _ in calls]
    assert set(names) == set(LIFECYCLE)
    assert names[-1] == "clsbench_run_finished"
    assert calls[-1][1] == {"record": "RunRecord", "status": "finished", "path": path.name}
    [started] = [given for hook, given in calls if hook == "clsbench_run_started"]
    assert started["name"] == path.name
    phases = [given["phase"] for name, given in calls if name == "clsbench_phase_started"]
    assert phases == ["assets", "data", "model", "prefix", "training", "evaluation", "baselines"]
    progress = [given for name, given in calls if name == "clsbench_prefix_progressed"]
    assert progress[0]["done"] == 0
    assert progress[-1]["done"] == progress[-1]["total"] > 0
    assert names.count("clsbench_run_started") == 1
    assert names.count("clsbench_epoch_finished") == 2
    assert names.count("clsbench_evaluated") == len(record.history.steps)
    assert names.count("clsbench_step_finished") == 2 * record.data.batches["train"]
