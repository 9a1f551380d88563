"""The contract of a backbone: its description, tokenizer, stages and packing."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from clsbench.components.axes import Backbone, BackboneModule, PackingBackboneModule
from clsbench.components.values import Files, ParameterInfo
from clsbench.model.packing import Packing, select_positions
from clsbench.testing.promises import check_assets, check_options, require
from clsbench.testing.tensors import check_built_alike, check_output, untouched_generator
from clsbench.testing.tokenizers import check_tokenizer

ROLES = frozenset({"weight", "bias", "norm", "embedding"})
LONGEST_TRIED = 1024
"""The maximum number of positions that are tried, even if the backbone's context is longer."""


def check_backbone(backbone: Backbone, files: Files | None = None, device: str = "cpu") -> None:
    """Check a backbone and its tokenizer; ``files`` holds the paths of its assets.

    ``describe()`` and ``skeleton()`` match the module that ``build()`` returns. The tokenizer
    accepts any text, ends it with its ``ending`` if it declares one, reads names of special tokens
    as ordinary text, and keeps the tokens ``between`` pairs out of texts. The stages are named
    ``embeddings``, ``block.0`` …, and optionally ``final_norm``. They map token ids to finite
    hidden states (B, T, H) of up to :data:`LONGEST_TRIED` positions, deterministically and
    independently for each text. No stage depends on parameters of a later one, since a frozen
    prefix could not be cached otherwise. Padding matters only if ``attends_to_padding`` is true.
    Single positions and packed texts give the same results as whole batches. All parameters have
    finite gradients. The module is built on the CPU and computes on ``device``.

    Raises:
        AssertionError: the contract is broken.
    """
    check_options(backbone)
    check_assets(backbone)
    given = files or {}
    missing = [asset.key for asset in backbone.assets() if asset.key not in given]
    require(not missing, backbone, f"hand its assets to the check: files lacks {missing}")
    stand_in = backbone.stand_in()
    require(
        stand_in is None or isinstance(stand_in, Backbone),
        backbone,
        f"its stand-in is not a backbone: {stand_in!r}",
    )
    backbone = backbone.with_files(given)
    tokenizer = backbone.tokenizer(given)
    rows = check_tokenizer(backbone, tokenizer)
    module = check_built_alike(backbone, lambda: backbone.build(given))
    _check_description(backbone, module)
    module = module.to(device)
    input_ids, lengths = (tensor.to(device) for tensor in _batch(rows, tokenizer.pad_token_id))
    _check_stages(backbone, module, input_ids, lengths)
    whole = min(backbone.context_length(), LONGEST_TRIED)
    longest = torch.tensor([whole], device=device)
    _hidden(backbone, module, input_ids[:1, :1].expand(1, whole), longest)
    # Comparisons in float64, where rounding cannot hide or feign a difference.
    module = module.double()
    hidden = _hidden(backbone, module, input_ids, lengths)
    _check_texts_apart(backbone, module, input_ids, lengths, hidden)
    _check_single_positions(backbone, module, input_ids, lengths)
    if isinstance(module, PackingBackboneModule):
        _check_packing(backbone, module, input_ids, lengths)
    if not cast(BackboneModule, module).attends_to_padding:
        _check_padding(backbone, module, input_ids, lengths, hidden)


# --- before it is built -----------------------------------------------------------------------


