"""``clsbench predict`` gives the predictions of the run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from command_line import Command
from predicting import in_process
from safetensors import safe_open
from safetensors.torch import save_file

import clsbench as api
from clsbench.cli.commands.predict import predictions_of
from clsbench.cli.predict_input import Texts
from clsbench.components.catalog import load_catalog
from clsbench.errors import ClsbenchError
from clsbench.experiment.predict import load_predictor
from clsbench.schema.options import RunOptions


def test_predict_in_another_precision_than_the_run_warns(
    finished: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    in_process(finished["path"], "apple number 3")
    assert "precision" not in caplog.text
    in_process(finished["path"], "apple number 3", "--precision", "bf16")
    assert "the run used fp32, but these predictions use bf16; use --precision fp32" in caplog.text


class Trained(NamedTuple):
    """A finished run and its training file."""

    run: str
    file: Path


def train(folder: Path, content: bytes, name: str, quoting: str, **options: str) -> Trained:
    """Train a head for one epoch on a file with this content."""
    file = folder / name
    file.write_bytes(content)
    spec = api.ExperimentSpec(
        dataset={"name": "csv", "path": str(file), "quoting": quoting, **options},
        backbone="gpt2-nano",
        freezing="head-only",
        baselines=(),
    )
    changes = {"data.balance": False, "train.epochs": 1}
    store = folder / "runs"
    api.run(spec, settings=changes, out=store, offline=True, threads=1, cache_disk="0")
    (record,) = store.glob("*/record.json")
    return Trained(str(record.parent), file)


def stored_by_row(run: str) -> list[list[float]]:
    """The probabilities in predictions.csv, by row of the corpus."""
    with (Path(run) / "predictions.csv").open(newline="") as lines:
        header, *rows = csv.reader(lines)
    assert header[:3] == ["split", "row", "label"]
    by_row = {int(row[1]): [float(share) for share in row[3:]] for row in rows}
    return [by_row[row] for row in range(len(by_row))]


QUOTED = [f'"win a prize now {n}"' for n in range(30)] + ['"and a single quote begins this']


PLAIN = [f"see you at seven {n}" for n in range(31)]


ROWS = [row for pair in zip(QUOTED, PLAIN, strict=True) for row in pair]


LABELS = ["spam", "ham"] * 31


def lines_of(delimiter: str, texts: list[str]) -> str:
    rows = zip(["text", *texts], ["label", *LABELS], strict=True)
    return "".join(f"{text}{delimiter}{label}\n" for text, label in rows)


@pytest.fixture(scope="module")
def quoted(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run on a file in which quotes are part of the texts."""
    content = lines_of("\t", ROWS).encode()
    return train(tmp_path_factory.mktemp("quoted"), content, "t.tsv", "none")


