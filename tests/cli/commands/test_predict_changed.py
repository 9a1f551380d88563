"""``clsbench predict`` with components that have changed since training."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result
from predicting import in_process

import clsbench as api
from clsbench.cli.commands.predict import predict
from clsbench.cli.session import Session
from clsbench.errors import ClsbenchError, UsageError

CHANGING = """
import clsbench
from pathlib import Path
{imports}

class Turned(clsbench.Head):
    '''A head that may be turned round.'''

    words: str = ""
    libraries = ("own-library",)

    def user_files(self):
        return (Path(self.words),) if self.words else ()

    def build(self, hidden_size, num_classes):
        import torch

        class Linear(torch.nn.Linear):
            def forward(self, x):
                return {sign}super().forward(x)

        return Linear(hidden_size, num_classes)


@clsbench.hookimpl
def clsbench_register_heads():
    return {{"turned": Turned}}
"""


class Changing(NamedTuple):
    """A run whose head is a plugin, and the folder of the plugin ``turned.py``."""

    run: str
    folder: Path

    def predict(self, *arguments: str) -> Result:
        plugins = (str(self.folder / "turned.py"),)
        done = CliRunner().invoke(
            predict, [self.run, "apple", *arguments], obj=Session(plugins=plugins, quiet=True)
        )
        if isinstance(done.exception, ClsbenchError):
            raise done.exception
        assert done.exit_code == 0, done.output
        return done


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("changing")
    (folder / "turned.py").write_text(CHANGING.format(sign="", imports=""))
    (folder / "words.txt").write_text("a")
    (folder / "own_library-1.dist-info").mkdir()
    (folder / "own_library-1.dist-info" / "METADATA").write_text(library("1.0"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        api.run(
            api.ExperimentSpec(
                dataset="synthetic-sms:texts=100", backbone="gpt2-nano", freezing="head-only",
                baselines=(), head={"name": "turned", "words": str(folder / "words.txt")},
            ),
            settings={"train.epochs": 1, "data.balance": False}, out=folder / "runs", threads=1,
            offline=True, cache_disk="0", plugins=[str(folder / "turned.py")],
        )  # fmt: skip
    return folder


def library(version: str) -> str:
    return f"Metadata-Version: 2.1\nName: own-library\nVersion: {version}\n"


@pytest.fixture
def changing(trained_once: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Changing]:
    """Restore all files afterwards."""
    monkeypatch.syspath_prepend(trained_once)
    (record,) = trained_once.glob("runs/*/record.json")
    files = [p for p in trained_once.glob("*/*") if p.is_file()] + list(trained_once.glob("*.*"))
    contents = {path: path.read_bytes() for path in files if path.is_file()}
    yield Changing(str(record.parent), trained_once)
    for path, content in contents.items():
        path.write_bytes(content)


def test_predict_with_an_unchanged_plugin_marks_nothing(changing: Changing) -> None:
    assert json.loads(changing.predict("--json").stdout)["changed"] == []
    assert "changed" not in changing.predict("--format", "csv").stdout
    assert "CHANGED" not in changing.predict().stdout


@pytest.mark.parametrize("what", ["plugin", "file"])
def test_predict_with_a_changed_component_is_refused_unless_allowed(
    changing: Changing, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = json.loads(changing.predict("--json").stdout)["predictions"][0]["probabilities"]
    if what == "plugin":
        (changing.folder / "turned.py").write_text(CHANGING.format(sign="-", imports=""))
        said = "head 'turned' (turned.py): its source"
    else:
        (changing.folder / "words.txt").write_text("b")
        said = f"head 'turned' (turned.py): the content of {changing.folder / 'words.txt'} has"
    with pytest.raises(UsageError, match=re.escape(said)) as caught:
        changing.predict()
    assert "--allow-changed" in str(caught.value)
    with caplog.at_level(logging.WARNING, logger="clsbench"):
        answer = json.loads(changing.predict("--json", "--allow-changed").stdout)
    assert said in caplog.text
    (change,) = answer["changed"]
    assert change.startswith(said)
    after = answer["predictions"][0]["probabilities"]
    assert (after != pytest.approx(before)) is (what == "plugin")
    (row,) = csv.DictReader(
        io.StringIO(changing.predict("--format", "csv", "--allow-changed").stdout)
    )
    assert row["changed"] == change
    lines = changing.predict("--format", "jsonl", "--allow-changed").stdout
    assert json.loads(lines)["changed"] == change
    assert f"CHANGED: {change}" in changing.predict("--allow-changed").stdout


def test_predict_with_another_version_of_a_library_warns(
    changing: Changing, caplog: pytest.LogCaptureFixture
) -> None:
    (changing.folder / "own_library-1.dist-info" / "METADATA").write_text(library("2.0"))
    with caplog.at_level(logging.WARNING, logger="clsbench"):
        assert json.loads(changing.predict("--json").stdout)["changed"] == []
    assert "its library own-library is 2.0; in training it was 1.0" in caplog.text


def test_predict_without_the_plugin_of_a_run_names_it(changing: Changing) -> None:
    with pytest.raises(UsageError, match=r"'turned' of turned\.py, which no loaded plugin"):
        in_process(changing.run, "apple")


class Instance(api.Dataset, frozen=True):
    def load(self, files: api.Files) -> api.Corpus:
        texts = [f"{('apple', 'pear')[i % 2]} number {i}" for i in range(60)]
        return api.Corpus(class_names=("a", "b"), texts=texts, labels=[i % 2 for i in range(60)])


def test_predict_on_a_run_with_an_instance_says_that_it_needs_a_plugin(tmp_path: Path) -> None:
    spec = api.ExperimentSpec(
        dataset="synthetic-sms", backbone="gpt2-nano", freezing="head-only", baselines=()
    )
    api.run(spec, dataset=Instance(), settings={"train.epochs": 1}, out=tmp_path, threads=1,
            cache_disk="0")  # fmt: skip
    (record,) = tmp_path.glob("*/record.json")
    with pytest.raises(UsageError, match=r"'instance' of .*by clsbench_register_datasets"):
        in_process(record.parent, "apple")
