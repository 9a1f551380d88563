"""How a classifier is trained: the settings under ``train`` in an experiment."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

ComponentTable = dict[str, Any]
"""A component by name with its options: ``{"name": "last-blocks", "n": 2}``."""


class TrainSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Optimization: by default AdamW on cross-entropy, with a constant learning rate.

    If ``loss`` is not set, that of the data set's labels is filled in when the spec is resolved:
    ``cross-entropy``, or ``binary-cross-entropy`` for multi-label data.
    """

    epochs: Annotated[int, Meta(ge=1, description="passes over the training split")] = 5
    batch_size: Annotated[int, Meta(ge=1, description="texts per batch")] = 8
    lr: Annotated[float, Meta(gt=0, description="learning rate, passed to the optimizer")] = 5e-5
    weight_decay: Annotated[
        float, Meta(ge=0, description="weight decay, passed to the optimizer")
    ] = 0.1
    optimizer: str | ComponentTable = "adamw"
    schedule: str | ComponentTable = "constant"
    loss: str | ComponentTable | None = None
    accumulation: Annotated[int, Meta(ge=1, description="batches per optimizer step")] = 1
    gradient_clipping: Annotated[
        float,
        Meta(ge=0, description="largest norm of the gradients of an optimizer step; 0: no limit"),
    ] = 0.0
    layer_decay: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="factor on the learning rate from each stage of the backbone to the one"
            " below; head, pooling and adapter train at train.lr",
        ),
    ] = 1.0
    select: Annotated[
        Literal["last", "best-validation"],
        Meta(
            description="the epoch whose weights are used: the last one, or the best one on the"
            " whole validation split by the primary metric"
        ),
    ] = "last"
    patience: Annotated[
        int,
        Meta(
            ge=0,
            description="stop after this many epochs without a better result on the whole"
            " validation split by the primary metric; 0: never",
        ),
    ] = 0
    ignore_index: Annotated[
        int,
        Meta(
            description="index of a class (from 0) whose texts are ignored in training; negative:"
            " no class"
        ),
    ] = -100
    eval_every: Annotated[
        int, Meta(ge=1, description="batches between two evaluations of the loss")
    ] = 50
    eval_batches: Annotated[
        int, Meta(ge=1, description="batches per evaluation during training")
    ] = 5
