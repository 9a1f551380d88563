from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from asset_server import (
    REVISION,
    AssetServer,
    damaged,
    files_below,
    hub_headers,
    put,
    serves,
    sha256,
    stalls_half_way,
    status,
    zipped,
)
from asset_server import caches as caches
from asset_server import hub as hub
from asset_server import server as server
from command_line import command_in_process

from clsbench.cli.main import main

CORPUS, WEIGHTS = b"ham\thello\n" * 100, b"figure=1.25\n" * 200

PLUGIN = """
import clsbench

CORPUS = clsbench.Asset(
    key="mini/Corpus",
    sources=(clsbench.WebFile({url!r}, "Corpus"),),
    sha256={corpus!r},
    size_bytes={corpus_bytes},
)
WEIGHTS = clsbench.Asset(
    key="mini/weights.bin",
    sources=(clsbench.HubFile("some-org/mini", "weights.bin", {revision!r}),),
    sha256={weights!r},
)


class MiniData(clsbench.Dataset, frozen=True):
    '''A corpus.'''

    def assets(self):
        return (CORPUS,)


class MiniBackbone(clsbench.Backbone, frozen=True):
    '''A backbone whose weights are one figure.'''

    published: str = "1.25"
    large: bool = False

    def assets(self):
        return (WEIGHTS,)

    def numerical_checks(self, files):
        if not self.published:
            return ()
        measured = files[WEIGHTS.key].read_text().split()[0].removeprefix("figure=")
        return (
            clsbench.NumericalCheck(
                name="the figure",
                expected=self.published,
                measured=measured,
                agrees=measured == self.published,
            ),
        )


@clsbench.hookimpl
def clsbench_register_datasets():
    return {{"mini-data": MiniData}}


@clsbench.hookimpl
def clsbench_register_backbones():
    return {{"mini": MiniBackbone}}


@clsbench.hookimpl
def clsbench_register_experiments():
    return {{"mini-exp": clsbench.ExperimentSpec(dataset="mini-data", backbone="mini")}}
"""


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """Runs ``clsbench assets`` with the plugin in this process."""

    def __init__(self, plugin: Path) -> None:
        self._plugin = plugin

    def __call__(self, *arguments: str | Path) -> Outcome:
        run = command_in_process(main, dict(os.environ), Path.cwd())
        done = run("--plugin", self._plugin, "assets", *arguments)
        assert "Traceback" not in done.stderr
        return Outcome(done.returncode, done.stdout, done.stderr)

    def line(self, *arguments: str | Path) -> list[str]:
        """The arguments of a process, for tests that start one."""
        code = "from clsbench.cli.main import main; main()"
        named = [str(argument) for argument in arguments]
        return [sys.executable, "-c", code, "--plugin", str(self._plugin), "assets", *named]

    def json(self, *arguments: str | Path) -> dict[str, Any]:
        outcome = self(*arguments, "--json")
        assert outcome.code == 0, outcome.err
        parsed: dict[str, Any] = json.loads(outcome.out)
        return parsed


@pytest.fixture
def clsbench(hub: AssetServer, caches: Path, tmp_path: Path) -> Command:
    """The command, with an experiment ``mini-exp`` whose files are on a local server."""
    url = hub.at("/corpus.zip", serves(zipped({"Corpus": CORPUS})))
    hub.at_hub("some-org/mini", "weights.bin", serves(WEIGHTS, **hub_headers(WEIGHTS)))
    text = PLUGIN.format(
        url=url,
        corpus=sha256(CORPUS),
        corpus_bytes=len(CORPUS),
        revision=REVISION,
        weights=sha256(WEIGHTS),
    )
    return Command(put(tmp_path / "mini_plugin.py", text.encode()))


def test_assets_fetch_and_verify_detect_damage(
    clsbench: Command, hub: AssetServer, tmp_path: Path
) -> None:
    folder = tmp_path / "carried"
    fetched = clsbench("fetch", folder, "mini-exp")
    assert fetched.code == 0, fetched.err
    assert "mini/Corpus  found (downloaded)" in fetched.out
    assert "downloading mini/weights.bin from" in fetched.err
    assert files_below(folder) == {"mini/Corpus", "mini/weights.bin"}

    asked = len(hub.requests)
    verified = clsbench("verify", folder, "mini-exp")
    assert verified.code == 0
    assert sha256(WEIGHTS) in verified.out
    assert str(folder / "mini/Corpus") in verified.out

    put(folder / "mini/Corpus", damaged(CORPUS))
    (folder / "mini/weights.bin").unlink()
    verified = clsbench("verify", folder, "mini-exp")
    assert verified.code == 3
    assert "mini/Corpus (wrong), mini/weights.bin (missing)" in verified.err
    assert f"clsbench assets fetch {folder}" in verified.err
    assert "expected" in verified.out
    assert len(hub.requests) == asked


def test_assets_list_shows_locations(clsbench: Command, hub: AssetServer, tmp_path: Path) -> None:
    put(tmp_path / "given" / "mini/Corpus", CORPUS)
    listed = clsbench.json("list", "mini-exp", "--assets", tmp_path / "given")
    corpus, weights = listed["assets"]
    assert corpus == {
        "key": "mini/Corpus",
        "state": "found",
        "detail": "assets folder",
        "path": str(tmp_path / "given" / "mini/Corpus"),
        "size_bytes": len(CORPUS),
        "sha256": sha256(CORPUS),
        "expected_sha256": sha256(CORPUS),
        "needed_by": ["mini-exp"],
        "sources": [f"{hub.url}/corpus.zip"],
    }
    assert (weights["state"], weights["sha256"], weights["size_bytes"]) == ("missing", None, None)
    assert weights["sources"] == [f"{hub.url}/some-org/mini/resolve/{REVISION}/weights.bin"]
    assert hub.connections == 0
    plain = clsbench("list", "mini-exp", "--assets", tmp_path / "given")
    assert plain.code == 0
    assert "mini/weights.bin  missing" in plain.out


