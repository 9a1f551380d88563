"""``clsbench compare`` on runs of the command line."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from command_line import Command, command_in_process

from clsbench.cli.main import main
from clsbench.results.store import scan

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def store(
    environment: dict[str, str], spec_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two strategies, one of them with two seeds, and one run on another split."""
    folder = tmp_path_factory.mktemp("comparison") / "runs"
    run = command_in_process(main, environment, folder.parent)
    for changes in (
        ["--freezing", "all"],
        ["--freezing", "head-only", "--seeds", "123,124"],
        ["--freezing", "head-only", "--set", "data.split.seed=7", "--set", "name=other"],
    ):
        chosen = [*changes, "--out", folder, "--set", "train.epochs=1"]
        done = run("--quiet", "run", spec_file, *chosen)
        assert done.returncode == 0, done.stderr
    return folder


def names(store: Path, *parts: str) -> list[str]:
    """The runs whose spec has these parts, in the order in which they were started."""
    return [
        path.name
        for path, record in scan(store).runs
        if all(part in json.dumps(record.spec) for part in parts)
    ]


def test_compare_shows_runs_and_baselines(in_process: Command, store: Path, tmp_path: Path) -> None:
    runs = names(store, '"fruit"')
    assert len(runs) == 3
    plot = tmp_path / "reliability.svg"
    done = in_process("compare", *runs, "--out", store, "--plot", plot, env={"COLUMNS": "150"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "head-only" in done.stdout
    assert "(2 seeds)" in done.stdout
    assert "baseline tfidf-logreg" in done.stdout
    prose = " ".join(done.stdout.split())
    assert re.search("baseline majority (against|is significantly worse than) ", prose)
    assert "number" in done.stdout, "the texts themselves are shown"
    assert plot.read_text().count("<path") > 10
    report = json.loads(in_process("compare", *runs, "--out", store, "--json").stdout)
    seeds = [each["seeds"] for each in report["contenders"]]
    assert seeds == [[123], [123, 124], [], [], []]
    assert len(report["pairs"]) == 10
    for each in report["contenders"]:
        best, worst = each["ranks"]
        assert 1 <= best <= worst <= 5


def test_compare_with_a_pattern_omits_and_names_unsuitable_runs(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(store, tmp_path / "copy")
    first, second, third = names(store, '"fruit"')
    shutil.copytree(store / first, store / f"{first}-2")
    record = store / second / "record.json"
    record.write_text(record.read_text().replace('"finished"', '"interrupted"', 1))
    done = in_process("compare", first, f"{first}-2", second, third, third, "--out", store)
    assert done.returncode == 0, done.stderr
    assert f"left out {second}: it is interrupted" in done.stderr
    assert f"left out {first}-2: it repeats another run" in done.stderr
    assert "a run is named more than once" in done.stderr
    reported = in_process("report", first, second, third, "--out", store, "--format", "csv")
    assert reported.returncode == 0, reported.stderr
    assert f"left out {second}: it is interrupted" in reported.stderr
    nothing = in_process("compare", second, "--out", store)
    assert nothing.returncode == 2
    assert "is interrupted: only finished runs are compared" in nothing.stderr


def test_compare_without_the_texts_shows_row_numbers(
    in_process: Command, store: Path, spec_file: Path
) -> None:
    data = spec_file.with_name("fruit.csv")
    content = data.read_text()
    try:
        data.write_text(content.replace("apple number 3,", "apple NUMBER 3,"))
        done = in_process("compare", *names(store, '"fruit"')[:1], "--out", store)
    finally:
        data.write_text(content)
    assert done.returncode == 0, done.stderr
    assert "The corpus is not available" in done.stdout
    assert "number" not in done.stdout.lower().replace("numbers", "")


def test_compare_with_invalid_runs_is_refused(
    in_process: Command, store: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(store, tmp_path / "copy")
    mine, other = names(store, '"fruit"')[0], names(store, '"other"')[0]
    done = in_process("compare", mine, other, "--out", store)
    assert done.returncode == 2
    assert "cannot be compared: they were evaluated on different test texts" in done.stderr
    file = store / mine / "predictions.csv"
    header, *lines = [line.split(",") for line in file.read_text().splitlines()]
    reversed_columns = [header, *([*line[:-2], line[-1], line[-2]] for line in lines)]
    file.write_text("\n".join(map(",".join, reversed_columns)))
    damaged = in_process("compare", mine, "--out", store)
    assert damaged.returncode == 2
    assert "predictions.csv is damaged" in damaged.stderr
    for arguments, message in (
        (["nowhere"], "no run 'nowhere'"),
        ([mine, "--plot", "x.gif"], "expected .svg, .pdf or .png"),
        ([], "Missing argument"),
    ):
        refused = in_process("compare", *arguments, "--out", store)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert "Traceback" not in refused.stderr
