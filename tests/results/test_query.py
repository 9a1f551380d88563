from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_examples import STAND_INS, make_metrics, make_record, make_spec

from clsbench.analysis.results_table import results_table
from clsbench.errors import UsageError
from clsbench.results.query import choose_columns, sort_by, where
from clsbench.results.store import StoredRun


def make_table() -> pd.DataFrame:
    full, two = {"name": "all"}, {"name": "last-blocks", "n": 2}
    records = [
        make_record(spec=make_spec(1), metrics=make_metrics(0.86, seed=1)),
        make_record(spec=make_spec(2, full), metrics=make_metrics(0.96, seed=2)),
        make_record(spec=make_spec(3, full), metrics=make_metrics(0.93, seed=3), modified=True),
        make_record(spec=make_spec(4, two), stand_ins=STAND_INS, metrics=make_metrics(0.80)),
        make_record(spec=make_spec(5, full), status="failed", metrics=None, parameters=None),
    ]
    return results_table(StoredRun(Path(f"/store/{r.spec['seed']}"), r) for r in records)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return make_table()


def seeds(table: pd.DataFrame) -> list[int]:
    return table["seed"].tolist()


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("test_accuracy > 0.9 and freezing == 'all'", [2, 3]),
        (' test_accuracy > 0.9 and freezing == "all" ', [2, 3]),
        ("not test_accuracy > 0.9", [4, 1, 5]),
        ("not test_n > 5", [5]),
        ("test_n == test_n", [1, 2, 3, 4]),
        ("0.91 < test_accuracy < 0.95", [3]),
        ("seed == 1 or seed == 2 and status == 'finished'", [1, 2]),
        ("(seed == 1 or seed == 5) and status == 'finished'", [1]),
        ("seed in [1, 5]", [1, 5]),
        ("seed not in (1, 5)", [2, 3, 4]),
        ("freezing in ['all', 'none']", [2, 3, 5]),
        ("'last-blocks' in freezing", [1, 4]),
        ("'.' in freezing", []),
        ("'last-blocks' not in freezing and 'size=small' in backbone", [2, 3, 5]),
        ("stand_ins == ''", [1, 2, 3, 5]),
        ("modified", [3]),
        ("not modified", [1, 2, 4, 5]),
        ("modified == False and seed < 3", [1, 2]),
        ("trainable_parameters / total_parameters < 0.5", [1, 2, 3, 4]),
        ("test_n >= 300", [1, 2, 3, 4]),
        ("test_accuracy - baseline_majority > 0.42", [2, 3]),
        ("-seed > -3", [1, 2]),
        ("lr == 5e-5 and seed != 5", [1, 2, 3, 4]),
        ("seed == 1e400", []),
    ],
)
def test_rows_are_chosen(table: pd.DataFrame, expression: str, expected: list[int]) -> None:
    assert sorted(seeds(where(table, expression))) == sorted(expected)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("tset_accuracy > 0.9", "no column 'tset_accuracy'.*did you mean test_accuracy"),
        ("index > 0", "no column 'index'"),
        ("freezing==all", "no column 'all'; freezing holds text, so put text in quotes: 'all'$"),
        ("freezing == al", r"in quotes: 'al' \(did you mean 'all'\?\)"),
        ("all == freezing", "put text in quotes: 'all'$"),
        ("freezing in [all, 'none']", "put text in quotes: 'all'$"),
        ("freezing == head-only", "put text in quotes: 'head-only'$"),
        ("seed == 1 and status != finshed", r"'finshed' \(did you mean 'finished'"),
        ("last in freezing", r"in quotes: 'last' \(did you mean 'last-blocks"),
        ("freezing == last-blocks:n=1", "is no expression: .*text stands in quotes"),
        ("test_accuracy >", "is no expression"),
        ("", "is no expression"),
        ("seed = 1", "is no expression"),
        ("(" * 500 + "seed" + ")" * 500, "is no expression"),
        ("seed > " + "1" * 3000, "more than 2000 characters"),
        ("seed\x00> 1", "is no expression"),
        ("test_accuracy", "does not say yes or no"),
        ("seed + 1", "does not say yes or no"),
        ("1 < 2", "does not say yes or no"),
        ("test_accuracy > 'high'", "cannot be evaluated"),
        ("freezing > 3", "cannot be evaluated"),
        ("seed == 1 & lr > 0", "write 'and', 'or', 'not'"),
        ("~modified", "write 'and', 'or', 'not'"),
        ("seed is 1", "may not stand in it"),
        ("seed == None", "neither number nor text"),
        ("seed ** 9 > 1", "may not stand in it"),
        ("9 ** 9 ** 9 ** 9 > seed", "may not stand in it"),
        ("`seed` > 1", "is no expression"),
    ],
)
def test_what_is_wrong_is_told(table: pd.DataFrame, expression: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        where(table, expression)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('touch {}')",
        "@pd.io.common.os.system('touch {}') == 0",
        "run.str.__class__.__init__.__globals__['os'].system('touch {}') == 0",
        "(lambda: open('{}', 'w'))() == 1",
        "[open('{}', 'w') for _ in '1'] == seed",
        "seed == (run := open('{}', 'w'))",
        "f\"{{open('{}', 'w')}}\" == run",
        "run.to_csv('{}') == 1",
        "open('{}', 'w')",
        "'{}' in run.values.tofile('{}')",
    ],
)
def test_nothing_is_executed(table: pd.DataFrame, tmp_path: Path, expression: str) -> None:
    target = tmp_path / "executed"
    with pytest.raises(UsageError):
        where(table, expression.replace("{}", str(target)).replace("{{", "{").replace("}}", "}"))
    assert not target.exists()


