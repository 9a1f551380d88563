"""Under which key activations are kept: whatever decides on them is in it, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from altered_classifiers import both
from tiny_gpt2 import WIDTH_TOKENS, TinyGPT2
from torch import Tensor

from clsbench.builtin.freezing_strategies import LastBlocks
from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.cache.keys import PrefixKeys
from clsbench.fastpath.operations import WritesWeightsError
from clsbench.model.classifier import Classifier

CIRCUMSTANCES = {"backbone": "tiny", "precision": "fp64", "device": "cpu"}


def keyed(change: Any = None, cut: int = 3, **circumstances: Any) -> str:
    torch.manual_seed(3)
    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), torch.nn.Linear(12, 2))
    if change is not None:
        with torch.no_grad():
            change(classifier)
    _, outcome = both(lambda unchanged: None, LastBlocks(), epochs=1)
    assert outcome.plan is not None
    return (
        PrefixKeys(classifier, outcome.plan, WIDTH_TOKENS, CIRCUMSTANCES | circumstances)
        .at(cut)
        .digest
    )


def test_the_key_holds_what_decides_and_nothing_else() -> None:
    same_key = keyed()

    def below(classifier: Any) -> None:
        classifier.backbone.trf_blocks[1].att.W_key.bias[0] += 1e-6

    def above(classifier: Any) -> None:
        classifier.backbone.trf_blocks[2].att.W_key.bias[0] += 1
        classifier.backbone.final_norm.scale[0] += 1
        classifier.out_head.weight[0] += 1

    assert keyed() == same_key
    assert keyed(above) == same_key
    assert keyed(below) != same_key
    assert keyed(cut=2) != same_key
    assert keyed(max_length=10) != same_key
    assert keyed(precision="bf16") != same_key


@pytest.mark.parametrize("kind", ["without a gradient", "in whole numbers"])
def test_the_key_holds_weights_that_have_no_gradient(kind: str) -> None:
    """A single row of a table, which a text may or may not hold."""

    class Table(torch.nn.Module):
        def __init__(self, weight: Tensor) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(weight, requires_grad=False)

        def forward(self, ids: Tensor) -> Tensor:
            with torch.no_grad():
                found: Tensor = self.weight[ids].float()
                return found / 100

    def replace(changed: bool) -> Any:
        def change(classifier: Any) -> None:
            weight = (100 * classifier.backbone.tok_emb.weight).round()
            weight[7] += 1 if changed else 0
            whole = weight.to(torch.int8) if kind == "in whole numbers" else weight
            classifier.backbone.tok_emb = Table(whole)

        return change

    assert keyed(replace(False)) == keyed(replace(False))
    assert keyed(replace(False)) != keyed(replace(True))


def test_the_key_holds_what_a_hook_brings_along() -> None:
    """A table of tokens that are left out, which the tokens of a text may or may not show."""

    def leave_out(token: int, share: float = 1.0) -> Any:
        left_out = torch.tensor([token])

        def leave(module: Any, inputs: Any, out: Tensor) -> Tensor:
            return out * (1 - share * torch.isin(inputs[0], left_out).to(out.dtype))[..., None]

        return lambda classifier: classifier.backbone.tok_emb.register_forward_hook(leave)

    assert keyed(leave_out(7)) == keyed(leave_out(7))
    assert len({keyed(), keyed(leave_out(7)), keyed(leave_out(8)), keyed(leave_out(8, 0.5))}) == 4


def test_making_a_key_writes_no_weight() -> None:
    class Merging(torch.nn.Linear):
        def train(self, mode: bool = True) -> Any:
            self.weight.data += 0.0 if mode else 1.0
            return super().train(mode)

    plan = both(lambda unchanged: None, LastBlocks(), epochs=1)[1].plan
    assert plan is not None
    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), Merging(12, 2))
    before = classifier.out_head.weight.detach().clone()
    with pytest.raises(WritesWeightsError, match=r"out_head\.weight"):
        PrefixKeys(classifier, plan, WIDTH_TOKENS, CIRCUMSTANCES).at(3)
    assert torch.equal(classifier.out_head.weight, before)


def test_making_a_key_changes_nothing() -> None:
    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), torch.nn.Linear(12, 2))
    for parameter in classifier.backbone.parameters():
        parameter.requires_grad_(False)
    plan = both(lambda unchanged: None, LastBlocks(), epochs=1)[1].plan
    assert plan is not None
    calls: list[int] = []
    classifier.backbone.trf_blocks[0].register_forward_hook(lambda *_: calls.append(1))
    PrefixKeys(classifier, plan, WIDTH_TOKENS, CIRCUMSTANCES).at(3)
    assert calls == []
    assert not any(p.requires_grad for p in classifier.backbone.parameters())
    assert all(p.grad is None for p in classifier.parameters())


def test_the_key_holds_what_only_some_texts_look_up() -> None:
    """A list of words that Python holds: the text by which the key is made need not show it."""

    def weigh(**weights: float) -> Any:
        def change(classifier: Any) -> None:
            def hook(module: Any, inputs: Any, out: Tensor) -> Tensor:
                if out.is_meta:
                    return out
                factors = [[weights.get(str(i), 1.0) for i in row] for row in inputs[0].tolist()]
                return out * torch.tensor(factors, dtype=out.dtype)[..., None]

            classifier.backbone.tok_emb.register_forward_hook(hook)

        return change

    assert keyed(weigh(**{"7": 2.0})) == keyed(weigh(**{"7": 2.0}))
    assert keyed(weigh(**{"7": 2.0})) != keyed(weigh(**{"7": 3.0}))
    assert keyed(weigh(**{"7": 2.0})) != keyed(weigh(**{"8": 2.0}))


def test_the_key_holds_the_shape_of_what_is_done() -> None:
    def roll(places: int) -> Any:
        return lambda classifier: classifier.backbone.tok_emb.register_forward_hook(
            lambda module, inputs, out: out.roll((places,), (2,))
        )

    assert keyed(roll(1)) == keyed(roll(1))
    assert keyed(roll(1)) != keyed(roll(2))


def test_the_key_is_the_same_whatever_order_or_number_a_process_gives() -> None:
    """Sets have another order in every process, hooks a number that is given once."""

    def hold(*words: str) -> Any:
        def change(classifier: Any) -> None:
            classifier.backbone.words = set(words)
            first, second = (classifier.backbone.register_forward_hook(nothing) for _ in range(2))
            first.remove()
            classifier.backbone.handle = second

        return change

    def nothing(*_: Any) -> None:
        pass

    words = [f"word {number}" for number in range(50)]
    assert keyed(hold(*words)) == keyed(hold(*reversed(words)))
    assert keyed(hold(*words)) != keyed(hold(*words[1:], "word x"))


def test_the_key_holds_no_buffer_that_only_later_stages_read() -> None:
    def after(classifier: Any) -> None:
        head = classifier.out_head
        head.register_buffer("noise", torch.full((2,), float(len(NOISE))))
        NOISE.append(0)
        head.register_forward_hook(lambda module, inputs, out: out + module.noise)

    assert keyed(after) == keyed(after)


def test_a_buffer_that_is_made_in_the_first_pass_has_a_key() -> None:
    def late(classifier: Any) -> None:
        def make(module: Any, inputs: Any) -> None:
            if not hasattr(module, "late"):
                module.register_buffer("late", torch.ones(2))

        classifier.out_head.register_forward_pre_hook(make)

    assert keyed(late) == keyed()


NOISE: list[int] = []


def test_a_conjugate_view_is_a_buffer_like_others() -> None:
    def change(classifier: Any) -> None:
        table = torch.ones(12, dtype=torch.complex64)
        classifier.backbone.tok_emb.register_buffer("table", table.conj())

    assert keyed(change) == keyed(change)
