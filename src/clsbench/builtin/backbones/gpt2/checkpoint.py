"""Read GPT-2 checkpoints: files of the Hugging Face hub, and those that transformers saves.

Both store linear layers transposed (as ``Conv1D``), with query, key and value fused. The hub's
files use plain tensor names (``h.0.ln_1.weight``) and include the causal masks; ``save_pretrained``
adds the prefix ``transformer.`` and a head, and writes several files for large models. Headers are
checked for completeness before any weights are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

import clsbench
from clsbench.builtin.backbones.gpt2.config import CheckpointError, read_config, unused_tokens
from clsbench.builtin.backbones.gpt2.shape import SHAPES, GPT2Shape
from clsbench.data import DecodingError, decode_json, read_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from clsbench.builtin.backbones.gpt2.module import GPT2Module

CONFIG = "config.json"
SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_PREFIX = "transformer."
_HEADS = re.compile(r"(lm_head|score|classifier)\.(weight|bias)")
_LANGUAGE_HEAD = "lm_head."
_MASKS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")
_FLOATS = ("F64", "F32", "F16", "BF16")
_CONVERSION = (
    "only safetensors is supported: load it with transformers and save it with "
    "model.save_pretrained(DIRECTORY)"
)


@dataclass(frozen=True)
class StoredTensor:
    """The location of a tensor in a checkpoint: file, name in the file, shape."""

    file: Path
    name: str
    shape: tuple[int, ...]


def read_shape(path: Path) -> GPT2Shape:
    """The shape of a checkpoint, its tensors checked by the files' headers.

    ``path`` is a directory with a ``config.json``, or a safetensors file of one of the published
    sizes.

    Raises:
        CheckpointError: it is not a GPT-2, or a tensor is missing, unknown or has the wrong shape.
    """
    stored = _stored_tensors(weight_files(path))
    shape = read_config(path / CONFIG) if path.is_dir() else _recognise(stored)
    _check(stored, shape)
    return shape


def unused_parts(path: Path) -> tuple[str, ...]:
    """Messages about what a checkpoint holds besides GPT-2 and its tokenizer's vocabulary."""
    found = []
    heads = [
        name
        for file in weight_files(path)
        for name, _, _ in _read_header(file)
        if _HEADS.fullmatch(name) and not name.startswith(_LANGUAGE_HEAD)
    ]
    if heads:
        found.append(
            f"its classification head ({', '.join(heads)}) is not used: a run trains its own head"
        )
    if path.is_dir():
        found += unused_tokens(path / CONFIG)
    return tuple(found)


def weight_files(path: Path) -> tuple[Path, ...]:
    """The safetensors files of a checkpoint.

    Raises:
        CheckpointError: the path contains no checkpoint.
    """
    try:
        return _weight_files(path)
    except (OSError, ValueError) as error:  # no permission, or no path that a file could have
        raise CheckpointError(f"it cannot be read: {error}") from None


def _weight_files(path: Path) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    if not path.is_dir():
        here = "" if path.is_absolute() else f" (relative to {Path.cwd()})"
        raise CheckpointError(f"no such file or directory{here}")
    if not (path / CONFIG).is_file():
        raise CheckpointError(
            f"the directory has no {CONFIG}; expected a checkpoint as transformers' "
            "save_pretrained writes it"
        )
    if (path / SINGLE_FILE).is_file():
        return (path / SINGLE_FILE,)
    if (path / INDEX).is_file():
        return _shards(path)
    pickled = sorted(p.name for p in path.glob("*.bin"))
    if pickled:
        raise CheckpointError(f"the directory holds its weights in {pickled[0]}; {_CONVERSION}")
    raise CheckpointError(f"the directory has neither {SINGLE_FILE} nor {INDEX}")


