"""A trained classifier on disk: what was trained, and how to make the rest again. No pickle."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from clsbench.decoding import DecodingError, decode_json, tensor_metadata
from clsbench.errors import PluginError, UsageError

CLASSIFIER_FILE = "classifier.safetensors"
_METADATA_KEY = "clsbench"


class ClassifierFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to rebuild a stored classifier.

    ``frozen_sha256`` proves that the parameters that are not stored came out the same again.
    ``max_length`` is in tokens; ``padded`` says whether texts are padded to it.
    """

    spec: dict[str, Any]
    class_names: tuple[str, ...]
    max_length: int
    padded: bool
    frozen_sha256: str


def refuse_what_cannot_be_stored(classifier: nn.Module) -> None:
    """Before hours are spent.

    Raises:
        PluginError: a module's state is not of tensors alone.
    """
    for name, value in classifier.state_dict().items():
        if not isinstance(value, Tensor):
            raise PluginError(
                f"the classifier's state holds {name}, a {type(value).__name__} and no tensor, "
                "which could not be stored: one of its modules has its own kind of state (as "
                "those that torch has quantised, or get_extra_state()); keep it in a buffer or an "
                "attribute"
            )


def stored_state(classifier: nn.Module, trained: frozenset[str]) -> dict[str, Tensor]:
    """The parameters named in ``trained``, tied ones once, and every buffer, on the CPU."""
    parameters = {name for name, _ in classifier.named_parameters(remove_duplicate=False)}
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in classifier.state_dict().items()
        if name in trained or name not in parameters
    }


def frozen_sha256(classifier: nn.Module, trained: frozenset[str]) -> str:
    """A hash of the names and float32 values of all parameters but those in ``trained``."""
    digest = hashlib.sha256()
    for name, parameter in sorted(classifier.named_parameters()):
        if name not in trained:
            digest.update(name.encode())
            digest.update(parameter.detach().cpu().float().flatten().numpy().data)
    return digest.hexdigest()


def save_classifier(
    classifier: nn.Module, trained: frozenset[str], facts: ClassifierFacts, directory: Path
) -> None:
    """Write ``classifier.safetensors``."""
    save_file(
        stored_state(classifier, trained),
        directory / CLASSIFIER_FILE,
        metadata={_METADATA_KEY: msgspec.json.encode(facts).decode()},
    )


def read_facts(directory: Path) -> ClassifierFacts:
    """What a stored classifier needs to be rebuilt.

    Raises:
        UsageError: the run holds no classifier, or its file is damaged.
    """
    path = directory / CLASSIFIER_FILE
    if not path.is_file():
        raise UsageError(f"the run {directory.name} holds no {CLASSIFIER_FILE}: it ended too early")
    try:
        return decode_json(tensor_metadata(path)[_METADATA_KEY], ClassifierFacts)
    except (KeyError, OSError, DecodingError) as error:
        raise UsageError(f"{path} is damaged or not from clsbench: {error}") from None


def restore(classifier: nn.Module, facts: ClassifierFacts, directory: Path) -> None:
    """Load the stored parameters into a classifier that was built anew, in place.

    Raises:
        UsageError: the parameters do not fit, or the frozen ones came out differently.
    """
    path = directory / CLASSIFIER_FILE
    with safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    own = classifier.state_dict()
    for name, tensor in state.items():
        if name not in own or own[name].shape != tensor.shape:
            raise UsageError(f"{path}: the tensor {name} does not fit the classifier of this run")
    classifier.load_state_dict(state, strict=False)
    with torch.no_grad():
        found = frozen_sha256(classifier, frozenset(state))
    if found != facts.frozen_sha256:
        raise UsageError(
            f"the frozen weights of {directory.name} cannot be made again: the backbone's weights "
            "have changed since that run (another file at the same path, or another torch)"
        )
