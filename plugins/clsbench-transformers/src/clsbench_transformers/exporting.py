"""Write the classifier of a run as a model of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

import clsbench
from clsbench.data import TextEncoder, TextPair
from clsbench_transformers import HF
from clsbench_transformers.checkpoint import quiet
from clsbench_transformers.gpt2_export import gpt2_base
from clsbench_transformers.model_card import model_card

_TOLERANCE = 1e-4
"""The largest accepted difference of logits between the run and its export."""


class Base(NamedTuple):
    """The base model of an export: its config, its parameters by name, and its tokenizer."""

    config: Any
    parameters: dict[str, Tensor]
    tokenizer: Any


class _EncoderHead(NamedTuple):
    """The head of an encoder's classifier: its activation, and the names of its layers."""

    activation: type[nn.Module]
    dense: str
    out: str
    norm: str | None = None

    @property
    def kinds(self) -> list[type[nn.Module]]:
        """The classes of its layers in order."""
        norm = [nn.LayerNorm] if self.norm else []
        return [nn.Linear, self.activation, *norm, nn.Linear]

    @property
    def option(self) -> str:
        """The head to train with."""
        return "dense-norm" if self.norm else f"dense:activation={_NAMES[self.activation]}"


_TANH = _EncoderHead(nn.Tanh, "classifier.dense", "classifier.out_proj")
_ENCODER_HEADS = {
    "bert": _EncoderHead(nn.Tanh, "bert.pooler.dense", "classifier"),
    "camembert": _TANH,
    "deberta-v2": _EncoderHead(nn.GELU, "pooler.dense", "classifier"),
    "distilbert": _EncoderHead(nn.ReLU, "pre_classifier", "classifier"),
    "modernbert": _EncoderHead(nn.GELU, "head.dense", "classifier", norm="head.norm"),
    "roberta": _TANH,
    "xlm-roberta": _TANH,
}
_FINAL_BIASES = {"gpt2": "ln_f.bias", "gpt_neox": "final_layer_norm.bias"}
"""The bias of the last norm, which can hold that of a linear head, by architecture."""

_NAMES = {nn.Tanh: "tanh", nn.GELU: "gelu", nn.ReLU: "relu"}
_POOLINGS = {"modernbert": {"first-token": "cls", "mean": "mean"}}
"""The poolings of classifiers that have several, with their names in the config."""


def export(run: clsbench.TrainedRun, directory: Path) -> None:
    """Write config, weights, tokenizer and model card into ``directory``; an adapter is merged.

    Raises:
        UsageError: transformers has no classifier with this backbone, pooling or head, or the
            adapter cannot be merged.
    """
    trained, run = run, run.merged()
    base = _base(run)
    kind = base.config.model_type
    if kind not in _ENCODER_HEADS:
        _choose_padding(run, base)
    make_head = _encoder_head if kind in _ENCODER_HEADS else _decoder_head
    head = make_head(run, kind, base)
    data = run.record.data
    assert data is not None
    if data.text_pairs and not getattr(run.tokenizer, "between", ()):
        raise clsbench.UsageError(
            f"the format 'transformers': the tokenizer of this {kind} has no special token between "
            "the texts of a pair, so a pipeline would join them without data.pair_separator; train "
            "on single texts that hold both, or with a backbone that has one, such as BERT"
        )
    names = dict(enumerate(data.class_names))
    base.config.id2label = names
    base.config.label2id = {name: number for number, name in names.items()}
    several = run.record.data.multi_label  # type: ignore[union-attr]
    base.config.problem_type = f"{'multi' if several else 'single'}_label_classification"
    with quiet():
        model = AutoModelForSequenceClassification.from_config(base.config, dtype=torch.float32)
        prefix = model.base_model_prefix
        _assign(model, {**{f"{prefix}.{n}": t for n, t in base.parameters.items()}, **head})
        base.tokenizer.model_max_length = data.max_length
        if "token_type_ids" in (inputs := _inputs(run)):
            base.tokenizer.model_input_names = inputs
            base.tokenizer.init_kwargs["model_input_names"] = inputs
        _compare(trained, base.tokenizer, model.eval())
        model.save_pretrained(directory)
        base.tokenizer.save_pretrained(directory)
    card = model_card(run.record, type(model).__name__)
    (directory / "README.md").write_text(card, encoding="utf-8")


