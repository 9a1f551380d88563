"""The adapter ``peft``: its contract, its options, and equality with peft's own model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from clsbench_peft import PEFT_METHODS, Peft
from torch import Tensor, nn

import clsbench
from clsbench.testing import MiniatureBackbone, check_adapter

SEED = 7
TYPES = {
    "lora": Peft(r=4),
    "lora with options": Peft(r=4, options={"lora_alpha": 16, "use_rslora": True}),
    "dora": Peft(type="dora", r=2),
    "ia3": Peft(type="ia3"),
    "vera": Peft(type="vera", r=16),
    "the last block": Peft(r=2, blocks=1),
    "hra": Peft(type="hra"),
    "ln_tuning": Peft(type="ln_tuning"),
}


@pytest.mark.parametrize("name", TYPES)
def test_adapter_keeps_its_contract(name: str) -> None:
    check_adapter(TYPES[name])


class Classifier(nn.Module):
    """A miniature backbone with a linear head on the last position."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.backbone = MiniatureBackbone(blocks=3).build({})
        self.out_head = nn.Linear(self.backbone.hidden_size, 2)

    def forward(self, input_ids: Tensor) -> Tensor:
        lengths = torch.full((len(input_ids),), input_ids.shape[1])
        context = self.backbone.prepare(input_ids, lengths)
        hidden = None
        for stage in self.backbone.stages():
            hidden = stage.run(hidden, context)
        return self.out_head(hidden[:, -1])


def linear_layers(backbone: nn.Module) -> list[str]:
    return [name for name, module in backbone.named_modules() if type(module) is nn.Linear]


def losses(adapt: Callable[[Classifier], None]) -> list[float]:
    """The losses of five steps in which the new parameters and the head train."""
    classifier = Classifier()
    before = {id(parameter) for parameter in classifier.backbone.parameters()}
    torch.manual_seed(SEED)
    adapt(classifier)
    for parameter in classifier.parameters():
        parameter.requires_grad_(id(parameter) not in before)
    trained = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.02)
    torch.manual_seed(SEED)
    found = []
    for _ in range(5):
        input_ids = torch.randint(1, 30, (4, 6))
        loss = F.cross_entropy(classifier(input_ids), input_ids[:, 0] % 2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


@pytest.mark.parametrize(
    ("ours", "config"),
    [
        (Peft(r=4), lambda names: peft.LoraConfig(r=4, target_modules=names)),
        (
            Peft(type="dora", r=4),
            lambda names: peft.LoraConfig(r=4, use_dora=True, target_modules=names),
        ),
        (
            Peft(type="ia3"),
            lambda names: peft.IA3Config(target_modules=names, feedforward_modules=[]),
        ),
        (
            Peft(type="vera", r=8),
            lambda names: peft.VeraConfig(r=8, target_modules=names),
        ),
    ],
    ids=["lora", "dora", "ia3", "vera"],
)
def test_adapter_trains_as_the_model_of_peft(ours: Peft, config: Callable[..., Any]) -> None:
    def theirs(classifier: Classifier) -> None:
        peft.get_peft_model(classifier.backbone, config(linear_layers(classifier.backbone)))

    expected = losses(theirs)
    assert losses(ours.apply) == expected
    assert expected[0] != expected[-1]


def adapted(component: Peft) -> set[str]:
    """The layers that the component adapts."""
    classifier = Classifier()
    known = {name for name, _ in classifier.named_parameters()}
    component.apply(classifier)
    assert known <= {name for name, _ in classifier.named_parameters()}
    new = {name for name, _ in classifier.named_parameters()} - known
    return {name.removeprefix("backbone.").partition(".lora_")[0] for name in new}


def test_adapter_layers_are_chosen_by_block_and_name() -> None:
    every = set(linear_layers(Classifier().backbone))
    assert adapted(Peft()) == every
    assert adapted(Peft(blocks=1)) == {name for name in every if name.startswith("blocks.2.")}
    assert adapted(Peft(blocks=3)) == every
    outputs = {name for name in every if name.endswith(".out_proj")}
    assert adapted(Peft(modules=("out_proj",))) == outputs
    assert adapted(Peft(modules=("out_proj",), blocks=2)) == outputs - {"blocks.0.out_proj"}
    assert adapted(Peft(modules=("blocks.1.out_proj",))) == {"blocks.1.out_proj"}


def test_adapter_reads_a_configuration_of_peft(tmp_path: Path) -> None:
    peft.LoraConfig(r=3, target_modules=["out_proj"]).save_pretrained(tmp_path)
    component = Peft(config=str(tmp_path))
    assert component.user_files() == (tmp_path / "adapter_config.json",)
    assert {name.rpartition(".")[2] for name in adapted(component)} == {"out_proj"}
    classifier = Classifier()
    component.apply(classifier)
    shapes = {p.shape for n, p in classifier.named_parameters() if "lora_A" in n}
    assert {shape[0] for shape in shapes} == {3}


@pytest.mark.parametrize(
    ("named", "chosen"),
    [("all-linear", 6), (r"blocks\.1\..*", 2), (["out_proj"], 3)],
)
def test_adapter_reads_the_layers_that_a_configuration_names(
    named: Any, chosen: int, tmp_path: Path
) -> None:
    peft.LoraConfig(r=2, target_modules=named).save_pretrained(tmp_path)
    file = tmp_path / "adapter_config.json"
    written = json.loads(file.read_text())
    file.write_text(json.dumps({**written, "target_modules": named, "inference_mode": True}))
    assert len(adapted(Peft(config=str(tmp_path)))) == chosen


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (Peft(type="lorra"), "unknown type 'lorra'; did you mean 'lora'?"),
        (Peft(type="prompt_tuning"), "type 'prompt_tuning' adds tokens"),
        (Peft(type="trainable_tokens"), "type 'trainable_tokens' adds tokens or trains their"),
        (Peft(type="ia3", r=4), "type 'ia3' has no option 'r'"),
        (Peft(options={"lora_alpa": 3}), "no option 'lora_alpa'; did you mean 'lora_alpha'?"),
        (Peft(modules=("query",)), r"no linear layer .* ends with 'query' \(their last names"),
        (Peft(modules=("out_proj", "qurey")), "ends with 'qurey'"),
        (Peft(blocks=9), "blocks = 9, but the backbone has 3 blocks"),
        (Peft(options={"bias": "all"}), "bias = 'all' is not supported; the freezing strategy"),
        (Peft(options={"trainable_token_indices": [1]}), "only linear layers can be adapted"),
        (Peft(options={"layers_to_transform": [1]}), "choose layers by blocks or modules"),
        (Peft(r=2, options={"init_lora_weights": "pissa"}), "changes the weights of the backbone"),
        (Peft(type="shira"), "SHIRA: The set rank 32 results in more"),
    ],
)
def test_adapter_unusable_options_are_refused(component: Peft, said: str) -> None:
    with pytest.raises(clsbench.UsageError, match=said):
        component.apply(Classifier())


