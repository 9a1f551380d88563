"""The conformance kit notices every kind of broken promise, and says which."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import clsbench
from clsbench import testing
from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.testing.miniature import MiniatureTokenizer, MiniatureTransformer

CHECKS: dict[type[Any], Callable[[Any], None]] = {
    clsbench.FreezingStrategy: testing.check_freezing_strategy,
    clsbench.Pooling: testing.check_pooling,
    clsbench.Head: testing.check_head,
    clsbench.Backbone: testing.check_backbone,
    clsbench.Dataset: testing.check_dataset,
    clsbench.Adapter: testing.check_adapter,
    clsbench.Baseline: testing.check_baseline,
}


def complaint(component: object) -> str:
    """What the kit says of a component that breaks a promise."""
    check = next(check for kind, check in CHECKS.items() if isinstance(component, kind))
    with pytest.raises(AssertionError) as caught:
        check(component)
    message = str(caught.value)
    assert type(component).__name__ in message
    return message


# --- options ------------------------------------------------------------------------------------


class Undocumented(clsbench.Head, frozen=True):
    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return nn.Linear(hidden_size, num_classes)


Undocumented.__doc__ = None


class LosesNone(clsbench.Head, frozen=True):
    """Text has no word for an option that is None while the default is not."""

    width: int | None = 4

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return nn.Linear(hidden_size, num_classes)


def test_options_must_be_documented() -> None:
    assert "docstring" in complaint(Undocumented())


def test_options_must_survive_the_command_line() -> None:
    testing.check_head(LosesNone())
    assert "reads back as LosesNone(width=4)" in complaint(LosesNone(width=None))


# --- freezing strategies ------------------------------------------------------------------------


class Strategy(clsbench.FreezingStrategy, frozen=True):
    """A strategy with one fault to choose."""

    fault: str = ""

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> Any:
        names = [p.name for p in parameters if p.role == "norm"]
        match self.fault:
            case "unknown":
                return ["no.such.parameter"]
            case "text":
                return names[0]
            case "number":
                return 7
            case "infos":
                return list(parameters)
            case "order":
                return names if isinstance(parameters, tuple) else []
            case "refuses":
                raise clsbench.UsageError("this backbone does not fit")
            case "refuses-shallow" if not any(p.stage == "block.5" for p in parameters):
                raise clsbench.UsageError("this backbone does not fit")
        return names

    def trainable_at(self, parameters: Sequence[clsbench.ParameterInfo], epoch: int) -> Any:
        if self.fault == "late" and epoch == 4:
            return [p.name for p in parameters]
        return self.trainable(parameters)


@pytest.mark.parametrize("fault", ["", "refuses-shallow"])
def test_a_sound_strategy_passes(fault: str) -> None:
    testing.check_freezing_strategy(Strategy(fault))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("unknown", "unknown parameters: ['no.such.parameter']"),
        ("text", "returns text, expected names"),
        ("number", "returns int, expected parameter names"),
        ("infos", "expected names of parameters"),
        ("order", "answers differently when asked again"),
        ("late", "names what trainable() does not"),
        ("refuses", "all of them"),
    ],
)
def test_a_broken_strategy_is_reported(fault: str, said: str) -> None:
    assert said in complaint(Strategy(fault))


def test_a_strategy_must_accept_the_parameters_given() -> None:
    deep = testing.MiniatureBackbone(blocks=6).describe()
    testing.check_freezing_strategy(Strategy("refuses-shallow"), deep)
    with pytest.raises(AssertionError, match="refuses the parameters given"):
        testing.check_freezing_strategy(Strategy("refuses-shallow"), deep[:4])


# --- poolings -----------------------------------------------------------------------------------


class PoolingModule(nn.Module):
    def __init__(self, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.calls = 0
        if fault == "unseeded":
            self.register_buffer("drawn", torch.tensor(id(self)))

    def forward(self, hidden: Tensor, lengths: Tensor) -> Tensor | None:
        rows = torch.arange(len(hidden))
        last = hidden[rows, (lengths - 1).clamp(min=0)]
        match self.fault:
            case "shape":
                return last[:, :-1]
            case "dtype":
                return last.float()
            case "none":
                return None
            case "nan":
                return last / lengths.unsqueeze(-1).to(last.dtype)
            case "batch":
                return last - last.mean(dim=0) if len(last) else last
            case "looks":
                return last if bool((lengths >= 0).all()) else last * 2
            case "counter":
                self.calls += 1
                return last + self.calls
            case "reads-more":
                return last + hidden.mean(dim=1)
            case "reads-less":
                return last * 0
            case "padding":
                return last + hidden[:, -1]
            case "length":
                return last + lengths.unsqueeze(-1).to(last.dtype)
            case "infinite-gradient":
                return last.sub(last.detach()).abs().sqrt()
            case "no-gradient":
                return last.detach() + 0 * sum(p.sum() for p in self.parameters())
        return last


class PoolingUnderTest(clsbench.Pooling, frozen=True):
    """The last real token, with one fault to choose."""

    fault: str = ""
    single: bool = True

    def build(self, hidden_size: int) -> nn.Module:
        return PoolingModule(self.fault)

    def positions(self, lengths: Tensor, padded_length: int) -> Tensor | None:
        match self.fault:
            case "positions-dtype":
                return lengths.float()
            case "positions-range":
                return lengths + padded_length
            case "positions-padding":
                return lengths * 0 + padded_length - 1
        return (lengths - 1).clamp(min=0) if self.single else None

    def reads_padding(self) -> bool:
        return False


def test_a_sound_pooling_passes() -> None:
    testing.check_pooling(PoolingUnderTest())
    testing.check_pooling(PoolingUnderTest(single=False))


@pytest.mark.parametrize(
    ("pooling", "said"),
    [
        (PoolingUnderTest("shape"), "expected (4, 8)"),
        (PoolingUnderTest("dtype"), "the dtype must stay"),
        (PoolingUnderTest("none"), "forward gives NoneType"),
        (PoolingUnderTest("nan", single=False), "not finite"),
        (PoolingUnderTest("batch"), "other texts of its batch"),
        (PoolingUnderTest("counter"), "a second call"),
        (PoolingUnderTest("looks"), "on the meta device"),
        (PoolingUnderTest("reads-more"), "depends on other positions"),
        (PoolingUnderTest("reads-less"), "does not depend on the position"),
        (PoolingUnderTest("length"), "handed the one position"),
        (PoolingUnderTest("padding", single=False), "other values at padding positions"),
        (PoolingUnderTest("infinite-gradient"), "is not finite"),
        (PoolingUnderTest("unseeded"), "after the same seed differ"),
        (PoolingUnderTest("positions-dtype"), "expected one int64 a text"),
        (PoolingUnderTest("positions-range"), "outside a text"),
        (PoolingUnderTest("positions-padding"), "names padding"),
    ],
)
def test_a_broken_pooling_is_reported(pooling: clsbench.Pooling, said: str) -> None:
    assert said in complaint(pooling)


# --- heads --------------------------------------------------------------------------------------


class HeadModule(nn.Module):
    def __init__(self, hidden_size: int, num_classes: int, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.linear = nn.Linear(hidden_size, 2 if fault == "binary" else num_classes)
        if fault == "idle":
            self.idle = nn.Parameter(torch.zeros(1))
        if fault == "real-weights":
            self.linear = nn.Linear(hidden_size, num_classes, device="cpu")
        if fault == "unseeded":
            with torch.no_grad():
                self.linear.weight.mul_(random.random())

    def forward(self, pooled: Tensor) -> Tensor:
        logits: Tensor = self.linear(pooled)
        if self.fault == "batch-norm":
            return logits - logits.mean(dim=0, keepdim=True) if len(logits) else logits
        if self.fault == "dropout":
            return nn.functional.dropout(logits, 0.5, training=True)
        if self.fault == "training" and self.training:
            return logits[:, :1]
        return logits


class HeadUnderTest(clsbench.Head, frozen=True):
    """A linear head with one fault to choose."""

    fault: str = ""

    def build(self, hidden_size: int, num_classes: int) -> nn.Module:
        return HeadModule(hidden_size, num_classes, self.fault)


def test_a_sound_head_passes() -> None:
    testing.check_head(HeadUnderTest())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("binary", "expected (32, 3)"),
        ("idle", "no gradient reaches idle"),
        ("unseeded", "after the same seed differ"),
        ("real-weights", "on the meta device"),
        ("batch-norm", "other texts of its batch"),
        ("dropout", "a second call"),
        ("training", "expected (4, 2)"),
    ],
)
def test_a_broken_head_is_reported(fault: str, said: str) -> None:
    assert said in complaint(HeadUnderTest(fault))


# --- backbones ----------------------------------------------------------------------------------


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
    """Lays texts one after another and lets each attend to those before it."""

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


class BackboneUnderTest(testing.MiniatureBackbone, frozen=True):
    """The miniature backbone with one fault to choose."""

    fault: str = ""

    def tokenizer(self, files: clsbench.Files) -> BackboneTokenizer:
        return BackboneTokenizer(self.fault)

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


def test_a_sound_backbone_passes() -> None:
    testing.check_backbone(BackboneUnderTest())
    testing.check_backbone(BackboneUnderTest(fault="words"))
    testing.check_backbone(testing.MiniatureBackbone(causal=False))
    testing.check_backbone(testing.MiniatureBackbone(blocks=0))


class LongContext(testing.MiniatureBackbone, frozen=True):
    """A context too long to be tried in full."""

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


def test_check_backbone_long_context_is_tried_in_part() -> None:
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
        ("hidden-size", "hidden_size of the module is 8, hidden_size() gives 9"),
        ("float64", "expected float32 on cpu"),
        (
            "early",
            "behind 'block.1' depend on blocks.2.out_proj.weight of the later stage 'block.2'",
        ),
        ("batch", "other texts of its batch"),
        ("same-name", "two stages share a name"),
        ("sees-padding", "other padding changes the states of real tokens"),
        ("positionwise", "block.0 says it is positionwise, but other positions matter"),
        ("at-positions", "block.0: at_positions gives other hidden states than run"),
        ("packs-wrongly", "block.0 gives other hidden states when texts are packed"),
        ("special", "it must take any text"),
        *((fault, "expected embeddings, block.0, block.1 … in order") for fault in STAGE_NAMES),
        ("special-id", "reads '[CLS]' in a text as a special token (encode gives [63])"),
        ("special-behind-space", "reads '<s>' in a text as a special token (encode gives [5, 1])"),
        ("pads", "reads '<|endoftext|>' in a text as a special token"),
        ("drops", "reads '</s>' in a text as a special token"),
        ("special-word", "reads '[MASK]' in a text as a special token (encode gives [61])"),
        ("constant", "different texts the same ids"),
    ],
)
def test_a_broken_backbone_is_reported(fault: str, said: str) -> None:
    assert said in complaint(BackboneUnderTest(fault=fault))


# --- data sets ----------------------------------------------------------------------------------


class DatasetUnderTest(clsbench.Dataset, frozen=True):
    """Three texts, with one fault to choose."""

    fault: str = ""

    def assets(self) -> tuple[clsbench.Asset, ...]:
        web = (clsbench.WebFile(url="https://example.org/x"),)
        match self.fault:
            case "unpinned":
                return (clsbench.Asset(key="a/b", sources=web, sha256=None),)
            case "hash":
                return (clsbench.Asset(key="a/b", sources=web, sha256="abc"),)
            case "climbs":
                return (clsbench.Asset(key="../b", sources=web, sha256="0" * 64),)
            case "sourceless":
                return (clsbench.Asset(key="a/b", sources=(), sha256="0" * 64),)
            case "needs-files":
                return (clsbench.Asset(key="a/b", sources=web, sha256="0" * 64),)
        return ()

    def default_split(self) -> clsbench.SplitName:
        splits: dict[str, Any] = {"split-name": "halves", "split-predefined": "predefined"}
        return splits.get(self.fault, "stratified")  # type: ignore[no-any-return]

    def default_balance(self) -> bool:
        return "yes" if self.fault == "balance" else False  # type: ignore[return-value]

    def stand_in(self) -> clsbench.Dataset | None:
        return DatasetUnderTest("needs-files") if self.fault == "stand-in" else None

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        corpora: dict[str, dict[str, Any]] = {
            "one-class": {"class_names": ("a",), "labels": [0, 0, 0]},
            "same-name": {"class_names": ("a", "a")},
            "unused": {"class_names": ("a", "b", "c")},
            "short": {"labels": [0, 1]},
            "blank": {"texts": ["x", " ", "z"]},
            "surrogate": {"texts": ["x", "\ud800", "z"]},
            "number": {"texts": ["x", 7, "z"]},
            "label": {"labels": [0, 1, 2]},
            "splits": {"splits": ["train", "test", "held-out"]},
            "few-splits": {"splits": ["train", "test"]},
            "changing": {"texts": ["x", str(id(object())), str(torch.rand(1))]},
        }
        plain = {"class_names": ("a", "b"), "texts": ["x", "y", "z"], "labels": [0, 1, 0]}
        return clsbench.Corpus(**{**plain, **corpora.get(self.fault, {})})


def test_a_sound_dataset_passes() -> None:
    testing.check_dataset(DatasetUnderTest())


class FileUnderTest(DelimitedFile, frozen=True):
    """A file of the user that is read in another format than predictions would be."""

    other: str = ""

    def table_format(self) -> clsbench.TableFormat:
        return clsbench.TableFormat(text=self.other) if self.other else "csv"  # type: ignore

    def load(self, files: clsbench.Files) -> clsbench.Corpus:
        return DelimitedFile(path=self.path).load(files)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("", "returns str, expected a clsbench.TableFormat"),
        ("id", "holds other texts than load"),
        ("body", "column 'body' not found"),
    ],
)
def test_check_dataset_with_a_format_of_another_file_fails(
    other: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "t.csv"
    file.write_text("id,text,label\n1,a,x\n2,b,y\n3,c,y\n")
    testing.check_dataset(DelimitedFile(path=str(file)))
    with pytest.raises(AssertionError, match=said):
        testing.check_dataset(FileUnderTest(path=str(file), other=other))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("split-name", "default_split() returns 'halves', expected one of"),
        ("split-predefined", "default_split() returns 'predefined', but its corpus has no splits"),
        ("balance", "default_balance() returns 'yes', expected True or False"),
        ("one-class", "two are needed"),
        ("same-name", "share a name"),
        ("unused", "no text belongs to ['c']"),
        ("short", "3 texts stand against 2 labels"),
        ("blank", "text 1 is blank"),
        ("surrogate", "cannot be written in UTF-8"),
        ("number", "text 1 is int"),
        ("label", "label 2 is 2"),
        ("splits", "held-out"),
        ("few-splits", "another length"),
        ("changing", "other texts"),
        ("unpinned", "no sha256"),
        ("hash", "not a hexadecimal SHA-256"),
        ("climbs", "not a relative path"),
        ("sourceless", "no source"),
        ("needs-files", "files lacks ['a/b']"),
        ("stand-in", "needs assets itself"),
    ],
)
def test_a_broken_dataset_is_reported(fault: str, said: str) -> None:
    assert said in complaint(DatasetUnderTest(fault))


# --- adapters -----------------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self, linear: nn.Linear, fault: str) -> None:
        super().__init__()
        self.fault = fault
        self.scale = nn.Parameter(torch.ones(linear.out_features))
        if fault == "renames":
            self.inner = linear
        else:
            self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        if self.fault == "renames":
            return self.inner(x) * self.scale
        if self.fault == "float32":
            x = x + torch.tensor(0.1, dtype=torch.float32).expand_as(x) * (x.dtype == torch.float64)
        if self.fault == "idle":
            return nn.functional.linear(x, self.weight, self.bias)
        return nn.functional.linear(x, self.weight, self.bias) * self.scale


class AdapterUnderTest(clsbench.Adapter, frozen=True):
    """Learns a factor for each logit, with one fault to choose."""

    fault: str = ""

    def apply(self, classifier: nn.Module) -> None:
        head = classifier.out_head
        assert isinstance(head, nn.Linear)
        classifier.out_head = Scaled(head, self.fault)
        if self.fault == "changes":
            with torch.no_grad():
                head.weight.mul_(2)
        if self.fault == "unseeded":
            nn.init.constant_(classifier.out_head.scale, random.random())


def test_a_sound_adapter_passes() -> None:
    testing.check_adapter(AdapterUnderTest())


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("renames", "out_head.weight is gone"),
        ("changes", "out_head.weight changed"),
        ("unseeded", "after the same seed differ"),
        ("idle", "out_head.scale trains and has no gradient"),
        ("float32", "in float64"),
    ],
)
def test_a_broken_adapter_is_reported(fault: str, said: str) -> None:
    assert said in complaint(AdapterUnderTest(fault))


# --- baselines ----------------------------------------------------------------------------------


CALLS = itertools.count()


class Estimator:
    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.label: Any = None

    def fit(self, texts: Sequence[str], labels: Sequence[int]) -> None:
        if self.fault == "one-class" and len(set(labels)) < 2:
            raise ValueError("needs two classes")
        self.label = 99 if self.fault == "unseen" else labels[0]
        if self.fault == "random":
            self.label = labels[next(CALLS) % len(labels)]
        if self.fault == "seeded":
            drawn = random.random(), np.random.rand(), float(torch.rand(()))
            self.label = labels[int(1000 * sum(drawn)) % len(labels)]

    def predict(self, texts: Sequence[str]) -> list[int]:
        if self.fault == "drops-blank":
            return [self.label for text in texts if text.strip()]
        if self.fault == "batch" and len(texts) == 1:
            return [self.label + 1]
        return [self.label] * len(texts)


class WithState(Estimator):
    def state(self) -> dict[str, Any]:
        return {"label": self if self.fault == "odd-state" else self.label}


class BaselineUnderTest(clsbench.Baseline, frozen=True):
    """Answers with the first label, with one fault to choose."""

    fault: str = ""

    def build(self, seed: int) -> Estimator:
        return WithState(self.fault) if "state" in self.fault else Estimator(self.fault)

    def from_state(self, state: Any) -> Estimator:
        restored = WithState(self.fault)
        restored.label = state["label"] + (self.fault == "other-state")
        return restored


@pytest.mark.parametrize("fault", ["", "seeded", "state"])
def test_a_sound_baseline_passes(fault: str) -> None:
    testing.check_baseline(BaselineUnderTest(fault))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("one-class", "fails on one class"),
        ("unseen", "no label of training"),
        ("random", "answers differently"),
        ("drops-blank", "answers to"),
        ("batch", "to a text alone"),
        ("odd-state", "a value that JSON cannot represent"),
        ("other-state", "restored from its state, it predicts other classes"),
    ],
)
def test_a_broken_baseline_is_reported(fault: str, said: str) -> None:
    assert said in complaint(BaselineUnderTest(fault))


# --- the package --------------------------------------------------------------------------------


def test_importing_the_kit_imports_no_torch() -> None:
    code = "import sys, clsbench.testing; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_resolves_and_is_documented() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_check"):
        testing.no_such_check  # noqa: B018
