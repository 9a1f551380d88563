"""Devices that are not there or have failed; signals, also while a run is written."""

from __future__ import annotations

import os
import signal

import psutil
import pytest
import torch

from clsbench.cli.termination import Terminated, handling_termination
from clsbench.errors import UsageError
from clsbench.system.environment import choose_device, free_memory_bytes, peak_memory_bytes
from clsbench.system.signals import deferring_interrupts

posix = pytest.mark.skipif(os.name == "nt", reason="signals are sent by POSIX means")


@pytest.mark.parametrize(
    ("built_for", "said"),
    [
        (None, "is a build without CUDA; install one with CUDA (https://pytorch.org/get-started"),
        ("12.8", "finds no CUDA device here; check the driver (nvidia-smi) and CUDA_VISIBLE_DEV"),
    ],
)
def test_choose_device_without_cuda_says_what_to_do(
    built_for: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is simulated: torch's kind of build, without a device."""
    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError) as caught:
        choose_device("cuda", "fp32")
    assert str(caught.value).startswith(f"device cuda: torch {torch.__version__} {said}")
    assert str(caught.value).endswith(", or use --device cpu")
    assert "\n" not in str(caught.value)


def test_choose_device_beyond_the_last_names_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.cuda`` is simulated: two devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1", "fp32") == torch.device("cuda:1")
    with pytest.raises(UsageError, match=r"device cuda:2: .* CUDA devices: cuda:0 to cuda:1"):
        choose_device("cuda:2", "fp32")


@pytest.mark.parametrize(
    ("cuda", "mps", "precision", "chosen"),
    [
        (True, True, "fp32", "cuda"),
        (False, True, "fp32", "mps"),
        (False, True, "fp64", "cpu"),
        (False, False, "fp32", "cpu"),
    ],
)
def test_choose_device_auto_prefers_a_gpu_that_can_compute_in_the_precision(
    cuda: bool, mps: bool, precision: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine is simulated."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: int(cuda))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto", precision) == torch.device(chosen)


def test_free_memory_is_that_of_the_chosen_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.cuda`` is simulated: two devices; the machine's own memory is real."""
    free = {0: 3000, 1: 5000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free[device.index], 9000))
    assert free_memory_bytes(torch.device("cuda:1")) == 5000
    assert 9000 < free_memory_bytes(torch.device("cpu")) <= psutil.virtual_memory().total


def test_peak_memory_of_a_lost_device_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.cuda`` is simulated: the device is lost."""

    def lost(device: torch.device) -> int:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lost)
    assert peak_memory_bytes(torch.device("cuda")) is None


# --- signals --------------------------------------------------------------------------------------


@posix
def test_deferring_interrupts_ignores_sigint_and_delays_sigterm() -> None:
    done = []

    def write() -> None:
        with deferring_interrupts():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("all is written")

    with handling_termination() as received, pytest.raises(Terminated):
        write()
    assert done == ["all is written"]
    assert received == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@posix
def test_handling_termination_only_the_first_sigterm_raises() -> None:
    with handling_termination() as received:
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
        with deferring_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM] * 3


@posix
def test_handling_termination_keeps_an_existing_handler() -> None:
    seen: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with handling_termination() as received, deferring_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen == []
        assert seen == [signal.SIGTERM]
        assert received == []
    finally:
        signal.signal(signal.SIGTERM, former)


@posix
def test_handling_termination_sighup_is_handled_like_sigterm() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with handling_termination() as received, pytest.raises(Terminated, match="SIGHUP"):
            signal.raise_signal(signal.SIGHUP)
        assert received == [signal.SIGHUP]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, former)


@posix
def test_handling_termination_ignored_sighup_stays_ignored() -> None:
    """``nohup`` starts processes with SIGHUP ignored."""
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling_termination() as received, deferring_interrupts():
            signal.raise_signal(signal.SIGHUP)
        assert received == []
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)
