from __future__ import annotations

import csv
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.cli.predict import read_column
from clsbench.errors import UsageError
from command_line import Command

TEXTS = ["apple number 3", "pear number 8", "apple number 99"]


def probabilities(answer: str) -> list[dict[str, float]]:
    return [prediction["probabilities"] for prediction in json.loads(answer)["predictions"]]


@pytest.mark.slow
def test_texts_from_arguments_stdin_and_csv_agree(
    clsbench: Command, finished: dict[str, Any], tmp_path: Path
) -> None:
    run = finished["path"]
    by_arguments = clsbench("predict", run, *TEXTS, "--format", "json")
    assert by_arguments.returncode == 0, by_arguments.stderr
    by_lines = clsbench("predict", run, "--format", "json", text_in="\n".join(TEXTS) + "\n")
    file = tmp_path / "texts.csv"
    file.write_text("id,body\n" + "".join(f"{n},{t}\n" for n, t in enumerate(TEXTS)))
    by_csv = clsbench("predict", run, "--csv", file, "--column", "body", "--format", "json")
    assert by_arguments.stdout == by_lines.stdout == by_csv.stdout
    for text, shares in zip(TEXTS, probabilities(by_arguments.stdout), strict=True):
        assert shares.keys() == {"apple", "pear"}
        assert sum(shares.values()) == pytest.approx(1)
        assert max(shares, key=shares.__getitem__) == text.split()[0]


def test_the_probabilities_are_those_of_the_run(
    clsbench: Command, finished: dict[str, Any], spec_file: Path
) -> None:
    with (Path(finished["path"]) / "predictions.csv").open() as lines:
        stored = [row for row in csv.DictReader(lines) if row["split"] == "test"]
    texts = list(csv.DictReader((spec_file.parent / "fruit.csv").open()))
    asked = [texts[int(row["row"])]["text"] for row in stored]
    answer = clsbench("predict", finished["path"], *asked, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(answer.stdout)))
    assert [row["text"] for row in rows] == asked
    for row, expected in zip(rows, stored, strict=True):
        for name in ("probability_apple", "probability_pear"):
            assert float(row[name]) == pytest.approx(float(expected[name]), abs=1e-6)


def test_a_table_by_the_runs_name(clsbench: Command, finished: dict[str, Any]) -> None:
    run = Path(finished["path"])
    done = clsbench("predict", run.name, "pear", "apple " * 200, "--out", finished["store"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["predicted", "apple", "pear", "text"]
    assert "1 of 2 texts were longer than the" in done.stderr


def test_no_texts_at_all(clsbench: Command, finished: dict[str, Any]) -> None:
    done = clsbench("predict", finished["path"], "--format", "csv")
    assert done.returncode == 0
    assert done.stdout == "text,probability_apple,probability_pear,predicted\n"
    assert "there were no texts to classify" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuchrun", "text"], "there is no run 'nosuchrun'"),
        (["latest", "text", "--csv", "x.csv"], "give texts or --csv FILE, not both"),
        (["latest", "--column", "body"], "--column belongs to --csv FILE"),
        (["latest", "--csv", "nowhere.csv"], "nowhere.csv cannot be read"),
        (["latest", "text", "--format", "xml"], "'xml'"),
    ],
)
def test_bad_input(clsbench: Command, arguments: list[str], message: str) -> None:
    done = clsbench("predict", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in done.stderr


def test_a_column(tmp_path: Path) -> None:
    file = tmp_path / "a.tsv"
    file.write_bytes('\ufefftext\tn\n"two\nlines"\t1\n\t2\n'.encode())
    assert read_column(file, "text") == ["two\nlines", ""]
    with pytest.raises(UsageError, match="has no column 'texts'; did you mean 'text'"):
        read_column(file, "texts")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("id,text\n1,see you, at seven\n", "line 2: the header names 2 columns, but here are 3"),
        ('id,text\n\n1,"a\nb"\n2\n', "line 5: the header names 2 columns, but here are 1"),
        ("text,text\na,b\n", "line 1: .*'text' 2 times"),
        ("", "is empty"),
        ('id,text\n1,"a\nb', "line 2: unexpected end of data"),
    ],
)
def test_a_damaged_csv_is_refused_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "a.csv"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_column(file, "text")


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('{"body": "two\\nlines", "n": 1}\n\n{"n": 2, "body": "{"}\n')
    assert read_column(file, "body") == ["two\nlines", "{"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"text": "a"}\n{"txt": "b"}\n', "line 2: no key 'text'; did you mean 'txt'"),
        ('[{"text": "a"}]\n', "line 1: expected one JSON object a line"),
        ('{\n"text": "a"}\n', "line 1: expected one JSON object a line"),
        ('{"text": 3}\n', "line 1: what 'text' holds is no text"),
        ('{"text": null}\n', "line 1: what 'text' holds is no text"),
    ],
)
def test_damaged_json_lines_are_refused_with_their_line(
    tmp_path: Path, content: str, said: str
) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(content)
    with pytest.raises(UsageError, match=said):
        read_column(file, "text")


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_any_texts_survive_a_csv(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.csv")
        with file.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.writer(lines)
            writer.writerow(["id", "text"])
            writer.writerows(enumerate(texts))
        assert read_column(file, "text") == texts


@pytest.mark.parametrize("content", [b"text\n\xff\xfe\n", b'text\n"unclosed'])
def test_a_file_that_is_no_csv(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=str(file)):
        read_column(file, "text")
