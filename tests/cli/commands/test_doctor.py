from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from command_line import Command

from clsbench.cli.commands.doctor_checks import ask_servers, versions
from clsbench.components.values import Asset, HubFile, WebFile


class _Handler(BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        if self.path == "/stalls":
            self.server.asked_to_end.wait()  # type: ignore[attr-defined]
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a local server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as found:
        found.asked_to_end = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.asked_to_end.set()  # type: ignore[attr-defined]
        found.shutdown()
        thread.join()


def asset(*urls: str) -> Asset:
    return Asset(key="a", sources=tuple(WebFile(url) for url in urls), sha256=None)


def test_ask_servers_reports_each_response(server: str) -> None:
    there, missing, refused = f"{server}/there", f"{server}/missing", "http://127.0.0.1:9/x"
    answers = ask_servers([asset(there, missing), asset(refused), asset(there)], seconds=300)
    assert answers[there] == "answers (200)"
    assert answers[missing] == "refuses: 404 Not Found"
    assert answers[refused].startswith("cannot be reached: ")
    assert len(answers) == 3


def test_ask_servers_with_a_stalled_server_times_out(server: str) -> None:
    answers = ask_servers(
        [asset(f"{server}/stalls")], seconds=0.3
    )  # without a limit it would not return
    [answer] = answers.values()
    assert "answer" in answer or "timed out" in answer


def test_ask_servers_uses_the_hub_endpoint_of_the_environment(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server)
    file = HubFile("owner/model", "model.safetensors", "abc")
    answers = ask_servers([Asset(key="m", sources=(file,), sha256=None)])
    assert answers == {f"{server}/owner/model/resolve/abc/model.safetensors": "answers (200)"}


def test_versions_include_requirements_without_extras() -> None:
    found = versions()
    assert {"python", "clsbench", "torch", "msgspec", "rich-click"} <= found.keys()
    assert "pytest" not in found
    assert "not installed" not in found.values()


def test_doctor_prints_a_report(in_process: Command, tmp_path: Path) -> None:
    wrong = tmp_path / "assets" / "sms-spam" / "SMSSpamCollection"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("not the corpus")
    done = in_process("doctor", "--offline", "--assets", tmp_path / "assets")
    assert (done.returncode, done.stderr) == (1, "")
    for text in (
        "torch",
        "cpu",
        "threads",
        "sms-spam/SMSSpamCollection  wrong: ",
        "Plugins in use",
    ):
        assert text in done.stdout
    assert "http" not in done.stdout


def test_doctor_json_is_one_object(in_process: Command) -> None:
    done = in_process("doctor", "--offline", "--json", "--assets", "nowhere")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["devices"][0]["name"] == "cpu"
    assert report["folders"]["assets"] == "nowhere does not exist or is not a folder"
    states = {asset["key"]: asset for asset in report["assets"]}
    assert states["gpt2/model.safetensors"]["state"] == "missing"
    assert "gpt2-sms-spam" in states["gpt2/model.safetensors"]["needed_by"]
    assert all(plugin["failure"] is None for plugin in report["plugins"])


def test_doctor_with_a_failing_installed_plugin_names_it(clsbench: Command, tmp_path: Path) -> None:
    """A plugin counts as installed if a .dist-info folder has an entry point for it."""
    info = tmp_path / "site" / "broken_plugin-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clsbench]\nbroken = nothing_of_that_name\n")
    env = {"PYTHONPATH": str(tmp_path / "site")}
    done = clsbench("doctor", "--offline", env=env)
    assert (done.returncode, done.stderr) == (1, "")
    assert "Plugins that failed" in done.stdout
    assert "No module named 'nothing_of_that_name'" in done.stdout
    listed = clsbench("list", "heads", env=env)
    assert listed.returncode == 0
    assert "warning: skipped an installed plugin: plugin broken (broken-plugin)" in listed.stderr


@pytest.mark.parametrize("name", ["nope", "nowhere/nope.py"])
@pytest.mark.parametrize("through", ["option", "environment"])
def test_doctor_with_a_named_plugin_that_fails_lists_it_and_ends_with_1(
    name: str, through: str, in_process: Command
) -> None:
    given = ["--plugin", name] if through == "option" else []
    env = {"CLSBENCH_PLUGINS": name} if through == "environment" else {}
    done = in_process("doctor", "--offline", "--json", *given, env=env)
    assert (done.returncode, done.stderr) == (1, "")
    failed = [p for p in json.loads(done.stdout)["plugins"] if p["failure"] is not None]
    assert [plugin["plugin"] for plugin in failed] == [name]


CHOOSING = '''
import clsbench
from clsbench.testing import MiniatureBackbone


class Choosing(MiniatureBackbone, frozen=True):
    """Needs one of two options."""

    folder: str = ""
    file: str = ""

    def __post_init__(self):
        if not self.folder and not self.file:
            raise ValueError("expected either folder or file")


@clsbench.hookimpl
def clsbench_register_backbones():
    return {"choosing": Choosing}
'''


def test_doctor_with_a_backbone_that_needs_one_of_two_options_succeeds(
    in_process: Command, tmp_path: Path
) -> None:
    (tmp_path / "choosing.py").write_text(CHOOSING)
    done = in_process("--plugin", tmp_path / "choosing.py", "doctor", "--offline")
    assert done.returncode == 0, done.stderr