def _base(run: clsbench.TrainedRun) -> Base:
    if isinstance(run.backbone, HF):
        config, tokenizer = run.backbone.for_export()
        return Base(config, _parameters(run.classifier.get_submodule("backbone")), tokenizer)
    name = run.record.spec["backbone"]["name"]
    if name == "gpt2":
        return Base(*gpt2_base(run))
    raise clsbench.UsageError(
        f"the format 'transformers' has no backbone {name!r}; it has gpt2 and hf"
    )


def _choose_padding(run: clsbench.TrainedRun, base: Base) -> None:
    """Set a padding token that no text contains: a decoder's classifier reads the last other one.

    Raises:
        UsageError: the tokenizer has none.
    """
    tokenizer = base.tokenizer
    # Some texts have the token for unknown characters, all the special tokens around them.
    occurring = set(run.tokenizer.encode("\U0010ffff \ue000"))
    candidates = (run.tokenizer.pad_token_id, tokenizer.eos_token_id, *tokenizer.all_special_ids)
    special = {*tokenizer.all_special_ids} - occurring
    chosen = next((each for each in candidates if each in special), None)
    if chosen is None:
        raise clsbench.UsageError(
            "the format 'transformers': a decoder needs a padding token that occurs in no text, "
            "and its tokenizer has none; add one to the model's tokenizer (tokenizer.pad_token), "
            "save it, and train again"
        )
    base.config.pad_token_id = chosen
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(chosen)


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().float() for name, parameter in module.named_parameters()}


def _decoder_head(run: clsbench.TrainedRun, kind: str, base: Base) -> dict[str, Tensor]:
    """The weights of a head without bias; a bias moves into the final norm, where one exists."""
    spec = run.record.spec
    unpadded = spec["data"]["padding"] == "none" and spec["train"]["batch_size"] == 1
    if spec["pooling"]["name"] != "last-real-token" and not (
        spec["pooling"]["name"] == "last-token" and unpadded
    ):
        raise clsbench.UsageError(
            f"the format 'transformers': its classifiers of {kind} read the last token of the text,"
            f" not the pooling {spec['pooling']['name']!r}; train with --pooling last-real-token"
        )
    head = run.classifier.get_submodule("out_head")
    if not isinstance(head, nn.Linear):
        raise clsbench.UsageError(
            f"the format 'transformers': its classifiers of {kind} have one linear layer, not the "
            f"head {spec['head']['name']!r}; train with --head score"
        )
    weight = head.weight.detach().float()
    if head.bias is not None:
        if kind not in _FINAL_BIASES:
            raise clsbench.UsageError(
                f"the format 'transformers': its classifiers of {kind} have a linear layer without "
                f"bias, unlike the head {spec['head']['name']!r}; train with --head score"
            )
        # weight @ shift = bias, so that the shift of the features has the effect of the bias.
        exact = weight.double()
        bias = head.bias.detach().double()
        shift = torch.linalg.lstsq(exact, bias[:, None]).solution[:, 0]
        name = _FINAL_BIASES[kind]
        base.parameters[name] = base.parameters[name] + shift.float()
    return {"score.weight": weight}


