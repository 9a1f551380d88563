"""``clsbench.run``: what Python gets to hear that the command line tells on stderr."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

import clsbench


def test_an_installed_plugin_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    information = tmp_path / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[clsbench]\nbroken = no_such_module\n")
    monkeypatch.syspath_prepend(tmp_path)
    with (
        caplog.at_level(logging.WARNING, logger="clsbench"),
        pytest.raises(clsbench.UsageError, match="no freezing strategy called 'nope'"),
    ):
        clsbench.run("gpt2-sms-spam", freezing="nope")
    assert "skipped an installed plugin: plugin broken (broken) cannot be imported" in caplog.text


def test_a_failed_run_says_where_what_was_done_is_kept(tmp_path: Path) -> None:
    with pytest.raises(clsbench.RunFailedError, match=r"loss is .* at step .* kept in") as caught:
        clsbench.run(
            "gpt2-sms-spam",
            offline=True,
            settings={"train.lr": 1e38, "train.epochs": 1},
            device="cpu",
            out=tmp_path,
        )
    assert caught.value.path.parent == tmp_path
    assert clsbench.load_results(tmp_path)["status"].tolist() == ["failed"]


def test_a_refused_run_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(clsbench.UsageError):
        clsbench.run("gpt2-sms-spam", device="cuda:99", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
