"""What the checks of torch modules share: seeded modules, their gradients, their repeatability."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from clsbench.testing.promises import require

SEED = 20240229
DTYPES = (torch.float32, torch.float64)


@contextmanager
def untouched_generator() -> Iterator[None]:
    """Give PyTorch's global generator its state back afterwards."""
    with torch.random.fork_rng(devices=[]):
        yield


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """The module that ``build`` makes after seeding PyTorch's global generator."""
    with untouched_generator():
        torch.manual_seed(SEED)
        return build()


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = SEED) -> Tensor:
    """Numbers from the standard normal distribution, the same on every call."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def check_built_alike(component: object, build: Callable[[], nn.Module]) -> nn.Module:
    """Check that a seed decides the whole state of the module; return one, in evaluation mode."""
    module = seeded(build)
    require(isinstance(module, nn.Module), component, f"build() returns {type(module).__name__}")
    require(
        same_state(module, seeded(build)),
        component,
        "two modules built after the same seed differ: draw from PyTorch's global generator",
    )
    return module.eval()


def same_state(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules hold the same tensors, bit for bit, under the same names."""
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


def check_gradients(component: object, module: nn.Module, output: Tensor, *inputs: Tensor) -> None:
    """Check that the output's sum of squares has a finite gradient for everything that trains."""
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    wanted = {**named, **{f"input {i}": x for i, x in enumerate(inputs) if x.requires_grad}}
    if not wanted:
        return
    gradients = torch.autograd.grad(
        output.double().square().sum(), list(wanted.values()), allow_unused=True
    )
    for (name, tensor), gradient in zip(wanted.items(), gradients, strict=True):
        require(gradient is not None, component, f"no gradient reaches {name}")
        assert gradient is not None
        require(gradient.shape == tensor.shape, component, f"the gradient of {name} is misshapen")
        require(bool(gradient.isfinite().all()), component, f"the gradient of {name} is not finite")


def check_outline(component: object, build: Callable[[], nn.Module], *inputs: Tensor) -> None:
    """Check that the module can be built and run on the meta device, as every run does first.

    There it counts the parameters and the memory of a classifier without making it.
    """
    made = {name: p.shape for name, p in seeded(build).named_parameters()}
    try:
        with torch.device("meta"):
            outline = build()
            outline(*(tensor.to("meta") for tensor in inputs))
    except Exception as error:
        raise AssertionError(
            f"{component!r}: on the meta device (shapes without data, where a run counts "
            f"parameters and memory) it fails: {type(error).__name__}: {error}"
        ) from error
    outlined = {name: p.shape for name, p in outline.named_parameters()}
    require(
        list(outlined.items()) == list(made.items()),
        component,
        f"on the meta device it has other parameters: {outlined} instead of {made}",
    )
    real = [name for name, p in outline.named_parameters() if not p.is_meta]
    require(not real, component, f"built on the meta device, {real[:3]} hold data nevertheless")


def check_output(component: object, output: object, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Check type, shape, dtype and finiteness of a module's output, and give it back."""
    require(isinstance(output, Tensor), component, f"forward returns {type(output).__name__}")
    assert isinstance(output, Tensor)
    require(
        tuple(output.shape) == shape,
        component,
        f"forward returns shape {tuple(output.shape)}, expected {shape}",
    )
    require(
        output.dtype == like.dtype,
        component,
        f"forward returns {output.dtype} from {like.dtype}; the dtype must stay",
    )
    require(
        bool(output.isfinite().all()),
        component,
        f"forward returns numbers that are not finite ({shape})",
    )
    return output
