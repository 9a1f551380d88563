"""``--sweep KEY=A,B,C``."""

from __future__ import annotations

import pytest

from clsbench.cli.sweep import Sweep, check_plotted
from clsbench.errors import UsageError
from clsbench.schema.convert import parse_value
from clsbench.schema.experiment import parse_component


def test_sweep_splits_at_commas_outside_quotes() -> None:
    sweep = Sweep('adapter=none, "lora:r=8,alpha=8"')
    assert (sweep.key, sweep.values) == ("adapter", ["none", "lora:r=8,alpha=8"])
    assert Sweep("batch=8").key == "train.batch_size"


@pytest.mark.parametrize("option", ["--sweep", "--tune"])
def test_sweep_reads_quoted_values_of_any_key(option: str) -> None:
    files = Sweep('dataset="csv:path=a.csv,text=t", "csv:""path=b,c.csv"",text=t"', option)
    assert files.values == ["csv:path=a.csv,text=t", 'csv:"path=b,c.csv",text=t']
    assert parse_component(files.values[1])["path"] == "b,c.csv"
    assert Sweep('freezing=all,"last-blocks:n=2"', option).values == ["all", "last-blocks:n=2"]
    tables = Sweep('baselines=[],"[""majority"", ""tfidf-logreg""]"', option).values
    assert [parse_value(each) for each in tables] == [[], ["majority", "tfidf-logreg"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch", "is not KEY=A,B,C"),
        ("batch=", "is not KEY=A,B,C"),
        ("batch=8,8", "names a value twice"),
        ('adapter=none,"lora:r=8,alpha=8', "cannot be read: a double quote is not closed"),
        ('adapter="lora:r=8"8,none', "or text follows a closed one"),
        ('dataset=csv:"path=a,b.csv",imdb', r"'csv:\"path=a' is not a whole value; put each"),
        ("dataset=csv:path=a.csv,text=t,csv:path=b.csv,text=t", "'text=t' looks like an option"),
        ("batch=" + "8" * 200_000, "cannot be read: field larger than field limit"),
    ],
    ids=["no-values", "empty", "twice", "open", "after", "inside", "no-quotes", "too-long"],
)
def test_sweep_of_an_invalid_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sweep(text)


def test_check_plotted_requires_other_sizes_or_data_sets() -> None:
    one: dict[str, object] = {"freezing": "all", "dataset": "imdb"}
    for change in ({"dataset": "sms-spam"}, {"dataset.path": "a.csv"}, {"data.train_size": 8}):
        check_plotted([one, {**one, **change}])
    with pytest.raises(UsageError, match=r"neither in data\.train_size nor in their data set"):
        check_plotted([one, {**one, "freezing": "head-only"}])
