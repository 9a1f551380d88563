"""Store a trained classifier: its trained tensors, and facts to rebuild the rest. No pickle."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Set
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file
from torch import Tensor, nn

from clsbench.errors import PluginError, UsageError
from clsbench.model.parameters import refuse_non_finite
from clsbench.schema.decoding import DecodingError, decode_json, tensor_metadata
from clsbench.schema.older import upgrade_spec
from clsbench.schema.record import RunRecord

CLASSIFIER_FILE = "classifier.safetensors"
_METADATA_KEY = "clsbench"
_CAST = frozenset({torch.float32, torch.float64})
"""The dtypes that a stored tensor may be converted between if the precision changes."""
_SHOWN = 3


class ClassifierFacts(NamedTuple):
    """The record's facts about the stored classifier.

    ``max_length`` is in tokens; ``padded`` says whether texts are padded to it; ``text_pairs``
    whether it classifies pairs of texts. ``thresholds`` of the classes are set for multi-label
    data; those of a run that ended early are 0.5.
    """

    spec: dict[str, Any]
    class_names: tuple[str, ...]
    max_length: int
    padded: bool
    text_pairs: bool = False
    thresholds: tuple[float, ...] | None = None


class _Metadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The metadata of the file. ``frozen_sha256`` verifies that the parameters that are not stored
    are the same when rebuilt; the other fields are the facts, so that an edited record is noticed.
    """

    frozen_sha256: str
    spec: dict[str, Any] | None = None
    class_names: tuple[str, ...] | None = None
    max_length: int | None = None
    padded: bool | None = None
    text_pairs: bool = False
    thresholds: tuple[float, ...] | None = None


# --- storing --------------------------------------------------------------------------------------


def check_storable(classifier: nn.Module, trained: frozenset[str]) -> None:
    """Serialize the tensors that would be stored, so that errors occur before training.

    Raises:
        PluginError: a module's state contains something that cannot be stored.
    """
    for name, value in classifier.state_dict().items():
        if not isinstance(value, Tensor):
            raise PluginError(
                f"the classifier's state contains {name}, a {type(value).__name__}, but only "
                "tensors can be stored: a module has another kind of state (as quantized modules "
                "or those with get_extra_state()); keep it in a buffer or an attribute"
            )
    for name, tensor in _to_store(classifier, trained).items():
        try:
            save({name: _plain(tensor)})
        except Exception as error:  # any exception of torch or safetensors for this kind of tensor
            raise PluginError(
                f"{name} in the classifier's state, a {type(tensor).__name__} of {tensor.dtype} "
                f"({tensor.layout}), cannot be stored: {type(error).__name__}: {error}; keep it in "
                "a plain dense tensor or an attribute"
            ) from error


def stored_state(classifier: nn.Module, trained: frozenset[str]) -> dict[str, Tensor]:
    """The parameters named in ``trained`` and all buffers, on the CPU.

    A tensor with several names (a tied parameter, a shared buffer) is stored once, under the first
    name. Views of one storage become separate tensors.
    """
    found = {}
    storages = set[int]()
    for name, tensor in _to_store(classifier, trained).items():
        plain = _plain(tensor)
        storage = plain.untyped_storage()
        if storage.data_ptr() in storages or storage.nbytes() != plain.nbytes:
            plain = plain.clone()
        storages.add(plain.untyped_storage().data_ptr())
        found[name] = plain
    return found


def frozen_sha256(classifier: nn.Module, stored: Set[str]) -> str:
    """A hash of the names and float32 values of all parameters, except those in ``stored`` and
    those that share memory with them."""
    state = classifier.state_dict()
    places = {_place(tensor) for name, tensor in state.items() if name in stored} - {None}
    digest = hashlib.sha256()
    for name, parameter in sorted(classifier.named_parameters()):
        if name not in stored and _place(state[name]) not in places:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().float().flatten().numpy().data)
    return digest.hexdigest()


def save_classifier(
    classifier: nn.Module,
    trained: frozenset[str],
    facts: ClassifierFacts,
    directory: Path,
    hash_frozen: Callable[[nn.Module, Set[str]], str] = frozen_sha256,
) -> None:
    """Write ``classifier.safetensors``, including the facts that must agree with the record.

    ``hash_frozen`` returns what :func:`frozen_sha256` returns.
    """
    state = stored_state(classifier, trained)
    metadata = _Metadata(frozen_sha256=hash_frozen(classifier, state.keys()), **facts._asdict())
    save_file(
        state,
        directory / CLASSIFIER_FILE,
        metadata={_METADATA_KEY: msgspec.json.encode(metadata).decode()},
    )


def _to_store(classifier: nn.Module, trained: frozenset[str]) -> dict[str, Tensor]:
    """The tensors of the classifier that are stored, each under its first name."""
    parameters = {name for name, _ in classifier.named_parameters(remove_duplicate=False)}
    first: dict[object, str] = {}
    found = {}
    for name, tensor in classifier.state_dict().items():
        if (name in trained or name not in parameters) and (
            first.setdefault(_place(tensor) or name, name) == name
        ):
            found[name] = tensor
    return found


