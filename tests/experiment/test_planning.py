"""Planning before training: errors of modules, shortcuts, expected memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import clsbench
from clsbench.schema.record import Shortcut

LOOPING = '''
import torch

import clsbench


class Looping(clsbench.Pooling):
    """The mean of every text, one after the other."""

    def reads_padding(self):
        return False

    def build(self, hidden_size):
        class Module(torch.nn.Module):
            def forward(self, hidden, lengths):
                return torch.stack([h[:n].mean(0) for h, n in zip(hidden, lengths.tolist())])

        return Module()


class Narrow(clsbench.Head):
    """Wants another width than the backbone has."""

    def build(self, hidden_size, num_classes):
        return torch.nn.Linear(hidden_size - 1, num_classes)


class Fixed(clsbench.Head):
    """Has no parameters."""

    def build(self, hidden_size, num_classes):
        return torch.nn.AdaptiveAvgPool1d(num_classes)


@clsbench.hookimpl
def clsbench_register_poolings():
    return {"looping": Looping}


@clsbench.hookimpl
def clsbench_register_heads():
    return {"narrow": Narrow, "fixed": Fixed}
'''


def plan(tmp_path: Path, **choice: str) -> clsbench.RunRecord:
    plugin = tmp_path / "looping.py"
    plugin.write_text(LOOPING)
    return clsbench.run(
        "gpt2-sms-spam",
        dataset="synthetic-sms:texts=300",
        backbone="gpt2-nano",
        settings={"data.padding": 8},
        offline=True,
        plugins=[str(plugin)],
        out=tmp_path / "runs",
        dry_run=True,
        **choice,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("axis", "name"), [("pooling", "looping"), ("head", "narrow")])
def test_plan_module_that_fails_on_meta_device_raises_plugin_error(
    tmp_path: Path, axis: str, name: str
) -> None:
    with pytest.raises(clsbench.PluginError, match=rf"{axis} '{name}'.* meta device") as caught:
        plan(tmp_path, **{axis: name})
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_plan_epoch_without_trainable_parameters_is_refused(tmp_path: Path) -> None:
    """``gradual`` trains only the head in the first epoch, and this head has no parameters."""
    with pytest.raises(clsbench.UsageError, match=r"gradual.* selects no parameter"):
        plan(tmp_path, head="fixed", freezing="gradual")


def test_plan_shortcuts_do_not_change_the_fingerprint() -> None:
    plans = [
        clsbench.run(
            "gpt2-sms-spam", dataset="synthetic-sms:texts=100", backbone="gpt2-nano",
            dry_run=True, device="cpu", **options,  # type: ignore[arg-type]
        )
        for options in ({}, {"plain": True}, {"no_fast": ["position"]}, {"cache_memory": "1MB"})
    ]  # fmt: skip
    assert len({record.fingerprint for record in plans}) == 1
    assert len({record.run_key for record in plans}) == 1
    taken = [
        tuple(s.name for s in record.fast_path.shortcuts if s.taken)
        for record in plans
        if record.fast_path is not None
    ]
    assert taken == [("prefix", "position"), (), ("prefix",), ("prefix", "position")]


def test_plan_expected_memory_includes_cached_activations() -> None:
    def planned(**options: object) -> clsbench.RunRecord:
        return clsbench.run(
            "gpt2-sms-spam",
            dataset="synthetic-sms:texts=300",
            backbone="gpt2-nano",
            dry_run=True,
            device="cpu",
            **options,  # type: ignore[arg-type]
        )

    def expected(**options: object) -> int:
        memory_bytes = planned(**options).memory_bytes_expected
        assert memory_bytes is not None
        return memory_bytes

    plain, data = expected(plain=True), planned(plain=True).data
    assert data is not None
    texts, width = sum(data.sizes.values()), 128
    assert expected() == plain + texts * data.max_length * width * 4
    assert expected(cache_memory="1MB") == plain + 10**6
    pooled = expected(freezing="head-only")
    assert pooled == expected(freezing="head-only", plain=True) + texts * width * 4


ADAPTERS = """
from typing import ClassVar

import clsbench


class Stateful(clsbench.Adapter):
    \"\"\"Declares its state.\"\"\"

    stateful: ClassVar[bool] = True

    def apply(self, classifier):
        pass


class Hooked(clsbench.Adapter):
    \"\"\"Scales the embeddings by a hook.\"\"\"

    def apply(self, classifier):
        table = classifier.backbone.tok_emb
        table.register_forward_hook(lambda module, inputs, output: output * 1.5)


class Config:
    def __init__(self, scale):
        self.scale = scale


class Configured(clsbench.Adapter):
    \"\"\"Holds an object of a library.\"\"\"

    known: bool

    def apply(self, classifier):
        classifier.backbone.config = Config(1.5)

    def cache_facts(self, value):
        return vars(value) if self.known and isinstance(value, Config) else None


@clsbench.hookimpl
def clsbench_register_adapters():
    return {"stateful": Stateful, "hooked": Hooked, "configured": Configured}
"""


def with_adapter(tmp_path: Path, adapter: str, **options: Any) -> clsbench.RunRecord:
    plugin = tmp_path / "adapters.py"
    plugin.write_text(ADAPTERS)
    return clsbench.run(
        "gpt2-sms-spam",
        dataset="synthetic-sms:texts=300",
        backbone="gpt2-nano",
        settings={"data.padding": 24, "train.epochs": 1, "baselines": []},
        adapter=adapter,
        offline=True,
        curves=False,
        plugins=[str(plugin)],
        out=tmp_path / "runs",
        **options,
    )


def shortcuts(record: clsbench.RunRecord) -> dict[str, Shortcut]:
    assert record.fast_path is not None
    return {shortcut.name: shortcut for shortcut in record.fast_path.shortcuts}


def test_plan_with_a_stateful_component_takes_the_plain_path(tmp_path: Path) -> None:
    planned = shortcuts(with_adapter(tmp_path, "stateful", dry_run=True))
    assert not any(shortcut.taken for shortcut in planned.values())
    reason = "the adapter declares stateful = True (Stateful)"
    assert {shortcut.detail for shortcut in planned.values()} == {reason}


@pytest.mark.parametrize(
    ("adapter", "reason"),
    [
        ("hooked", "; not cached across runs: backbone.tok_emb has hooks ("),
        (
            "configured:known=false",
            "; not cached across runs: backbone.config is a Config object",
        ),
        ("configured:known=true", " and kept ("),
    ],
)
def test_plan_uncacheable_adapter_gives_the_reason(
    tmp_path: Path, adapter: str, reason: str
) -> None:
    planned = shortcuts(with_adapter(tmp_path, adapter, dry_run=True))
    assert planned["prefix"].taken
    assert planned["position"].taken
    assert reason in planned["prefix"].detail


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "found"), [("hooked", False), ("configured:known=true", True)])
def test_run_reuses_cached_activations_if_the_adapter_allows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, adapter: str, found: bool
) -> None:
    monkeypatch.setenv("CLSBENCH_CACHE", str(tmp_path / "cache"))
    first, second = (with_adapter(tmp_path, adapter) for _ in range(2))
    assert first.metrics == second.metrics
    assert second.fast_path is not None
    assert second.fast_path.kept is not None
    assert bool(second.fast_path.kept.found) == found
    assert bool(list((tmp_path / "cache").rglob("*.safetensors"))) == found
