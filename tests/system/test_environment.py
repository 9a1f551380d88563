"""Handling of signals, also while a run is written."""

from __future__ import annotations

import os
import signal

import pytest

from clsbench.cli.termination import Terminated, handling_termination
from clsbench.system.signals import deferring_interrupts

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are sent by POSIX means")


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


def test_handling_termination_only_the_first_sigterm_raises() -> None:
    with handling_termination() as received:
        with pytest.raises(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
        with deferring_interrupts():
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM] * 3


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


def test_handling_termination_sighup_is_handled_like_sigterm() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        with handling_termination() as received, pytest.raises(Terminated, match="SIGHUP"):
            signal.raise_signal(signal.SIGHUP)
        assert received == [signal.SIGHUP]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, former)


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
