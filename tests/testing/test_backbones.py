"""``check_backbone``: what it accepts and refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from broken_components import complaint
from torch import Tensor, nn

import clsbench
from clsbench import testing
from clsbench.testing.miniature import MiniatureTokenizer, MiniatureTransformer


class BackboneModule(MiniatureTransformer):
    def __init__(self, fault: str) -> None:
        super().__init__(3, fault != "sees-padding", 32)
        self.fault = fault
        if fault == "sees-padding":
            self.attends_to_padding = False
        if fault == "idle":
            self.final_norm.extra = nn.Parameter(torch.zeros(1))

    def prepare(self, input_ids: Tensor, lengths: Tensor) -> Any:
        if self.fault == "looks":
            lengths.tolist()
        return super().prepare(input_ids, lengths)

    def stages(self) -> Sequence[clsbench.Stage]:
        stages = list(super().stages())
        if self.fault == "early":
            late = self.blocks[2].out_proj.weight

            def early(hidden: Tensor | None, context: Any) -> Tensor:
                return stages[1].run(hidden, context) + late.sum()

            return [stages[0], stages[1]._replace(run=early), *stages[2:]]
        if self.fault == "batch":
            last = stages[-1]

            def batch(hidden: Tensor | None, context: Any) -> Tensor:
                out = last.run(hidden, context)
                return out + out.mean(dim=0)

            return [*stages[:-1], last._replace(run=batch)]
        if self.fault == "same-name":
            return [*stages, stages[-1]]
        if self.fault in STAGE_NAMES:
            renamed = STAGE_NAMES[self.fault]
            return [stage._replace(name=renamed.get(stage.name, stage.name)) for stage in stages]
        if self.fault == "positionwise":
            return [stages[0], stages[1]._replace(positionwise=True), *stages[2:]]
        if self.fault == "at-positions":

            def first(hidden: Tensor, context: Any, positions: Tensor) -> Tensor:
                return stages[1].run(hidden, context)[:, :1]

            return [stages[0], stages[1]._replace(at_positions=first), *stages[2:]]
        return stages


class CarelessPacking(BackboneModule):
    """Packs texts and lets each attend to those before it."""

    def prepare_packed(self, input_ids: Tensor, packing: clsbench.Packing) -> Any:
        return packing, input_ids

    def stages(self) -> Sequence[clsbench.Stage]:
        return [self._packed(stage) for stage in super().stages()]

    def _packed(self, stage: clsbench.Stage) -> clsbench.Stage:
        def run(hidden: Tensor | None, context: Any) -> Tensor:
            if not isinstance(context, tuple):
                return stage.run(hidden, context)
            packing, input_ids = context
            if hidden is None:
                return self.token_embedding(input_ids) + self.position_embedding(packing.positions)
            return stage.run(hidden.unsqueeze(0), None).squeeze(0)

        return stage._replace(run=run)


def ids_with(
    text: str, name: str, special: list[int], encode: Callable[[str], list[int]]
) -> list[int]:
    """The ids of a text in which ``name`` becomes ``special``."""
    first, *others = text.split(name)
    return encode(first) + [n for other in others for n in (*special, *encode(other))]


STAGE_NAMES: dict[str, dict[str, str]] = {
    "layers": {f"block.{n}": f"layer.{n}" for n in range(3)},
    "from-one": {f"block.{n}": f"block.{n + 1}" for n in range(3)},
    "gap": {"block.2": "block.3"},
    "padded-numbers": {f"block.{n}": f"block.0{n}" for n in range(3)},
    "swapped": {"block.0": "block.1", "block.1": "block.0"},
    "embedding": {"embeddings": "embedding"},
    "norm": {"final_norm": "ln_f"},
}


class BackboneTokenizer(MiniatureTokenizer):
    def __init__(self, fault: str) -> None:
        self.fault = fault

    def encode(self, text: str) -> list[int]:
        if self.fault == "special" and "<|endoftext|>" in text:
            raise ValueError("special token")
        if self.fault == "constant":
            return [1]
        ids = super().encode
        match self.fault:
            case "special-id":
                return ids_with(text, "[CLS]", [63], ids)
            case "special-behind-space":
                return [5, *ids_with(text, "<s>", [1], ids)]
            case "pads":
                return ids_with(text, "<|endoftext|>", [0, 1], ids)
            case "drops":
                return ids_with(text, "</s>", [], ids)
            case "words" | "special-word":
                known = {"[MASK]": 61} if self.fault == "special-word" else {}
                return [
                    known.get(word, 1 + len(word) % 9 if word.isalpha() else 60)
                    for word in text.split()
                ]
        return ids(text)


class WithEnding(BackboneTokenizer):
    """Puts a special token behind texts, but forgets it behind the empty text with a fault."""

    ending = (62,)

    def encode(self, text: str) -> list[int]:
        ids = super().encode(text)
        return ids if self.fault == "no-ending" and not text else [*ids, *self.ending]


class WithBetween(WithEnding):
    """Declares an ordinary id as one that stands between the texts of a pair."""

    @property
    def between(self) -> list[int]:
        return MiniatureTokenizer().encode("1")


class BackboneUnderTest(testing.MiniatureBackbone, frozen=True):
    """The miniature backbone with one fault to choose."""

    fault: str = ""

    def tokenizer(self, files: clsbench.Files) -> BackboneTokenizer:
        kind = WithEnding if "ending" in self.fault else BackboneTokenizer
        if self.fault == "between":
            return WithBetween(self.fault)
        return kind(self.fault)

    def hidden_size(self) -> int:
        return 9 if self.fault == "hidden-size" else 8

    def describe(self) -> tuple[clsbench.ParameterInfo, ...]:
        infos = super().describe()
        return infos[:-1] if self.fault == "describes-less" else infos

    def skeleton(self) -> nn.Module:
        if self.fault == "heavy-skeleton":
            return BackboneModule(self.fault)
        with torch.device("meta"):
            return BackboneModule(self.fault)

    def build(self, files: clsbench.Files) -> nn.Module:
        if self.fault == "packs-wrongly":
            return CarelessPacking(self.fault)
        module = BackboneModule(self.fault)
        return module.double() if self.fault == "float64" else module


def test_check_backbone_valid_backbone_passes() -> None:
    testing.check_backbone(BackboneUnderTest())
    testing.check_backbone(BackboneUnderTest(fault="words"))
    testing.check_backbone(BackboneUnderTest(fault="ending"))
    testing.check_backbone(testing.MiniatureBackbone(causal=False))
    testing.check_backbone(testing.MiniatureBackbone(blocks=0))


class LongContext(testing.MiniatureBackbone, frozen=True):
    """A context too long to be tested in full."""

    def context_length(self) -> int:
        return 200_000

    def build(self, files: clsbench.Files) -> nn.Module:
        return Measuring(self.blocks, self.causal, self.context_length())


class Measuring(MiniatureTransformer):
    """Records the largest number of positions that it received."""

    longest = 0

    def prepare(self, input_ids: Tensor, lengths: Tensor) -> Any:
        Measuring.longest = max(Measuring.longest, input_ids.shape[1])
        return super().prepare(input_ids, lengths)


def test_check_backbone_long_context_is_tested_up_to_1024_positions() -> None:
    Measuring.longest = 0
    testing.check_backbone(LongContext(blocks=1))
    assert Measuring.longest == 1024


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("describes-less", "describe() and build() differ in final_norm.bias (8,)"),
        ("idle", "no gradient reaches final_norm.extra"),
        ("heavy-skeleton", "meta device"),
        ("looks", "skeleton() cannot run on the meta device"),
        ("hidden-size", "hidden_size of the module is 8, hidden_size() returns 9"),
        ("float64", "expected float32 on cpu"),
        (
            "early",
            "behind 'block.1' depend on blocks.2.out_proj.weight of the later stage 'block.2'",
        ),
        ("batch", "other texts of its batch"),
        ("same-name", "two stages share a name"),
        ("sees-padding", "other padding changes the states of real tokens"),
        ("positionwise", "block.0 says it is positionwise, but other positions matter"),
        ("at-positions", "block.0: at_positions returns different hidden states than run"),
        ("packs-wrongly", "block.0 returns different hidden states when texts are packed"),
        ("special", "it must take any text"),
        (
            "no-ending",
            "encode('') returns [], which does not end with its tokenizer's ending, [62]",
        ),
        ("between", "encode('1') returns [50, 62], which has ids of its tokenizer's between, [50]"),
        *((fault, "expected embeddings, block.0, block.1 … in order") for fault in STAGE_NAMES),
        ("special-id", "reads '[CLS]' in a text as a special token (encode returns [63])"),
        (
            "special-behind-space",
            "reads '<s>' in a text as a special token (encode returns [5, 1])",
        ),
        ("pads", "reads '<|endoftext|>' in a text as a special token"),
        ("drops", "reads '</s>' in a text as a special token"),
        ("special-word", "reads '[MASK]' in a text as a special token (encode returns [61])"),
        ("constant", "different texts the same ids"),
    ],
)
def test_check_backbone_broken_backbone_fails(fault: str, said: str) -> None:
    assert said in complaint(BackboneUnderTest(fault=fault))
