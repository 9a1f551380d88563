"""Storing and restoring classifiers, and which files are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from record_examples import make_record
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from clsbench.errors import PluginError, UsageError
from clsbench.model.checkpoint import (
    CLASSIFIER_FILE,
    ClassifierFacts,
    check_storable,
    frozen_sha256,
    restore,
    save_classifier,
    stored_facts,
    stored_state,
)

FACTS = ClassifierFacts(spec={"name": "x"}, class_names=("a", "b"), max_length=7, padded=True)


class Tied(nn.Module):
    """An embedding that is its output layer's weight too, as in a language model."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.norm = nn.BatchNorm1d(3)


@pytest.mark.parametrize("trained", [{"embedding.weight"}, set()])
def test_save_classifier_tied_parameters_are_stored_at_most_once(
    tmp_path: Path, trained: set[str]
) -> None:
    module, names = Tied(1), frozenset(trained)
    buffers = {name for name, _ in module.named_buffers()}
    assert stored_state(module, names).keys() == trained | buffers
    save_classifier(module, names, FACTS, tmp_path)
    again = Tied(2 if trained else 1)
    restore(again, FACTS, tmp_path)
    assert torch.equal(again.output.weight, module.embedding.weight)


# --- tensors that share memory --------------------------------------------------------------------

Buffers = dict[str, Tensor]


def shared() -> tuple[Buffers, Buffers]:
    mask = torch.arange(12.0).view(3, 4)
    return {"mask": mask}, {"mask": mask}


def a_view() -> tuple[Buffers, Buffers]:
    mask = torch.arange(12.0).view(3, 4)
    return {"mask": mask}, {"mask": mask[1:, :2], "flat": mask.view(-1)}


def disjoint_halves() -> tuple[Buffers, Buffers]:
    whole = torch.arange(8.0)
    return {"part": whole[:4]}, {"part": whole[4:]}


def overlapping() -> tuple[Buffers, Buffers]:
    whole = torch.arange(8.0)
    return {"most": whole[:6]}, {"most": whole[2:]}


def transposed() -> tuple[Buffers, Buffers]:
    mask = torch.arange(12.0).view(3, 4)
    return {"mask": mask}, {"mask": mask.T}


def expanded() -> tuple[Buffers, Buffers]:
    return {"mask": torch.zeros(1).expand(4)}, {"mask": torch.full((4, 4), float("-inf"))}


def empty() -> tuple[Buffers, Buffers]:
    return {"none": torch.zeros(0)}, {"none": torch.zeros(0), "no_rows": torch.zeros(0, 4)}


def not_a_number() -> tuple[Buffers, Buffers]:
    return {"unused": torch.full((3,), float("nan"))}, {}


SHARING = [
    shared, a_view, disjoint_halves, overlapping, transposed, expanded, empty, not_a_number,
]  # fmt: skip


class TwoBlocks(nn.Module):
    """Two layers with buffers, one layer trained, and a buffer that is a view of each weight."""

    def __init__(self, make: Callable[[], tuple[Buffers, Buffers]]) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(2, 3), nn.Linear(2, 3)
        for block, buffers in zip((self.first, self.second), make(), strict=True):
            for name, buffer in buffers.items():
                block.register_buffer(name, buffer)
            block.register_buffer("row", block.weight.data[0])


@pytest.mark.parametrize("make", SHARING)
def test_restore_tensors_that_share_memory_stay_shared(
    tmp_path: Path, make: Callable[[], tuple[Buffers, Buffers]]
) -> None:
    module = TwoBlocks(make)
    trained = frozenset({"second.weight", "second.bias"})
    check_storable(module, trained)
    with torch.no_grad():
        module.second.weight += 1
        for name, buffer in module.named_buffers():
            if buffer.is_contiguous() and "row" not in name:
                buffer.mul_(2)
    save_classifier(module, trained, FACTS, tmp_path)
    again = TwoBlocks(make)
    restore(again, FACTS, tmp_path)
    state = again.state_dict()
    for name, tensor in module.state_dict().items():
        assert torch.equal(state[name].nan_to_num(), tensor.nan_to_num()), name
    with torch.no_grad():
        again.second.weight += 1
    assert torch.equal(again.second.row, again.second.weight[0]), "still a view"


