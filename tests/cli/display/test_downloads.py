from __future__ import annotations

import io
import logging

import pytest
from fake_clock import Clock

from clsbench.cli.display.downloads import DownloadBars, DownloadLines
from clsbench.report.terminal.console import Console


def test_download_lines_are_logged_every_ten_seconds(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    clock = Clock()
    lines = DownloadLines(clock)
    for key, total in (("gpt2/model", 50_000_000), ("corpus", None)):
        lines.started(key, f"https://a/{key}")
        for megabytes in range(0, 50, 10):
            clock.now_seconds += 6
            lines.received(key, megabytes * 1_000_000, total)
    lines.finished("gpt2/model", succeeded=True)
    lines.finished("corpus", succeeded=False)
    assert caplog.messages == [
        "downloading gpt2/model from https://a/gpt2/model",
        "downloading gpt2/model: 10 MB of 50 MB (20%)",
        "downloading gpt2/model: 30 MB of 50 MB (60%)",
        "downloading corpus from https://a/corpus",
        "downloading corpus: 10 MB",
        "downloading corpus: 30 MB",
        "downloaded gpt2/model from https://a/gpt2/model",
    ]


def test_download_bars_show_each_download_until_it_ends(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "clsbench")
    console = Console(file=io.StringIO(), width=80)
    downloads = DownloadBars(console)
    for url in ("https://a/model", "https://mirror/model"):
        downloads.started("gpt2/[model]", url)
    downloads.received("gpt2/[model]", 12_000_000, 50_000_000)
    downloads.started("corpus", "https://a/corpus")
    first, second = console.render_lines(downloads.bars, pad=False)
    text = "".join(segment.text for segment in first)
    assert text.startswith("gpt2/[model] ")
    assert "12.0/50.0 MB" in text
    assert "corpus" in "".join(segment.text for segment in second)
    for key in ("gpt2/[model]", "corpus", "never started"):
        downloads.finished(key, succeeded=key != "never started")
    assert downloads.bars.tasks == []
    assert caplog.messages == [
        "downloaded gpt2/[model] from https://mirror/model",
        "downloaded corpus from https://a/corpus",
    ]