TABLE = make_table()
WORDS = (
    "seed|freezing|modified|test_accuracy|'all'|1|0.9|True|-|+|/| and | or | not | in |<|>=|==|(|)"
)
words = st.sampled_from([*WORDS.split("|"), *"[],@.`"])


@settings(max_examples=300)
@given(st.one_of(st.text(max_size=30), st.lists(words, max_size=9).map("".join)))
def test_whatever_is_written_chooses_rows_or_is_a_users_error(expression: str) -> None:
    try:
        chosen = where(TABLE, expression)
    except UsageError:
        return
    assert set(seeds(chosen)) <= set(seeds(TABLE))
    assert list(chosen.columns) == list(TABLE.columns)


def test_no_runs_can_be_asked_too() -> None:
    empty = results_table([])
    assert len(where(empty, "test_accuracy > 0.9 and 'all' in freezing")) == 0


def test_columns_are_chosen_in_order_and_stand_ins_stay_marked(table: pd.DataFrame) -> None:
    assert list(choose_columns(table, ["seed", "run", "seed"])) == ["seed", "run", "stand_ins"]
    real = where(table, "stand_ins == ''")
    assert list(choose_columns(real, ["seed", "run"])) == ["seed", "run"]
    assert list(choose_columns(table, ["stand_ins", "run"])) == ["stand_ins", "run"]
    with pytest.raises(UsageError, match="did you mean seed"):
        choose_columns(table, ["sed"])
    with pytest.raises(UsageError, match="did you mean test_macro_f1 or validation_macro_f1"):
        choose_columns(table, ["f1"])
    with pytest.raises(UsageError, match="names no column"):
        choose_columns(table, [])


def test_sorting(table: pd.DataFrame) -> None:
    assert seeds(sort_by(table, ["test_accuracy"])) == [4, 1, 3, 2, 5]
    assert seeds(sort_by(table, ["-test_accuracy"])) == [2, 3, 1, 4, 5]
    assert seeds(sort_by(table, ["freezing", "-seed"])) == [5, 3, 2, 1, 4]
    assert seeds(sort_by(table, [])) == [1, 2, 3, 4, 5]
    with pytest.raises(UsageError, match="did you mean test_loss"):
        sort_by(table, ["-tset_loss"])
