"""The stages give the hidden states of the model's own forward pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from clsbench_transformers import HF
from clsbench_transformers.families import FAMILIES
from miniatures import CONFIGS, save_model
from torch import Tensor
from transformers import AutoModel

import clsbench
from clsbench import testing

LENGTHS = (23, 9, 1, 14)
WIDTH = 25
TOLERANCE = 1e-5


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest) -> str:
    return cast(str, request.param)


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp(family), family)


@pytest.fixture
def module(folder: Path) -> Any:
    return HF(model=str(folder)).build({}).eval()


def test_miniatures_cover_every_family() -> None:
    assert CONFIGS.keys() == FAMILIES.keys()


def own_states(folder: Path, left: bool) -> list[Tensor]:
    """The hidden states (length, H) of each text by the model's own forward pass, in one batch."""
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    padding = model.config.pad_token_id or 0
    ids = torch.full((len(LENGTHS), WIDTH), padding)
    mask = torch.zeros_like(ids)
    places = [slice(WIDTH - n, WIDTH) if left else slice(0, n) for n in LENGTHS]
    for row, (place, text) in enumerate(zip(places, texts(), strict=True)):
        ids[row, place], mask[row, place] = text, 1
    given = {"input_ids": ids, "attention_mask": mask}
    if left and model.config.model_type in ("bert", "distilbert", "gpt2"):
        given["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        states = model(**given).last_hidden_state
    return [states[row, place] for row, place in enumerate(places)]


def texts() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(5, 300, (length,), generator=generator) for length in LENGTHS]


def batch() -> tuple[Tensor, Tensor]:
    """Right-padded by an id that is not the padding of the model."""
    ids = torch.full((len(LENGTHS), WIDTH), 7)
    for row, text in enumerate(texts()):
        ids[row, : len(text)] = text
    return ids, torch.tensor(LENGTHS)


@torch.no_grad()
def states_after(module: Any, context: Any) -> list[Tensor]:
    """The hidden states behind every stage."""
    hidden: Tensor | None = None
    found = []
    for stage in module.stages():
        hidden = stage.run(hidden, context)
        found.append(hidden)
    return found


@pytest.mark.parametrize("left", [False, True])
def test_stages_padded_texts_equal_the_models_own_forward(
    folder: Path, module: Any, left: bool
) -> None:
    found = states_after(module, module.prepare(*batch()))[-1]
    for row, expected in enumerate(own_states(folder, left)):
        torch.testing.assert_close(found[row, : len(expected)], expected, rtol=0, atol=TOLERANCE)


def test_stages_packed_texts_equal_the_models_own_forward(folder: Path, module: Any) -> None:
    if not isinstance(module, clsbench.PackingBackboneModule):
        assert module.model_type == "deberta-v2"
        return
    packing = clsbench.Packing.of(LENGTHS)
    context = module.prepare_packed(torch.cat(texts()), packing)
    found = packing.split(states_after(module, context)[-1])
    for states, expected in zip(found, own_states(folder, left=False), strict=True):
        torch.testing.assert_close(states, expected, rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_at_positions_equals_the_whole_block(module: Any) -> None:
    padded = module.prepare(*batch())
    positions = torch.tensor([5, 8, 0, 13])
    contexts = [(padded, None)]
    if isinstance(module, clsbench.PackingBackboneModule):
        packing = clsbench.Packing.of(LENGTHS)
        contexts.append((module.prepare_packed(torch.cat(texts()), packing), packing))
    for context, packing in contexts:
        states = states_after(module, context)
        for stage, before, after in zip(module.stages()[1:], states, states[1:], strict=False):
            if stage.at_positions is None:
                assert module.model_type == "deberta-v2" or stage.name == "final_norm"
                continue
            found = stage.at_positions(before, context, positions)
            expected = clsbench.select_positions(after, positions, packing)
            torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def test_build_parameters_keep_the_models_own_names(folder: Path, module: Any) -> None:
    own = dict(AutoModel.from_pretrained(folder).named_parameters())
    found = dict(module.named_parameters())
    assert found.keys() == {name for name in own if not name.startswith("pooler.")}
    assert all(torch.equal(found[name], own[name]) for name in found)


def test_describe_stages_are_embeddings_blocks_and_norm(folder: Path, family: str) -> None:
    described = HF(model=str(folder)).describe()
    stages = list(dict.fromkeys(info.stage for info in described))
    blocks = [f"block.{n}" for n in range(3)]
    norm = ["final_norm"] if FAMILIES[family].norm else []
    assert sorted(stages) == sorted(["embeddings", *blocks, *norm])


def test_build_random_weights_depend_on_the_seed_alone(folder: Path) -> None:
    backbone = HF(model=str(folder), weights="random")
    states = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        states.append(torch.cat([p.flatten() for p in backbone.build({}).parameters()]))
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


@pytest.mark.parametrize("dropout", [False, True])
def test_stages_in_training_use_dropout_only_if_asked(folder: Path, dropout: bool) -> None:
    module = HF(model=str(folder), dropout=dropout).build({}).train()
    twice = [states_after(module, cast(Any, module).prepare(*batch()))[-1] for _ in range(2)]
    assert torch.equal(*twice) != dropout


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("llama"), "llama", max_position_embeddings=131_072)


class Doubled(torch.nn.Linear):
    """What an adapter may put in place of a linear layer."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def plain_blocks(module: Any) -> list[bool]:
    return [stage.at_positions is not None for stage in module.stages()[1:-1]]


def test_at_positions_changed_blocks_are_computed_whole(llama: Path) -> None:
    module: Any = HF(model=str(llama)).build({})
    module.layers[0].mlp.up_proj = Doubled(32, 48)
    assert plain_blocks(module) == [True, True, True]
    module.layers[0].mlp = torch.nn.Sequential(module.layers[0].mlp)
    module.layers[1].self_attn.q_proj.register_forward_hook(lambda *_: None)
    module.layers[2].forward = module.layers[2].forward
    assert plain_blocks(module) == [False, False, False]


def test_lora_reaches_the_layers_of_a_gpt2(tmp_path: Path) -> None:
    module: Any = HF(model=str(save_model(tmp_path, "gpt2"))).build({})
    lora = clsbench.make_component("adapter", "lora:r=2")
    lora.apply(torch.nn.ModuleDict({"backbone": module}))
    added = [name for name, _ in module.named_parameters() if name.endswith("lora_A")]
    layers = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert added == [f"h.{block}.{layer}.lora_A" for block in range(3) for layer in layers]
    assert plain_blocks(module) == [True, True, True]


def test_conformance_long_context_is_not_run_to_look(llama: Path) -> None:
    backbone = HF(model=str(llama))
    assert backbone.context_length() == 131_072
    tensors = (*backbone.skeleton().buffers(), *backbone.skeleton().parameters())
    assert all(tensor.numel() < 131_072 for tensor in tensors)
    testing.check_backbone(backbone)
