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
def test_where_selects_matching_rows(
    table: pd.DataFrame, expression: str, expected: list[int]
) -> None:
    assert sorted(seeds(where(table, expression))) == sorted(expected)


@pytest.mark.parametrize(
    ("expression", "message"),
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
        ("freezing == last-blocks:n=1", "is not a valid expression: .*put text in quotes"),
        ("test_accuracy >", "is not a valid expression"),
        ("", "is not a valid expression"),
        ("seed = 1", "is not a valid expression"),
        ("(" * 500 + "seed" + ")" * 500, "is not a valid expression"),
        ("seed > " + "1" * 3000, "more than 2000 characters"),
        ("seed\x00> 1", "is not a valid expression"),
        ("test_accuracy", "is not true or false"),
        ("seed + 1", "is not true or false"),
        ("1 < 2", "is not true or false"),
        ("test_accuracy > 'high'", "cannot be evaluated"),
        ("freezing > 3", "cannot be evaluated"),
        ("seed == 1 & lr > 0", "use 'and', 'or', 'not'"),
        ("~modified", "use 'and', 'or', 'not'"),
        ("seed is 1", "is not supported"),
        ("seed == None", "None is not supported"),
        ("seed ** 9 > 1", "is not supported"),
        ("9 ** 9 ** 9 ** 9 > seed", "is not supported"),
        ("`seed` > 1", "is not a valid expression"),
    ],
)
def test_where_with_an_invalid_expression_explains_the_error(
    table: pd.DataFrame, expression: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
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
def test_where_executes_no_code(table: pd.DataFrame, tmp_path: Path, expression: str) -> None:
    target = tmp_path / "executed"
    with pytest.raises(UsageError):
        where(table, expression.replace("{}", str(target)).replace("{{", "{").replace("}}", "}"))
    assert not target.exists()


TABLE = make_table()
WORDS = (
    "seed|freezing|modified|test_accuracy|'all'|1|0.9|True|-|+|/| and | or | not | in |<|>=|==|(|)"
)
words = st.sampled_from([*WORDS.split("|"), *"[],@.`"])


@settings(max_examples=100)
@given(st.one_of(st.text(max_size=30), st.lists(words, max_size=9).map("".join)))
def test_where_with_any_text_selects_rows_or_raises_usage_error(expression: str) -> None:
    try:
        chosen = where(TABLE, expression)
    except UsageError:
        return
    assert set(seeds(chosen)) <= set(seeds(TABLE))
    assert list(chosen.columns) == list(TABLE.columns)


def test_where_on_an_empty_table_returns_no_rows() -> None:
    empty = results_table([])
    assert len(where(empty, "test_accuracy > 0.9 and 'all' in freezing")) == 0


def test_choose_columns_keeps_the_order_and_adds_stand_ins(table: pd.DataFrame) -> None:
    assert list(choose_columns(table, ["seed", "run", "seed"])) == ["seed", "run", "stand_ins"]
    real = where(table, "stand_ins == ''")
    assert list(choose_columns(real, ["seed", "run"])) == ["seed", "run"]
    assert list(choose_columns(table, ["stand_ins", "run"])) == ["stand_ins", "run"]
    with pytest.raises(UsageError, match="did you mean seed"):
        choose_columns(table, ["sed"])
    with pytest.raises(UsageError, match="did you mean test_macro_f1 or validation_macro_f1"):
        choose_columns(table, ["f1"])
    with pytest.raises(UsageError, match="columns is empty"):
        choose_columns(table, [])


def test_sort_by_sorts_with_missing_values_last(table: pd.DataFrame) -> None:
    assert seeds(sort_by(table, ["test_accuracy"])) == [4, 1, 3, 2, 5]
    assert seeds(sort_by(table, ["-test_accuracy"])) == [2, 3, 1, 4, 5]
    assert seeds(sort_by(table, ["freezing", "-seed"])) == [5, 3, 2, 1, 4]
    assert seeds(sort_by(table, [])) == [1, 2, 3, 4, 5]
    with pytest.raises(UsageError, match="did you mean test_loss"):
        sort_by(table, ["-tset_loss"])