def test_adapter_rank_given_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="r is set twice"):
        Peft(r=4, options={"r": 8})


def test_adapter_damaged_configuration_is_refused(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{")
    with pytest.raises(clsbench.UsageError, match=r"adapter_config\.json cannot be used"):
        Peft(config=str(tmp_path)).apply(Classifier())
    with pytest.raises(ValueError, match="config cannot be combined with type"):
        Peft(config=str(tmp_path), r=4)


@torch.no_grad()
@pytest.mark.parametrize("name", TYPES)
def test_merge_keeps_the_logits_and_restores_the_layers(name: str) -> None:
    model, plain = Classifier().eval(), Classifier().eval()
    names = [name for name, _ in model.named_parameters()]
    TYPES[name].apply(model)
    for parameter, each in model.named_parameters():
        if parameter not in names:
            each.add_(torch.randn_like(each) * 0.1)
    input_ids = torch.randint(1, 30, (4, 6))
    expected = model(input_ids)
    TYPES[name].merge(model)
    assert [name for name, _ in model.named_parameters()] == names
    assert not any(type(each).__module__.startswith("peft.") for each in model.modules())
    torch.testing.assert_close(model(input_ids), expected, rtol=0, atol=1e-5)
    assert not torch.allclose(plain(input_ids), expected, rtol=0, atol=1e-5)


def test_merge_of_a_method_that_peft_cannot_merge_is_refused() -> None:
    model, component = Classifier(), Peft(type="lily")
    component.apply(model)
    with pytest.raises(clsbench.UsageError, match=r"cannot be merged .* another type, such as"):
        component.merge(model)


def added_to_gpt2(options: dict[str, Any]) -> int:
    """The number of parameters that the adapter adds to GPT-2 small."""
    with clsbench.without_weights():
        skeleton = clsbench.make_component("backbone", "gpt2").skeleton()
        model = nn.ModuleDict({"backbone": skeleton})
        known = {name for name, _ in model.named_parameters()}
        Peft(**options).apply(model)
        return sum(p.numel() for name, p in model.named_parameters() if name not in known)


def test_suite_methods_add_equally_many_parameters_where_possible() -> None:
    tables = {row.title: row.changes["adapter"] for row in PEFT_METHODS.rows if row.changes}
    for title in ("LoRA, r = 1", "VeRA, r = 1152", "LoRA in the last block, r = 12"):
        options = {key: value for key, value in tables[title].items() if key != "name"}
        assert added_to_gpt2(options) == 165_888