def _check_description(backbone: Backbone, module: nn.Module) -> None:
    described = backbone.describe()
    built = {name: tuple(p.shape) for name, p in module.named_parameters()}
    _require_same_parameters(backbone, described, built, "build()")
    skeleton = backbone.skeleton()
    planned = {name: tuple(p.shape) for name, p in skeleton.named_parameters()}
    _require_same_parameters(backbone, described, planned, "skeleton()")
    real = [name for name, p in skeleton.named_parameters() if not p.is_meta]
    require(not real, backbone, f"skeleton() holds data in {real[:3]}; make it on the meta device")
    try:
        ids = torch.zeros(2, 4, dtype=torch.int64, device="meta")
        with torch.device("meta"):
            _states(skeleton, ids, ids[:, 0])
    except Exception as error:
        raise AssertionError(
            f"{backbone!r}: skeleton() cannot run on the meta device, where a run counts memory: "
            f"{type(error).__name__}: {error}"
        ) from error
    stages = [stage.name for stage in cast(BackboneModule, module).stages()]
    require(len(set(stages)) == len(stages), backbone, f"two stages share a name: {stages}")
    blocks = [f"block.{number}" for number in range(len(stages))]
    between = stages[1 : -1 if stages[-1] == "final_norm" else None]
    require(
        stages[0] == "embeddings" and between == blocks[: len(between)],
        backbone,
        f"its stages are {stages}, expected embeddings, block.0, block.1 … in order, and "
        "optionally final_norm: freezing strategies rely on these names",
    )
    for info in described:
        require(info.role in ROLES, backbone, f"{info.name} has the unknown role {info.role!r}")
        require(
            info.stage in stages, backbone, f"{info.name} is in no stage ({info.stage!r}: {stages})"
        )
        require(
            info.numel == math.prod(info.shape), backbone, f"{info.name}: numel is not its shape's"
        )
    for name, parameter in module.named_parameters():
        require(
            parameter.dtype == torch.float32 and parameter.device.type == "cpu",
            backbone,
            f"{name} is built as {parameter.dtype} on {parameter.device}, expected float32 on cpu",
        )
    for attribute, expected in (
        ("hidden_size", backbone.hidden_size()),
        ("context_length", backbone.context_length()),
    ):
        found = getattr(module, attribute, None)
        require(
            found == expected,
            backbone,
            f"{attribute} of the module is {found!r}, {attribute}() returns {expected}",
        )


def _require_same_parameters(
    backbone: Backbone,
    described: tuple[ParameterInfo, ...],
    found: dict[str, tuple[int, ...]],
    where: str,
) -> None:
    described_shapes = {info.name: info.shape for info in described}
    differing = sorted(described_shapes.items() ^ found.items())
    require(
        list(described_shapes.items()) == list(found.items()),
        backbone,
        f"describe() and {where} differ in "
        + (", ".join(f"{name} {shape}" for name, shape in differing[:4]) or "the order"),
    )


# --- once it is built -------------------------------------------------------------------------


