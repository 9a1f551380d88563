"""Cache keys of activations: what they depend on and what they ignore."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from altered_classifiers import both
from tiny_gpt2 import TinyGPT2
from torch import Tensor

from clsbench.builtin.freezing_strategies import LastBlocks
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.cache.keys import PrefixKeys
from clsbench.fastpath.plan import FastPlan
from clsbench.fastpath.safety.contract import OutsideContractError
from clsbench.model.classifier import Classifier

CIRCUMSTANCES = {"backbone": "tiny", "precision": "fp64", "device": "cpu"}


@pytest.fixture(scope="module")
def plan() -> FastPlan:
    found = both(lambda unchanged: None, LastBlocks(), epochs=1)[1].plan
    assert found is not None
    return found


class Table(torch.nn.Module):
    """An embedding table without a gradient."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight, requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Rows of the table, divided by 100."""
        with torch.no_grad():
            found: Tensor = self.weight[ids].float()
            return found / 100


def keyed(plan: FastPlan, change: Any = None, cut: int = 3, **circumstances: Any) -> str:
    torch.manual_seed(3)
    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), torch.nn.Linear(12, 2))
    if change is not None:
        with torch.no_grad():
            change(classifier)
    return PrefixKeys(classifier, plan, CIRCUMSTANCES | circumstances).at(cut).digest


def test_key_depends_on_the_prefix_only(plan: FastPlan) -> None:
    same_key = keyed(plan)

    def below(classifier: Any) -> None:
        classifier.backbone.trf_blocks[1].att.W_key.bias[0] += 1e-6

    def above(classifier: Any) -> None:
        classifier.backbone.trf_blocks[2].att.W_key.bias[0] += 1
        classifier.backbone.final_norm.scale[0] += 1
        classifier.out_head.weight[0] += 1
        classifier.out_head.register_buffer("noise", torch.rand(2))

    assert keyed(plan) == same_key
    assert keyed(plan, above) == same_key
    assert keyed(plan, below) != same_key
    assert keyed(plan, cut=2) != same_key
    assert keyed(plan, max_length=10) != same_key
    assert keyed(plan, precision="bf16") != same_key


def test_key_contains_tensors_that_no_stage_was_seen_to_read(plan: FastPlan) -> None:
    """A stage may read them for some texts only."""

    def register(value: float) -> Any:
        return lambda c: c.backbone.register_buffer("rare", torch.full((3,), value))

    assert keyed(plan, register(1.0)) == keyed(plan, register(1.0))
    assert len({keyed(plan), keyed(plan, register(1.0)), keyed(plan, register(2.0))}) == 3


def test_key_contains_what_modules_hold(plan: FastPlan) -> None:
    def hold(*words: str) -> Any:
        return lambda classifier: setattr(classifier.backbone, "words", set(words))

    words = [f"word {number}" for number in range(50)]
    assert keyed(plan, hold(*words)) == keyed(plan, hold(*reversed(words)))
    assert keyed(plan, hold(*words)) != keyed(plan, hold(*words[1:], "word x"))


@pytest.mark.parametrize("kind", ["without a gradient", "in whole numbers"])
def test_key_contains_weights_that_have_no_gradient(plan: FastPlan, kind: str) -> None:
    """A single row of a table, which a text may or may not read."""

    def replace(changed: bool) -> Any:
        def change(classifier: Any) -> None:
            weight = (100 * classifier.backbone.tok_emb.weight).round()
            weight[7] += 1 if changed else 0
            whole = weight.to(torch.int8) if kind == "in whole numbers" else weight
            classifier.backbone.tok_emb = Table(whole)

        return change

    assert keyed(plan, replace(False)) == keyed(plan, replace(False))
    assert keyed(plan, replace(False)) != keyed(plan, replace(True))


def test_key_contains_buffers_of_any_layout(plan: FastPlan) -> None:
    """A conjugate view, and a single element of a table, which may have any stride."""

    def change(classifier: Any) -> None:
        table = torch.ones(12, dtype=torch.complex64)
        classifier.backbone.tok_emb.register_buffer("table", table.conj())
        classifier.backbone.tok_emb.register_buffer("number", torch.arange(8.0)[:5:4][:1])

    assert keyed(plan, change) == keyed(plan, change)


def test_key_of_a_module_with_hooks_is_refused(plan: FastPlan) -> None:
    def hook(classifier: Any) -> None:
        classifier.backbone.tok_emb.register_forward_hook(lambda module, inputs, out: out)

    with pytest.raises(OutsideContractError, match=r"backbone\.tok_emb has hooks"):
        keyed(plan, hook)


def test_key_computes_nothing(plan: FastPlan) -> None:
    class Counts(torch.nn.Linear):
        calls = 0

        def forward(self, pooled: Tensor) -> Tensor:
            Counts.calls += 1
            return super().forward(pooled)

    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), Counts(12, 2))
    PrefixKeys(classifier, plan, CIRCUMSTANCES).at(3)
    assert Counts.calls == 0