class SameMemory(nn.Module):
    """A trained weight that shares memory with a buffer or another parameter."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        if kind == "buffer":
            self.register_buffer("copy", self.second.weight.detach())
        elif kind == "frozen buffer":
            self.register_buffer("copy", self.first.weight.detach())
        else:
            self.first.weight.data = self.second.weight.data


@pytest.mark.parametrize("kind", ["buffer", "frozen buffer", "parameter"])
def test_restore_parameter_sharing_memory_with_another_tensor(tmp_path: Path, kind: str) -> None:
    module, again = SameMemory(kind), SameMemory(kind)
    with torch.no_grad():
        module.second.weight += 1
    save_classifier(module, frozenset({"second.weight"}), FACTS, tmp_path)
    restore(again, FACTS, tmp_path)
    for name, tensor in module.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


def test_stored_state_buffer_shared_by_two_modules_is_stored_once(tmp_path: Path) -> None:
    assert stored_state(TwoBlocks(shared), frozenset()).keys() == {
        "first.mask", "first.row", "second.row",
    }  # fmt: skip


def test_restore_buffers_no_longer_shared_are_stored_and_loaded(tmp_path: Path) -> None:
    """Moving to another device or dtype gives each module its own copy of a shared buffer."""
    module = TwoBlocks(shared).double()
    save_classifier(module, frozenset(), FACTS, tmp_path)
    assert {"first.mask", "second.mask"} < load_file(tmp_path / CLASSIFIER_FILE).keys()
    restore(TwoBlocks(shared), FACTS, tmp_path)
    module.second.mask[0, 0] = 9
    save_classifier(module, frozenset(), FACTS, tmp_path)
    with pytest.raises(UsageError, match=r"first\.mask share memory with other tensors"):
        restore(TwoBlocks(shared), FACTS, tmp_path)


class OwnState(nn.Module):
    """A module with a state that is not a tensor."""

    def get_extra_state(self) -> str:
        return "anything"


def sparse() -> Tensor:
    return torch.zeros(3, 3).to_sparse()


def quantized() -> Tensor:
    return torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8)


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (sparse, r"buffer in the .* \(torch\.sparse_coo\), cannot be stored"),
        (quantized, r"torch\.qint8 .*cannot be stored"),
    ],
)
def test_check_storable_unsupported_tensor_is_refused(
    make: Callable[[], Tensor], message: str
) -> None:
    module = nn.Linear(2, 2)
    module.register_buffer("buffer", make())
    with pytest.raises(PluginError, match=message):
        check_storable(module, frozenset())


def test_check_storable_state_without_tensor_is_refused() -> None:
    with pytest.raises(PluginError, match="contains _extra_state, a str, but only"):
        check_storable(OwnState(), frozenset())


# --- damaged and edited files ---------------------------------------------------------------------


def classifier(seed: int = 1) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


TRAINED = frozenset({"2.weight", "2.bias"})


def rewrite(directory: Path, metadata: dict[str, Any] | None = None, **changes: Any) -> None:
    """Store the classifier with some tensors changed, and with facts in the file's metadata."""
    module = classifier()
    state = stored_state(module, TRAINED)
    for name, tensor in changes.items():
        key = name.lstrip("_").replace("__", ".")
        state.pop(key, None)
        if tensor is not None:
            state[key] = tensor
    facts = {"frozen_sha256": frozen_sha256(module, TRAINED)} | (metadata or {})
    text = msgspec.json.encode(facts).decode()
    save_file(state, directory / CLASSIFIER_FILE, metadata={"clsbench": text})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_2__weight": torch.zeros(3, 3)}, r"2\.weight is float32 \(3, 3\), in the classifier "),
        ({"_2__weight": torch.zeros(2, 3, dtype=torch.int64)}, r"2\.weight is int64 \(2, 3\)"),
        ({"_2__weight": torch.zeros(2, 3).half()}, r"2\.weight is float16 \(2, 3\)"),
        ({"_2__weight": None}, "the frozen weights of .* cannot be made again"),
        ({"_1__running_mean": None}, r"1\.running_mean is missing"),
        ({"other": torch.zeros(1)}, "other is not in the classifier"),
        ({"_2__bias": torch.tensor([0.0, float("nan")])}, r"1 of the 2 values of 2\.bias are not"),
        ({"_2__bias": torch.tensor([0.0, float("inf")])}, r"1 of the 2 values of 2\.bias are not"),
        ({"_0__bias": torch.zeros(3)}, "the frozen weights of .* cannot be made again"),
    ],
)
def test_restore_tensors_that_do_not_fit_are_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    rewrite(tmp_path, **changes)
    with pytest.raises(UsageError, match=message):
        restore(classifier(), FACTS, tmp_path)