def test_assets_list_accepts_all_experiments(clsbench: Command) -> None:
    listed = clsbench.json("list")["assets"]
    by_key = {asset["key"]: asset for asset in listed}
    assert by_key["mini/Corpus"]["needed_by"] == ["mini-exp"]
    assert "gpt2-sms-spam" in by_key["sms-spam/SMSSpamCollection"]["needed_by"]
    assert {"gpt2-sms-spam", "gpt2-imdb"} <= set(by_key["gpt2/model.safetensors"]["needed_by"])


def test_assets_list_accepts_the_options_of_run(clsbench: Command) -> None:
    listed = clsbench.json("list", "mini-exp", "--backbone", "gpt2:size=medium")["assets"]
    assert "gpt2-medium/model.safetensors" in [asset["key"] for asset in listed]
    assert "mini/weights.bin" not in [asset["key"] for asset in listed]


def test_assets_fetch_of_an_unavailable_file_exits_with_3(
    clsbench: Command, hub: AssetServer, tmp_path: Path
) -> None:
    hub.at("/corpus.zip", status(404))
    fetched = clsbench("fetch", tmp_path / "carried", "mini-exp")
    assert fetched.code == 3
    assert f"{hub.url}/corpus.zip: HTTP status 404" in fetched.err
    assert files_below(tmp_path / "carried") == {"mini/weights.bin"}


def test_assets_fetch_interrupted_leaves_no_partial_file(
    clsbench: Command, hub: AssetServer, tmp_path: Path
) -> None:
    hub.at_hub("some-org/mini", "weights.bin", stalls_half_way(WEIGHTS, **hub_headers(WEIGHTS)))
    folder = tmp_path / "carried"
    process = subprocess.Popen(
        clsbench.line("fetch", folder, "mini-exp"), stderr=subprocess.PIPE, text=True
    )
    while not any(command == "GET" and "weights" in path for command, path in hub.requests):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert (process.returncode, "Traceback" in err) == (130, False)
    assert "error: interrupted" in err
    assert files_below(folder) <= {"mini/Corpus"}


def test_assets_fetch_in_a_terminal_shows_a_progress_bar(
    clsbench: Command, hub: AssetServer, tmp_path: Path
) -> None:
    hub.at_hub("some-org/mini", "weights.bin", serves(WEIGHTS, **hub_headers(WEIGHTS)))
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        clsbench.line("fetch", tmp_path / "carried", "mini-exp"),
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # the process has closed the terminal
        while chunk := os.read(ours, 65536):
            shown += chunk
    os.close(ours)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "━".encode() in shown
    assert b"mini/weights.bin" in shown
    assert b"\x1b" not in out


def test_assets_verify_numerics_reports_agreement(
    clsbench: Command, hub: AssetServer, tmp_path: Path
) -> None:
    missing = clsbench("verify", "--numerics", "mini")
    assert missing.code == 3
    assert "mini/weights.bin (missing)" in missing.err
    assert "mini/Corpus" not in missing.err

    folder = tmp_path / "carried"
    assert clsbench("fetch", folder, "mini-exp").code == 0
    asked = len(hub.requests)
    agreed = clsbench("verify", folder, "--numerics", "mini")
    assert agreed.code == 0, agreed.err
    assert "the figure  agrees" in agreed.out
    also = clsbench("verify", "--assets", folder, "--numerics", "mini", "--json")
    assert json.loads(also.out)["numerics"] == [
        {"name": "the figure", "expected": "1.25", "measured": "1.25", "agrees": True}
    ]

    differing = clsbench("verify", folder, "--numerics", "mini:published=1.26")
    assert differing.code == 3
    assert "the figure  DISAGREES" in differing.out
    assert "the figure" in differing.err
    silent = clsbench("verify", folder, "--numerics", "mini:published=")
    assert silent.code == 2
    assert "has no published figures" in silent.err
    assert len(hub.requests) == asked


def test_assets_verify_numerics_without_weights_exits_with_3(clsbench: Command) -> None:
    outcome = clsbench("verify", "--numerics", "gpt2")
    assert outcome.code == 3
    assert "gpt2/model.safetensors (missing)" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "mini-ex"], "did you mean 'mini-exp'?"),
        (["verify", "no-such-folder"], "no-such-folder"),
        (["verify", "--numerics", "gtp2"], "did you mean 'gpt2'?"),
        (["verify", "--numerics", "mini:larg=true"], "did you mean 'large'?"),
        (["fetch"], "DIR"),
        (["list", "--assets", "no-such-folder"], "no-such-folder"),
        (["list", "mini-exp", "--backbone", "mini:large=perhaps"], "large"),
    ],
)
def test_assets_with_invalid_arguments_exits_with_2(
    clsbench: Command, arguments: list[str], message: str
) -> None:
    outcome = clsbench(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.out == ""


def test_assets_verify_accepts_an_experiment(clsbench: Command) -> None:
    outcome = clsbench("verify", "mini-exp")
    assert outcome.code == 3
    assert "mini/Corpus (missing), mini/weights.bin (missing)" in outcome.err


def test_assets_list_does_not_import_torch(clsbench: Command) -> None:
    code = (
        "import sys\n"
        "from clsbench.cli.main import main\n"
        "try:\n"
        "    main(['assets', 'list'])\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'pandas', 'transformers', 'requests'} & set(sys.modules)\n"
        "    sys.stderr.write(f'loaded: {sorted(heavy)}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr.endswith("loaded: []")
