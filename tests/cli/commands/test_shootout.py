"""``clsbench suite shootout`` on a user's own file: from zero to a recommendation."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from command_line import Command

WORDS = {
    "billing": ["invoice", "refund", "charged", "payment", "receipt"],
    "technical": ["crashes", "error", "screen", "restart", "update"],
    "delivery": ["parcel", "courier", "tracking", "arrived", "address"],
}


def tickets(folder: Path, each: int, queues: int = 3) -> str:
    """A CSV file with ``each`` texts of every class, as the option ``--dataset``."""
    lines = ["body,queue"]
    for number in range(each):
        for queue, words in list(WORDS.items())[:queues]:
            about = " ".join(words[(number + step) % 5] for step in (0, 1 + number % 3))
            lines.append(f'"Hello, my {about} is number {number}, please help",{queue}')
    file = folder / f"tickets-{each}-{queues}.csv"
    file.write_text("\n".join(lines), encoding="utf-8")
    return f"csv:path={file},text=body,label=queue"


def test_shootout_with_unusable_texts_is_refused(in_process: Command, tmp_path: Path) -> None:
    for dataset, expected in (
        ("csv:path=none.csv,text=body,label=queue", "no such file: none.csv"),
        (tickets(tmp_path, 20, queues=1), "every row has the label 'billing' in 'queue'"),
        (tickets(tmp_path, 2), "train.batch_size = 8 is larger than the training split of"),
    ):
        done = in_process("suite", "shootout", "--rows", "1,2", "--dataset", dataset)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count(expected) == 1
        assert not list((tmp_path / "cwd").iterdir()), "nothing is left behind"


@pytest.mark.slow
def test_shootout_ends_with_a_recommendation_that_can_be_used(
    in_process: Command, in_process_suite: Command, tmp_path: Path
) -> None:
    store, page = tmp_path / "runs", tmp_path / "report.html"
    options = ["--dataset", tickets(tmp_path, 30), "--tune", "train.lr=1e-3,3e-3"]
    options += ["--tuner", "grid", "--set", "train.epochs=1", "--out", str(store)]
    done = in_process_suite("shootout", *options)
    assert done.returncode == 0, done.stderr
    assert "STAND-IN: gpt2-nano" in done.stdout
    for approach in ("head only", "last block", "LoRA", "all layers", "frozen-logreg"):
        assert approach in done.stdout
    recommendation = done.stdout.partition("\nUse ")[2]
    assert re.search(r"trained in|trains [\d,]+ parameters in", recommendation)
    assert "classifies 1,000 texts in about" in recommendation
    assert "The next dearer approach, " in recommendation
    commands = [line.strip() for line in recommendation.splitlines() if "  clsbench " in line]
    assert [shlex.split(each)[3] for each in commands][:2] == ["predict", "report"]
    predicted = in_process(*shlex.split(commands[0])[1:])
    assert predicted.returncode == 0, predicted.stderr
    assert any(queue in predicted.stdout for queue in WORDS)
    reported = in_process("report", "--out", store, "-o", page)
    assert reported.returncode == 0, reported.stderr
    text = page.read_text(encoding="utf-8")
    assert "Classify a text with it" in text
    assert "The next dearer approach" in text
    # The command of a row trains it again, on the embedded backbone.
    train = re.findall(r"clsbench [^<]*run own-texts [^<]*--freezing all [^<]*", text)[0]
    again = in_process(*shlex.split(train.replace("&#39;", "'"))[1:], "--out", store, "--dry-run")
    assert again.returncode == 0, again.stderr