def test_restore_in_another_precision_casts_the_weights(tmp_path: Path) -> None:
    rewrite(tmp_path, _2__weight=torch.full((2, 3), 0.1, dtype=torch.float64))
    again = classifier()
    restore(again, FACTS, tmp_path)
    assert torch.equal(again[2].weight, torch.full((2, 3), 0.1))
    restore(classifier().double(), FACTS, tmp_path)


def test_restore_frozen_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module = classifier()
    with torch.no_grad():
        module[0].weight[0, 0] = float("nan")
    save_classifier(module, TRAINED, FACTS, tmp_path)
    with pytest.raises(UsageError, match=r"1 of the 6 values of 0\.weight are not finite"):
        restore(module, FACTS, tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_length", 0),
        ("max_length", -1),
        ("max_length", 5000),
        ("max_length", 10**9),
        ("class_names", ["b", "a"]),
        ("class_names", ["a", "a"]),
        ("padded", False),
        ("spec", {"name": "y"}),
        ("frozen_sha256", "0" * 64),
        ("frozen_sha256", 5),
    ],
)
def test_restore_metadata_that_differs_from_the_record_is_refused(
    tmp_path: Path, name: str, value: object
) -> None:
    facts = msgspec.to_builtins(FACTS._asdict())
    rewrite(tmp_path, facts)
    restore(classifier(), FACTS, tmp_path)
    rewrite(tmp_path, facts | {name: value})
    with pytest.raises(UsageError):
        restore(classifier(), FACTS, tmp_path)


@pytest.mark.parametrize(
    "edited",
    [{"class_names": ("b", "a")}, {"max_length": 8}, {"padded": False}, {"spec": {"name": "y"}}],
)
def test_restore_with_an_edited_record_is_refused(tmp_path: Path, edited: dict[str, Any]) -> None:
    save_classifier(classifier(), TRAINED, FACTS, tmp_path)
    restore(classifier(), FACTS, tmp_path)
    with pytest.raises(UsageError, match=f"its {next(iter(edited))} differs from the record"):
        restore(classifier(), FACTS._replace(**edited), tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"\0" * 100, b"\xff" * 8, b'{"a":' * 1000])
def test_restore_other_file_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / CLASSIFIER_FILE).write_bytes(content)
    with pytest.raises(UsageError, match=r"classifier\.safetensors"):
        restore(classifier(), FACTS, tmp_path)


def test_stored_facts_equal_those_of_the_record() -> None:
    facts = stored_facts(make_record())
    assert facts.class_names == ("ham", "spam")
    assert (facts.max_length, facts.padded) == (120, True)
    with pytest.raises(UsageError, match="before its data was loaded"):
        stored_facts(make_record(data=None))
