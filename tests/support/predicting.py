"""Runs to predict with, in this process."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner, Result

from clsbench.cli.commands.predict import predict
from clsbench.cli.session import Session
from clsbench.errors import ClsbenchError


def probabilities(answer: str) -> list[dict[str, float]]:
    return [prediction["probabilities"] for prediction in json.loads(answer)["predictions"]]


def in_process(*arguments: str | Path, text_in: bytes = b"") -> Result:
    """Run the command in this process; errors of clsbench are raised."""
    done = CliRunner().invoke(
        predict, [str(argument) for argument in arguments], input=text_in, obj=Session(quiet=True)
    )
    if isinstance(done.exception, ClsbenchError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done