def load(path: Path, shape: GPT2Shape, causal: bool) -> GPT2Module:
    """The module with the checkpoint's weights, in float32 and independent of its files.

    Draws no random numbers and holds every weight once.

    Raises:
        CheckpointError: the weights do not make a GPT-2 of that shape.
    """
    import torch

    from clsbench.builtin.backbones.gpt2.module import GPT2Module

    stored = _stored_tensors(weight_files(path))
    _check(stored, shape)
    with clsbench.without_weights():
        module = GPT2Module(shape, causal)
    state: dict[str, Tensor] = {}
    for key, tensor in stored.items():
        try:
            with safe_open(tensor.file, framework="pt") as file:
                values = file.get_tensor(tensor.name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{tensor.name} cannot be read: {error}") from None
        for name, part in _parts(key, values):
            # A copy: the tensor from the file is a view of the file.
            state[name] = torch.empty(part.shape, dtype=torch.float32).copy_(part)
    module.load_state_dict(state, assign=True)
    return module


def _parts(key: str, values: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The parameters of :class:`GPT2Module` that one tensor of a checkpoint holds."""
    if key in _OUTER:
        yield _OUTER[key], values
        return
    block, inner, kind = _block_key(key)
    if inner in _NORMS:
        yield f"trf_blocks.{block}.{_NORMS[inner]}.{_NORM_KINDS[kind]}", values
        return
    parts = values.chunk(len(_LINEARS[inner]), dim=-1)
    for name, part in zip(_LINEARS[inner], parts, strict=True):
        yield f"trf_blocks.{block}.{name}.{kind}", part.T if kind == "weight" else part


_OUTER = {
    "wte.weight": "tok_emb.weight",
    "wpe.weight": "pos_emb.weight",
    "ln_f.weight": "final_norm.scale",
    "ln_f.bias": "final_norm.shift",
}
_NORMS = {"ln_1": "norm1", "ln_2": "norm2"}
_NORM_KINDS = {"weight": "scale", "bias": "shift"}
_LINEARS = {
    "attn.c_attn": ("att.W_query", "att.W_key", "att.W_value"),
    "attn.c_proj": ("att.out_proj",),
    "mlp.c_fc": ("ff.layers.0",),
    "mlp.c_proj": ("ff.layers.2",),
}
"""The modules that a linear layer of the checkpoint holds, side by side in its columns."""


def _block_key(key: str) -> tuple[int, str, str]:
    """``h.3.attn.c_proj.weight`` → ``(3, "attn.c_proj", "weight")``."""
    _, block, rest = key.split(".", 2)
    inner, _, kind = rest.rpartition(".")
    return int(block), inner, kind


def _expected(shape: GPT2Shape) -> dict[str, tuple[int, ...]]:
    """Every tensor of a checkpoint of that shape, by its plain name."""
    width = shape.width
    expected: dict[str, tuple[int, ...]] = {
        "wte.weight": (shape.vocabulary_size, width),
        "wpe.weight": (shape.context_length, width),
    }
    for block in range(shape.blocks):
        for norm in _NORMS:
            expected |= {f"h.{block}.{norm}.{kind}": (width,) for kind in _NORM_KINDS}
        for linear, (inputs, outputs) in {
            "attn.c_attn": (width, 3 * width),
            "attn.c_proj": (width, width),
            "mlp.c_fc": (width, 4 * width),
            "mlp.c_proj": (4 * width, width),
        }.items():
            expected[f"h.{block}.{linear}.weight"] = (inputs, outputs)
            expected[f"h.{block}.{linear}.bias"] = (outputs,)
    return expected | {"ln_f.weight": (width,), "ln_f.bias": (width,)}


def _recognise(stored: Mapping[str, StoredTensor]) -> GPT2Shape:
    """The published size that a file without a ``config.json`` holds."""
    embedding = stored.get("wte.weight")
    if embedding is None:
        some = ", ".join(sorted(stored)[:3]) or "none"
        raise CheckpointError(
            f"it is not a GPT-2: it has no tensor wte.weight (its tensors: {some} …)"
        )
    for shape in SHAPES.values():
        if embedding.shape == (shape.vocabulary_size, shape.width):
            return shape
    sizes = ", ".join(f"{n} ({s.vocabulary_size}, {s.width})" for n, s in SHAPES.items())
    raise CheckpointError(
        f"{embedding.name} has shape {embedding.shape}, which is not one of the published sizes: "
        f"{sizes}; for another shape, name the directory of the checkpoint with its {CONFIG}"
    )


def _check(stored: Mapping[str, StoredTensor], shape: GPT2Shape) -> None:
    """Refuse a checkpoint whose tensors are not exactly those of a GPT-2 of that shape."""
    blocks = {key.split(".")[1] for key in stored if re.fullmatch(r"h\.\d+\..+\..+", key)}
    if blocks and len(blocks) != shape.blocks:
        raise CheckpointError(f"it has {len(blocks)} blocks, expected {shape.blocks}")
    if shape.blocks > len(stored):
        raise CheckpointError(
            f"it is not a GPT-2 with {shape.blocks} blocks: it has {len(stored)} tensors"
        )
    expected = _expected(shape)
    for key, wanted in expected.items():
        if key not in stored:
            others = len(expected.keys() - stored.keys()) - 1
            more = f", and {others} others" if others else ""
            raise CheckpointError(f"tensor {key} of shape {wanted} is missing{more}")
        if stored[key].shape != wanted:
            found = stored[key]
            raise CheckpointError(
                f"tensor {found.name} has shape {found.shape}, expected {wanted} "
                f"({found.file.name})"
            )
    for key in sorted(stored.keys() - expected.keys()):
        raise CheckpointError(
            f"tensor {stored[key].name} of shape {stored[key].shape} is not part of a GPT-2 with "
            f"{shape.blocks} blocks"
        )


def _stored_tensors(files: tuple[Path, ...]) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint by their plain names, without masks and heads."""
    found: dict[str, StoredTensor] = {}
    for path in files:
        for name, shape, kind in _read_header(path):
            key = name.removeprefix(_PREFIX)
            if _MASKS.fullmatch(key) or _HEADS.fullmatch(name):
                continue
            if key in found:
                raise CheckpointError(
                    f"tensor {key} occurs twice: in {found[key].file.name} as "
                    f"{found[key].name} and in {path.name} as {name}"
                )
            if kind not in _FLOATS:
                raise CheckpointError(
                    f"tensor {name} is stored as {kind}, expected one of {', '.join(_FLOATS)}"
                )
            found[key] = StoredTensor(path, name, shape)
    return found


def _read_header(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Name, shape and type of every tensor in a safetensors file."""
    try:
        # The framework matters only when values are read.
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return [(n, tuple(s.get_shape()), s.get_dtype()) for n, s in slices.items()]
    except OSError as error:
        raise CheckpointError(f"{path.name} cannot be read: {error}") from None
    except SafetensorError as error:
        raise CheckpointError(f"{path.name} {_diagnosis(path)} ({error})") from None


def _diagnosis(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(9)
    if head.startswith((b"PK\x03\x04", b"\x80\x02")):
        return f"is a pickled PyTorch file; {_CONVERSION}"
    if path.suffix == ".json":
        return "is not a safetensors file; name its directory instead"
    # A header's length, then the header, which is a JSON object.
    if len(head) < 9 or head[8:] == b"{":
        return (
            "is not a complete safetensors file: it is truncated or damaged; copy or fetch it again"
        )
    return "is not a safetensors file"


def _shards(path: Path) -> tuple[Path, ...]:
    try:
        index = decode_json(read_bytes(path / INDEX))
        names = sorted({str(name) for name in index["weight_map"].values()})
    except (OSError, DecodingError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{INDEX} is not an index of weight files: {type(error).__name__}: {error}"
        ) from None
    for name in names:
        if Path(name).name != name:
            raise CheckpointError(f"{INDEX} names the file {name!r}, which is not beside it")
        if not (path / name).is_file():
            raise CheckpointError(f"{name}, which {INDEX} names, is missing")
    return tuple(path / name for name in names)