def _place(tensor: Tensor) -> object:
    """A key that is equal for tensors with the same memory, dtype, shape and strides; ``None`` if
    unknown."""
    if type(tensor) is not Tensor or tensor.layout != torch.strided or not tensor.numel():
        return None
    return tensor.device, tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous()


# --- restoring ------------------------------------------------------------------------------------


def stored_facts(record: RunRecord) -> ClassifierFacts:
    """The facts about the classifier of a stored run.

    Raises:
        UsageError: the run ended before its data was loaded.
    """
    if record.data is None:
        raise UsageError("the run has no classifier: it ended before its data was loaded")
    return ClassifierFacts(
        spec=record.spec,
        class_names=record.data.class_names,
        max_length=record.data.max_length,
        padded=record.spec.get("data", {}).get("padding") != "none",
        text_pairs=record.data.text_pairs,
        thresholds=(
            tuple(record.thresholds.get(name, 0.5) for name in record.data.class_names)
            if record.data.multi_label
            else None
        ),
    )


def restore(classifier: nn.Module, facts: ClassifierFacts, directory: Path) -> None:
    """Load the stored parameters into a rebuilt classifier, in place.

    Raises:
        UsageError: the run has no classifier; its file is damaged, belongs to another run or does
            not match; weights are not finite; or the frozen parameters differ from those of the
            run.
    """
    path = directory / CLASSIFIER_FILE
    metadata = _read_metadata(path, facts)
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _load(classifier, state, path)
    with torch.no_grad():
        found = frozen_sha256(classifier, state.keys())
    if found != metadata.frozen_sha256:
        raise UsageError(
            f"the frozen weights of {directory.name} cannot be made again: the backbone's weights "
            "have changed since that run (another file at the same path, or another torch)"
        )
    refuse_non_finite(classifier, f"the classifier of {directory.name} cannot be used")


def _read_metadata(path: Path, facts: ClassifierFacts) -> _Metadata:
    if not path.is_file():
        raise UsageError(f"the run {path.parent.name} holds no {path.name}: it ended too early")
    try:
        metadata = decode_json(tensor_metadata(path)[_METADATA_KEY], _Metadata)
    except (KeyError, OSError, DecodingError) as error:
        raise UsageError(f"{path} is damaged or not from clsbench: {error}") from None
    if metadata.spec is not None:
        metadata = msgspec.structs.replace(metadata, spec=upgrade_spec(metadata.spec))
    for name, expected in facts._asdict().items():
        found = getattr(metadata, name)
        if found is not None and found != expected:
            raise UsageError(
                f"{path} is damaged or belongs to another run: its {name} differs from the record"
            )
    return metadata


def _load(classifier: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy the stored values into the classifier's tensors, so that shared memory stays shared.

    Tensors that already have their value are not written, since some cannot be: an expanded mask,
    for example.
    """
    own = classifier.state_dict()
    _refuse_misfits(own, _to_store(classifier, frozenset(state)).keys(), state, path)
    state = {name: tensor.to(own[name].dtype) for name, tensor in state.items()}
    try:
        classifier.load_state_dict(
            {name: tensor for name, tensor in state.items() if not _equal(own[name], tensor)},
            strict=False,
        )
    except RuntimeError as error:
        raise UsageError(f"{path} cannot be loaded: {error}") from None
    loaded = classifier.state_dict()
    changed = [name for name, tensor in state.items() if not _equal(loaded[name], tensor)]
    if changed:
        raise UsageError(
            f"{path} cannot be loaded: {_listed(changed)} share memory with other tensors of the "
            "classifier, which were stored with other values"
        )


def _refuse_misfits(
    own: Mapping[str, Tensor], expected: Set[str], state: Mapping[str, Tensor], path: Path
) -> None:
    problems = [f"{name} is missing" for name in sorted(expected - state.keys())]
    for name, tensor in state.items():
        if name not in own:
            problems.append(f"{name} is not in the classifier")
        elif own[name].shape != tensor.shape or not _casts(tensor.dtype, own[name].dtype):
            problems.append(
                f"{name} is {_described(tensor)}, in the classifier {_described(own[name])}"
            )
    if problems:
        raise UsageError(
            f"{path} does not fit the classifier of this run: {_listed(problems)}; the file or a "
            "plugin of the run has changed"
        )


def _casts(stored: torch.dtype, own: torch.dtype) -> bool:
    return stored == own or {stored, own} <= _CAST


def _described(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


def _listed(texts: list[str]) -> str:
    more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return ", ".join(texts[:_SHOWN]) + more


def _equal(one: Tensor, other: Tensor) -> bool:
    """Whether all values are equal; NaN equals itself."""
    other = other.to(one.device)
    return torch.equal(one, other) or (
        one.is_floating_point() and torch.allclose(one, other, 0.0, 0.0, equal_nan=True)
    )
