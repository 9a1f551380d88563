"""The options of a run: the struct and its form as keyword arguments."""

from __future__ import annotations

import pytest

import clsbench
from clsbench.errors import UsageError
from clsbench.schema.options import RunOptions, RunOptionsDict


def test_run_options_dict_has_the_fields_of_run_options() -> None:
    assert set(RunOptionsDict.__annotations__) == set(RunOptions.__struct_fields__)


def test_run_unknown_option_names_the_closest() -> None:
    with pytest.raises(UsageError, match=r"unknown key 'devise'.*did you mean 'device'"):
        clsbench.run("gpt2-sms-spam", devise="cpu", dry_run=True)  # type: ignore[call-arg]
