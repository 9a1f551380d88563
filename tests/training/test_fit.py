"""The loop that trains: what it does when a loss is not finite."""

from __future__ import annotations

import pytest
import torch

from clsbench.builtin.poolings import LastToken
from clsbench.fastpath.embedding_gradients import RowGradients
from clsbench.fastpath.forward import Forward
from clsbench.model.classifier import Classifier
from clsbench.spec import TrainSettings
from clsbench.training.fit import BatchTraining, NonFiniteLossError, TrainingLog
from clsbench.training.schedule import TrainBatch
from fast_and_plain import random_splits
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2


@pytest.mark.parametrize("looks_later", [False, True])
def test_the_weights_stay_those_from_before_the_loss_that_is_not_finite(looks_later: bool) -> None:
    """Also where nobody looks at the loss until later, as on CUDA."""
    torch.manual_seed(1)
    classifier = Classifier(TinyGPT2().build({}), LastToken().build(12), torch.nn.Linear(12, 3))
    splits = random_splits(2, [9] * 6, WIDTH_TOKENS, VOCABULARY)
    forward = Forward(classifier, splits.by_name(), torch.device("cpu"), "fp32")
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, fused=True)
    batches = BatchTraining(
        forward, optimizer, TrainSettings(batch_size=2), TrainingLog(), RowGradients()
    )
    batches._looks_later = looks_later
    told = ""
    before: list[torch.Tensor] = []
    try:
        for step in range(6):
            if step == 3:
                before = [p.detach().clone() for p in classifier.parameters()]
                classifier.out_head.register_forward_hook(
                    lambda module, inputs, out: out * torch.inf
                )
            batches.train(TrainBatch(step, 0, (0, 1), update=True))
        batches.settle()
    except NonFiniteLossError as error:
        told = str(error)
    assert "at step 3" in told
    assert before
    for parameter, value in zip(classifier.parameters(), before, strict=True):
        assert torch.equal(parameter, value)