def _batch(rows: list[list[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    padded_length = max(map(len, rows)) + 2
    input_ids = torch.full((len(rows), padded_length), pad_token_id)
    for row, ids in zip(input_ids, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
    return input_ids, torch.tensor([len(ids) for ids in rows])


def _states(module: nn.Module, input_ids: Tensor, lengths: Tensor) -> dict[str, Tensor]:
    """The hidden states behind every stage, by its name."""
    backbone = cast(BackboneModule, module)
    context = backbone.prepare(input_ids, lengths)
    hidden: Tensor | None = None
    states = {}
    for stage in backbone.stages():
        hidden = states[stage.name] = stage.run(hidden, context)
    return states


def _hidden(backbone: Backbone, module: nn.Module, input_ids: Tensor, lengths: Tensor) -> Tensor:
    with torch.no_grad():
        states = _states(module, input_ids, lengths)
    like = next(module.parameters())
    for hidden in states.values():
        check_output(backbone, hidden, (*input_ids.shape, backbone.hidden_size()), like)
    return hidden


def _check_stages(
    backbone: Backbone, module: nn.Module, input_ids: Tensor, lengths: Tensor
) -> None:
    with untouched_generator():
        before = torch.random.get_rng_state()
        hidden = _hidden(backbone, module, input_ids, lengths)
        require(
            torch.equal(before, torch.random.get_rng_state()),
            backbone,
            "in evaluation mode it draws random numbers",
        )
        require(
            torch.equal(hidden, _hidden(backbone, module, input_ids, lengths)),
            backbone,
            "a second call returns a different result",
        )
    states = _states(module, input_ids, lengths)
    order = list(states)
    named = dict(module.named_parameters())
    for info in backbone.describe():
        earlier = order[: order.index(info.stage)]
        if not earlier:
            continue
        (gradient,) = torch.autograd.grad(
            states[earlier[-1]].sum(), named[info.name], allow_unused=True, retain_graph=True
        )
        require(
            gradient is None or not gradient.any(),
            backbone,
            f"the hidden states behind {earlier[-1]!r} depend on {info.name} of the later stage "
            f"{info.stage!r}",
        )
    gradients = torch.autograd.grad(
        states[order[-1]].square().sum(), list(named.values()), allow_unused=True
    )
    for name, gradient in zip(named, gradients, strict=True):
        require(gradient is not None, backbone, f"no gradient reaches {name}")
        assert gradient is not None
        require(bool(gradient.isfinite().all()), backbone, f"the gradient of {name} is not finite")


def _check_texts_apart(
    backbone: Backbone, module: nn.Module, input_ids: Tensor, lengths: Tensor, hidden: Tensor
) -> None:
    for row in range(len(input_ids)):
        alone = _hidden(backbone, module, input_ids[row : row + 1], lengths[row : row + 1])
        require(
            torch.allclose(alone[0], hidden[row], rtol=1e-6, atol=1e-8),
            backbone,
            "the hidden states of a text depend on the other texts of its batch",
        )


def _check_single_positions(
    backbone: Backbone, module: nn.Module, input_ids: Tensor, lengths: Tensor
) -> None:
    """What stages say of single positions is what they give at all of them."""
    context = cast(BackboneModule, module).prepare(input_ids, lengths)
    generator = torch.Generator().manual_seed(0)
    positions = (torch.rand(len(lengths), generator=generator) * input_ids.shape[1]).long()
    positions = positions.to(lengths.device)
    before: Tensor | None = None
    with torch.no_grad():
        for stage in cast(BackboneModule, module).stages():
            after = stage.run(before, context)
            wanted = select_positions(after, positions)
            if stage.at_positions is not None:
                require(before is not None, backbone, f"{stage.name}: at_positions is first")
                assert before is not None
                require(
                    torch.allclose(
                        stage.at_positions(before, context, positions), wanted, rtol=1e-6, atol=1e-8
                    ),
                    backbone,
                    f"{stage.name}: at_positions returns different hidden states than run",
                )
            if stage.positionwise:
                require(before is not None, backbone, f"{stage.name}: the first reads tokens")
                assert before is not None
                require(
                    torch.allclose(
                        stage.run(select_positions(before, positions), context),
                        wanted,
                        rtol=1e-6,
                        atol=1e-8,
                    ),
                    backbone,
                    f"{stage.name} says it is positionwise, but other positions matter",
                )
            before = after


def _check_packing(
    backbone: Backbone, module: nn.Module, input_ids: Tensor, lengths: Tensor
) -> None:
    """Packed, every stage gives at the real tokens what it gives with padding."""
    assert isinstance(module, PackingBackboneModule)
    if module.attends_to_padding:
        return
    packing = Packing.of(lengths.clamp(min=1).tolist()).to(lengths.device)
    padded_context = module.prepare(input_ids, lengths)
    packed_context = module.prepare_packed(packing.pack(input_ids), packing)
    last = lengths.clamp(min=1) - 1
    padded: Tensor | None = None
    packed: Tensor | None = None
    with torch.no_grad():
        for stage in module.stages():
            if stage.at_positions is not None and packed is not None and padded is not None:
                require(
                    torch.allclose(
                        stage.at_positions(packed, packed_context, last),
                        stage.at_positions(padded, padded_context, last),
                        rtol=1e-6,
                        atol=1e-8,
                    ),
                    backbone,
                    f"{stage.name}: at_positions differs when texts are packed",
                )
            padded, packed = stage.run(padded, padded_context), stage.run(packed, packed_context)
            require(
                torch.allclose(packed, packing.pack(padded), rtol=1e-6, atol=1e-8),
                backbone,
                f"{stage.name} returns different hidden states when texts are packed",
            )


def _check_padding(
    backbone: Backbone, module: nn.Module, input_ids: Tensor, lengths: Tensor, hidden: Tensor
) -> None:
    """Other padding, and less of it, must leave the real tokens as they are."""
    places = torch.arange(input_ids.shape[1], device=lengths.device)
    real = places < lengths.unsqueeze(-1)  # (B, T)
    other_ids = torch.where(real, input_ids, input_ids[0, 0])
    trimmed = int(lengths.max())
    for what, ids in (("other", other_ids), ("less", input_ids[:, :trimmed])):
        states = _hidden(backbone, module, ids, lengths)
        kept = real[:, : ids.shape[1]]
        require(
            torch.allclose(states[kept], hidden[:, : ids.shape[1]][kept], rtol=1e-6, atol=1e-8),
            backbone,
            f"attends_to_padding is false, but {what} padding changes the states of real tokens",
        )
