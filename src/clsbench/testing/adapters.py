"""The contract of an adapter: existing parameters keep names and values, new ones can be
trained."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clsbench.components.axes import Adapter
from clsbench.errors import UsageError
from clsbench.testing.miniature import NUM_CLASSES, miniature_batch, miniature_classifier
from clsbench.testing.promises import check_options, require
from clsbench.testing.tensors import SEED, check_built_alike, check_outline, check_output, seeded


def check_adapter(adapter: Adapter, device: str = "cpu") -> None:
    """Check an adapter on a miniature classifier.

    All existing parameters keep their names, shapes and values, and the new ones depend on the seed
    only. A step of AdamW leaves the frozen backbone bitwise unchanged and gives the new parameters
    finite gradients. A stored state, loaded into another classifier with the same adapter, returns
    the same logits. Merged, if it can be, it leaves the names of a classifier without it, and the
    same logits. The adapter is applied on the CPU; the classifier computes on ``device``.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(adapter)
    for blocks in (3, 1):
        _check_on(adapter, blocks, device)


def _check_on(adapter: Adapter, blocks: int, device: str) -> None:
    def adapted() -> nn.Module:
        classifier = miniature_classifier(blocks)
        adapter.apply(classifier)
        return classifier

    check_outline(adapter, adapted, *miniature_batch()[:2])
    classifier = check_built_alike(adapter, adapted)
    plain = seeded(lambda: miniature_classifier(blocks))
    after = dict(classifier.named_parameters())
    for name, parameter in plain.named_parameters():
        require(name in after, adapter, f"the parameter {name} is gone or has another name")
        require(
            after[name].shape == parameter.shape and torch.equal(after[name], parameter),
            adapter,
            f"the parameter {name} changed",
        )
    existing = {name for name, _ in plain.named_parameters()}
    classifier = classifier.to(device)
    logits = _logits(adapter, classifier)
    _check_step(adapter, classifier, existing)
    _check_stored(adapter, classifier, blocks)
    _check_merged(adapter, classifier, existing)
    doubled = _logits(adapter, check_built_alike(adapter, adapted).to(device).double())
    require(
        torch.allclose(doubled, logits.double(), atol=1e-4),
        adapter,
        "in float64 its classifier returns different logits than in float32",
    )


def _logits(adapter: Adapter, classifier: nn.Module) -> Tensor:
    like = next(classifier.parameters())
    input_ids, lengths, _ = (tensor.to(like.device) for tensor in miniature_batch())
    shape = (len(lengths), NUM_CLASSES)
    with torch.no_grad():
        logits = check_output(adapter, classifier.eval()(input_ids, lengths), shape, like)
        again = classifier(input_ids, lengths)
    require(torch.equal(again, logits), adapter, "a second call returns a different result")
    return logits


def _check_step(adapter: Adapter, classifier: nn.Module, existing: set[str]) -> None:
    """Train what is new, and the head, on a frozen backbone."""
    for name, parameter in classifier.named_parameters():
        parameter.requires_grad_(name not in existing or not name.startswith("backbone."))
    before = {name: p.detach().clone() for name, p in classifier.named_parameters()}
    trained = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=0.01, weight_decay=0.1)
    device = trained[0].device
    input_ids, lengths, labels = (tensor.to(device) for tensor in miniature_batch())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        loss = F.cross_entropy(classifier.train()(input_ids, lengths), labels)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    for name, parameter in classifier.named_parameters():
        if not parameter.requires_grad:
            require(torch.equal(parameter, before[name]), adapter, f"{name} is frozen and changed")
            continue
        require(parameter.grad is not None, adapter, f"{name} trains and has no gradient")
        assert parameter.grad is not None
        require(bool(parameter.grad.isfinite().all()), adapter, f"{name} has no finite gradient")


def _check_stored(adapter: Adapter, classifier: nn.Module, blocks: int) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED + 1)
        other = miniature_classifier(blocks)
        adapter.apply(other)
    device = next(classifier.parameters()).device
    try:
        other.load_state_dict(classifier.state_dict())
    except RuntimeError as error:
        raise AssertionError(f"{adapter!r}: its state cannot be loaded again: {error}") from error
    require(
        torch.equal(_logits(adapter, other.to(device)), _logits(adapter, classifier)),
        adapter,
        "its state, loaded into another classifier, returns different logits",
    )


def _check_merged(adapter: Adapter, classifier: nn.Module, existing: set[str]) -> None:
    merged = copy.deepcopy(classifier)
    try:
        adapter.merge(merged)
    except UsageError:
        return
    names = {name for name, _ in merged.named_parameters()}
    require(
        names == existing,
        adapter,
        f"merged, it leaves or removes parameters: {sorted(names ^ existing)}",
    )
    require(
        torch.allclose(_logits(adapter, merged), _logits(adapter, classifier), atol=1e-4),
        adapter,
        "merged, its classifier returns other logits",
    )
