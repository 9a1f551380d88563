"""``clsbench predict``: texts, forms of output, refused options."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from command_line import Command
from predicting import in_process, probabilities

from clsbench.errors import ClsbenchError

TEXTS = ["apple number 3", "pear number 8", "apple number 99"]


@pytest.mark.slow
def test_predict_texts_from_arguments_stdin_and_csv_agree(
    finished: dict[str, Any], tmp_path: Path
) -> None:
    run = finished["path"]
    by_arguments = in_process(run, *TEXTS, "--json")
    by_lines = in_process(run, "--json", text_in=("\n".join(TEXTS) + "\n").encode())
    assert by_arguments.stdout == by_lines.stdout
    file = tmp_path / "texts.csv"
    file.write_text("id,body\n" + "".join(f"{n},{t}\n" for n, t in enumerate(TEXTS)))
    by_csv = in_process(run, "--csv", file, "--column", "body", "--json")
    assert probabilities(by_csv.stdout) == probabilities(by_lines.stdout)
    for text, shares in zip(TEXTS, probabilities(by_arguments.stdout), strict=True):
        assert shares.keys() == {"apple", "pear"}
        assert sum(shares.values()) == pytest.approx(1)
        assert max(shares, key=shares.__getitem__) == text.split()[0]


@pytest.mark.parametrize("baseline", [(), ("--baseline", "majority")])
def test_predict_pair_with_a_run_on_single_texts_is_refused(
    finished: dict[str, Any], baseline: tuple[str, ...]
) -> None:
    with pytest.raises(ClsbenchError, match="trained on single texts, but text 1 is a pair"):
        in_process(finished["path"], *baseline, "a", "--pair", "b")


def baseline_answers(run: Path, baseline: str) -> dict[int, str]:
    """The predictions of a baseline in its run, by row of the corpus."""
    with (run / "baselines.csv").open() as lines:
        rows = csv.DictReader(lines)
        return {int(row["row"]): row[baseline] for row in rows}


@pytest.mark.parametrize("name", ["tfidf-logreg", "majority"])
def test_predict_stored_baseline_repeats_its_predictions_without_the_weights(
    finished: dict[str, Any], spec_file: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(finished["path"])
    (component,) = (b["component"] for b in finished["baselines"] if name in b["component"])
    (run / "classifier.safetensors").rename(run / "away")
    try:
        file = spec_file.parent / "fruit.csv"
        done = in_process(run, "--baseline", name, "--csv", file, "--format", "csv")
    finally:
        (run / "away").rename(run / "classifier.safetensors")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(rows[0]) == ["text", "label", "predicted"]
    expected = baseline_answers(run, component)
    assert len(rows) == len(expected)
    assert {row: each["predicted"] for row, each in enumerate(rows)} == expected


def test_predict_with_an_unknown_baseline_lists_the_stored_ones(
    finished: dict[str, Any],
) -> None:
    said = "stored baselines: majority, tfidf-logreg:ngrams=1,c=auto"
    with pytest.raises(ClsbenchError, match=said):
        in_process(finished["path"], "--baseline", "tfidf", "a text")
    answer = json.loads(
        in_process(finished["path"], "--baseline", "majority", "x", "--json").stdout
    )
    assert answer["predictions"] == [{"text": "x", "predicted": answer["class_names"][0]}]


def test_predict_prints_a_table(clsbench: Command, finished: dict[str, Any]) -> None:
    run = Path(finished["path"])
    done = clsbench("predict", run.name, "pear", "apple " * 200, "--out", finished["store"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == ["predicted", "apple", "pear", "text"]
    assert "1 of 2 texts were longer than the" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nosuchrun", "text"], "no run 'nosuchrun'"),
        (["latest", "text", "--csv", "x.csv"], "give texts or --csv FILE, not both"),
        (["latest", "--column", "body"], "--column body requires --csv FILE"),
        (["latest", "--delimiter", ";"], "--delimiter ';' requires --csv FILE"),
        (["latest", "text", "--encoding", "latin-1"], "--encoding applies to --csv FILE or stdin"),
        (
            ["latest", "text", "--json", "--format", "csv"],
            "--json cannot be combined with --output or --format",
        ),
        (["latest", "text", "--output", "a.xyz"], "unknown extension '.xyz'"),
        (
            ["latest", "--csv", __file__, "--output", __file__, "--format", "csv"],
            "is also the input",
        ),
    ],
)
def test_predict_options_that_conflict_are_refused(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ClsbenchError) as caught:
        in_process(*arguments, "--out", str(tmp_path))
    assert caught.value.exit_code == 2
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [(["--format", "xml"], "'xml'"), (["--output", "no/a.csv"], "no does not exist")],
)
def test_predict_option_with_an_invalid_value_exits_with_2(
    clsbench: Command, option: list[str], message: str
) -> None:
    done = clsbench("predict", "latest", "text", *option)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