def _encoder_head(run: clsbench.TrainedRun, kind: str, base: Base) -> dict[str, Tensor]:
    wanted, spec = _ENCODER_HEADS[kind], run.record.spec
    poolings = _POOLINGS.get(kind, {"first-token": ""})
    pooling = spec["pooling"]
    if pooling["name"] not in poolings or pooling.get("include_padding"):
        padding = " with padding" if pooling.get("include_padding") else ""
        raise clsbench.UsageError(
            f"the format 'transformers': its classifiers of {kind} have no pooling "
            f"{pooling['name']!r}{padding}; train with --pooling {' or '.join(poolings)} --head "
            f"{wanted.option}"
        )
    head = run.classifier.get_submodule("out_head")
    layers = [each for each in head.children() if not isinstance(each, nn.Dropout)]
    if [type(each) for each in layers] != wanted.kinds or (
        len(set(layers[0].get_parameter("weight").shape)) > 1  # width other than the backbone's
    ):
        norm = " and a norm" if wanted.norm else ""
        raise clsbench.UsageError(
            f"the format 'transformers': its classifiers of {kind} have two linear layers with "
            f"{_NAMES[wanted.activation]}{norm} between them, unlike the head "
            f"{spec['head']['name']!r}; train with --head {wanted.option}"
        )
    names = [wanted.dense, *([wanted.norm] if wanted.norm else []), wanted.out]
    found: dict[str, Tensor] = {}
    for name, layer in zip(names, (each for each in layers if _parameters(each)), strict=True):
        found |= {f"{name}.{n}": tensor for n, tensor in _parameters(layer).items()}
    if kind == "modernbert":
        base.config.classifier_pooling = poolings[pooling["name"]]
        base.config.classifier_activation = "gelu"
        base.config.classifier_bias = False
        if base.config.norm_bias:
            found[f"{wanted.norm}.bias"] = torch.zeros(base.config.hidden_size)
    return found


def _assign(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Set all parameters of the model; none may be left over on either side."""
    parameters = dict(model.named_parameters())
    if differing := sorted(parameters.keys() ^ tensors.keys()):
        raise clsbench.PluginError(
            "the export to transformers does not cover all parameters: "
            f"{', '.join(differing[:3])}; this is a fault of clsbench-transformers, please report"
        )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


_TEXTS = ("see you", "win a prize, call now " * 3, "☃ \U0001f600 snow ☃☃", "[SEP] [PAD] </s> <unk>")


def _inputs(run: clsbench.TrainedRun) -> list[str]:
    """The inputs that the model needs; token types only for pairs."""
    data, backbone = run.record.data, run.classifier.get_submodule("backbone")
    typed = data is not None and data.text_pairs and backbone.type_separator is not None
    return ["input_ids", *(["token_type_ids"] * typed), "attention_mask"]


def _compare(run: clsbench.TrainedRun, tokenizer: Any, model: nn.Module) -> None:
    """Compare token ids and logits of run and export.

    Raises:
        PluginError: they differ.
    """
    data = run.record.data
    assert data is not None
    tokenizer.padding_side = "right"
    texts: list[str | TextPair] = list(_TEXTS)
    if data.text_pairs:
        texts = list(map(TextPair, _TEXTS, reversed(_TEXTS)))
    given = (list(_TEXTS), list(reversed(_TEXTS))) if data.text_pairs else (list(_TEXTS),)
    batch = tokenizer(*given, padding=True, truncation=True, return_tensors="pt")
    lengths = batch["attention_mask"].sum(dim=1)
    encoder = TextEncoder(run.tokenizer, None)
    for text, row, length in zip(texts, batch["input_ids"], lengths.tolist(), strict=True):
        ids = encoder.truncated(encoder.encode(text), data.max_length)
        if row[:length].tolist() != ids:
            raise clsbench.PluginError(
                f"the exported tokenizer encodes {text!r} differently; nothing is written. This is "
                "a fault of clsbench-transformers, please report it"
            )
    with torch.no_grad():
        expected = run.classifier(batch["input_ids"], lengths).float()
        inputs = {name: batch[name] for name in batch if name in _inputs(run)}
        found = model(**inputs).logits
    scale = max(1.0, float(expected.abs().max()))
    if not torch.allclose(found, expected, atol=_TOLERANCE * scale, rtol=0):
        difference = float((found - expected).abs().max())
        raise clsbench.PluginError(
            f"the exported model gives other logits (difference {difference:.2g}); nothing is "
            "written. This is a fault of clsbench-transformers, please report it"
        )