@pytest.fixture(scope="module")
def semicolons(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run on a Latin-1 file with semicolons and a misleading extension."""
    content = lines_of(";", ['"café; a\nb"', *PLAIN, *PLAIN[1:]]).encode("latin-1")
    options = {"format": "csv", "delimiter": ";", "encoding": "latin-1"}
    folder = tmp_path_factory.mktemp("semicolons")
    return train(folder, content, "t.tsv", "default", **options)


@pytest.mark.parametrize("name", ["quoted", "semicolons"])
def test_predict_of_the_training_file_agrees_with_predictions_csv_row_for_row(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    trained: Trained = request.getfixturevalue(name)
    written = tmp_path / "answers.csv"
    in_process(trained.run, "--csv", trained.file, "--output", written)
    answers = list(csv.DictReader(written.open(newline="", encoding="utf-8")))
    stored = stored_by_row(trained.run)
    assert len(answers) == len(stored) == 62
    texts = ROWS if name == "quoted" else ["café; a\nb", *PLAIN, *PLAIN[1:]]
    assert [answer["text"] for answer in answers] == texts
    assert [answer["label"] for answer in answers] == LABELS
    predicted = [[float(a["probability_ham"]), float(a["probability_spam"])] for a in answers]
    assert [max(row) == row[1] for row in predicted] == [max(row) == row[1] for row in stored]
    for ours, theirs in zip(predicted, stored, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-6)


def as_stored_by_schema_1(run: Path) -> None:
    """Rewrite a run in schema 1, in which quoting is a data setting."""

    def older(spec: dict[str, Any]) -> dict[str, Any]:
        dataset = {key: value for key, value in spec["dataset"].items() if key != "quoting"}
        data = {**spec["data"], "quoting": spec["dataset"]["quoting"]}
        return {**spec, "dataset": dataset, "data": data}

    weights = run / "classifier.safetensors"
    with safe_open(weights, framework="pt") as file:
        ((key, metadata),) = file.metadata().items()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    facts = json.loads(metadata)
    save_file(tensors, weights, {key: json.dumps({**facts, "spec": older(facts["spec"])})})
    record = json.loads((run / "record.json").read_text())
    record |= {"schema_version": 1, "spec": older(record["spec"])}
    record["files_sha256"][weights.name] = hashlib.sha256(weights.read_bytes()).hexdigest()
    (run / "record.json").write_text(json.dumps(record))


def test_predict_run_of_schema_1_reads_files_with_its_quoting(
    quoted: Trained, tmp_path: Path
) -> None:
    run = tmp_path / "runs" / Path(quoted.run).name
    shutil.copytree(quoted.run, run)
    as_stored_by_schema_1(run)
    arguments = ("--csv", quoted.file, "--format", "csv")
    assert in_process(str(run), *arguments).stdout == in_process(quoted.run, *arguments).stdout


def test_predict_options_override_the_format_of_the_run(quoted: Trained, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_bytes('body;n\n"caf\xe9";1\n'.encode("latin-1"))
    latin = (quoted.run, "--csv", other, "--encoding", "latin-1", "--delimiter", ";")
    for more, text in (((), '"café"'), (("--quoting", "default"), "café")):
        done = in_process(*latin, "--column", "body", *more, "--format", "jsonl")
        assert json.loads(done.stdout)["body"] == text
    for arguments, said in (
        (latin, r"line 1: column 'text' not found.*with --column COLUMN"),
        (latin[:-2], r"separated by a semicolon. Give --delimiter ';'"),
        (latin[:3], r"line 2: byte 0xe9 at offset 11 .*--encoding latin-1"),
        ((*latin, "--delimiter", ";;"), r"delimiter = ';;': expected the column separator"),
    ):
        with pytest.raises(ClsbenchError, match=said):
            in_process(*arguments)


def test_predict_texts_as_arguments_agree_with_the_run(quoted: Trained) -> None:
    done = in_process(quoted.run, *ROWS[:9], "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["text"] for row in rows] == ROWS[:9]
    for row, stored in zip(rows, stored_by_row(quoted.run), strict=False):
        ours = [float(row["probability_ham"]), float(row["probability_spam"])]
        assert ours == pytest.approx(stored, abs=1e-6)


def test_predict_without_texts_prints_a_header_and_a_warning(
    quoted: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    done = in_process(quoted.run, "--format", "csv")
    assert done.stdout == "text,probability_ham,probability_spam,predicted\n"
    assert "no texts to classify" in caplog.text


def test_predict_blank_line_of_stdin_gets_a_prediction_as_in_a_file_of_one_column(
    quoted: Trained, tmp_path: Path
) -> None:
    file = tmp_path / "e.csv"
    file.write_bytes(b"text\nwin a prize now\n\nsee you at seven\n")
    by_file = in_process(quoted.run, "--csv", file, "--format", "csv")
    lines = b"win a prize now\n\nsee you at seven\n"
    by_lines = in_process(quoted.run, "--format", "csv", text_in=lines)
    assert by_file.stdout == by_lines.stdout
    texts = [row["text"] for row in csv.DictReader(io.StringIO(by_lines.stdout))]
    assert texts == ["win a prize now", "", "see you at seven"]
    marked = in_process(quoted.run, "--format", "csv", text_in=b"\xef\xbb\xbf" + lines)
    assert marked.stdout == by_lines.stdout
    for wrong in (lines.decode().encode("utf-16"), b"caf\xe9\n", b"\x1f\x8b\x08"):
        with pytest.raises(ClsbenchError, match=r"^stdin"):
            in_process(quoted.run, text_in=wrong)


def test_predictions_of_many_texts_log_progress(
    quoted: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    predictor = load_predictor(Path(quoted.run), RunOptions(threads=1), load_catalog())
    minutes = iter(range(0, 600, 6))  # each reading of the clock is six seconds later
    with caplog.at_level(logging.INFO):
        found = list(predictions_of(predictor, Texts(["a"] * 1000), lambda: float(next(minutes))))
    assert len(found) == 1000
    lines = [record.message for record in caplog.records if "classified" in record.message]
    assert lines == ["classified 512 of 1,000 texts", "classified 1,000 of 1,000 texts"]


def test_json_lines_keep_all_keys_in_every_form_of_output(quoted: Trained, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "text": "a", "predicted": "x"},
        {"id": 2, "more": {"a": [2**70, "é"]}, "text": "b\n"},
    ]
    file = tmp_path / "t.jsonl"
    file.write_text("\n\n".join(map(json.dumps, rows)))
    options = (quoted.run, "--csv", file)
    in_process(*options, "-o", tmp_path / "answers.jsonl")
    lines = (tmp_path / "answers.jsonl").read_text("utf-8").split("\n")
    answers = [json.loads(line) for line in lines if line]
    for answer, row in zip(answers, rows, strict=True):
        assert {key: answer[key] for key in row} == row
    shown = json.loads(in_process(*options, "--json").stdout)["predictions"]
    assert [prediction["columns"] for prediction in shown] == rows
    assert [prediction["predicted"] for prediction in shown] == [a["predicted_2"] for a in answers]
    header, *_ = csv.reader(io.StringIO(in_process(*options, "--format", "csv").stdout))
    assert header[:4] == ["id", "text", "predicted", "more"]
    assert len(in_process(*options).stdout.splitlines()) == 2 + len(rows)


def test_predict_json_prints_one_object_when_it_fails(clsbench: Command) -> None:
    done = clsbench("predict", "latest", "text", "--json")
    assert done.returncode == 2
    assert "latest: " in json.loads(done.stdout)["error"]
