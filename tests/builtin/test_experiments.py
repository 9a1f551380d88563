"""The named experiments have the book's settings and figures."""

from __future__ import annotations

import pytest

from clsbench import ExperimentSpec
from clsbench.builtin.backbones.gpt2 import GPT2
from clsbench.builtin.datasets.imdb import Imdb
from clsbench.builtin.datasets.sms_spam import SmsSpam
from clsbench.builtin.freezing_strategies import All, LastBlocks
from clsbench.builtin.heads import Linear
from clsbench.builtin.losses import CrossEntropy
from clsbench.builtin.optimizers import AdamW
from clsbench.builtin.poolings import LastToken
from clsbench.builtin.schedules import Constant
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.components.resolve import Experiment, find_suite, resolve, substitute
from clsbench.schema.experiment import (
    DataSettings,
    SplitSettings,
    format_toml,
    parse_toml,
    to_tree,
)
from clsbench.schema.training import TrainSettings

NAMES = ["gpt2-sms-spam", "gpt2-imdb"]


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_catalog()


def resolved(catalog: Catalog, name: str) -> Experiment:
    return resolve(catalog.spec(ExperimentSpec, name), {}, catalog)


def test_gpt2_sms_spam_settings_equal_chapter_6(catalog: Catalog) -> None:
    experiment = resolved(catalog, "gpt2-sms-spam")
    assert experiment.dataset == SmsSpam(quoting="default")
    assert experiment.backbone == GPT2(size="small", weights="pretrained", causal=True)
    assert experiment.pooling == LastToken()
    assert experiment.head == Linear()
    assert experiment.freezing == LastBlocks(n=1)
    assert experiment.adapter is None
    assert experiment.optimizer == AdamW()
    assert experiment.schedule == Constant(warmup=0.0)
    assert experiment.loss == CrossEntropy()
    assert experiment.spec.seed == 123
    assert experiment.spec.data == DataSettings(
        split=SplitSettings(name="book", train=0.7, validation=0.1, seed=123),
        balance=True,
        padding="longest-train",
    )
    assert experiment.spec.train == TrainSettings(
        epochs=5,
        batch_size=8,
        lr=5e-5,
        weight_decay=0.1,
        accumulation=1,
        eval_every=50,
        eval_batches=5,
        optimizer={"name": "adamw", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        schedule={"name": "constant", "warmup": 0.0},
        loss={"name": "cross-entropy", "class_weights": "none", "label_smoothing": 0.0},
    )


def test_gpt2_sms_spam_published_figures_equal_the_books(catalog: Catalog) -> None:
    published = catalog.spec(ExperimentSpec, "gpt2-sms-spam").published
    assert published is not None
    assert published.accuracy == {"train": 0.9721, "validation": 0.9732, "test": 0.9567}
    assert published.accuracy_before == {"train": 0.4625, "validation": 0.45, "test": 0.4875}
    assert published.loss_before == {"train": 2.453, "validation": 2.583, "test": 2.322}
    assert [step for step, *_ in published.losses] == list(range(0, 650, 50))
    assert published.losses[0] == (0, 2.153, 2.392)
    assert published.losses[-1] == (600, 0.083, 0.074)
    # The accuracies are over 1,040, 149 and 300 texts; before training, over 10 batches of 8.
    for figures, sizes in (
        (published.accuracy, {"train": 1040, "validation": 149, "test": 300}),
        (published.accuracy_before, dict.fromkeys(("train", "validation", "test"), 80)),
    ):
        for split, size in sizes.items():
            correct = round(figures[split] * size)
            assert round(correct / size, 4) == figures[split], split


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({"pooling": "mean", "dataset": "csv:path=a.csv"}, ("backbone",)),
        ({"backbone": "gpt2:weights=random"}, None),
        ({"backbone.size": "medium"}, None),
    ],
)
def test_own_texts_stand_in_is_used_unless_a_backbone_is_chosen(
    catalog: Catalog, changes: dict[str, str], kept: tuple[str, ...] | None
) -> None:
    spec = resolve(catalog.spec(ExperimentSpec, "own-texts"), changes, catalog).spec
    assert spec.stand_ins == kept


def test_shootout_rows_begin_with_the_cheapest(catalog: Catalog) -> None:
    suite = find_suite("shootout", catalog)
    assert [row.changes["method"] for row in suite.rows] == [
        *("head-only", "last-block", "lora", "all"),
    ]
    assert suite.tune is not None


def test_gpt2_imdb_settings_equal_the_bonus_script(catalog: Catalog) -> None:
    experiment = resolved(catalog, "gpt2-imdb")
    assert experiment.dataset == Imdb()
    assert experiment.backbone == GPT2()
    assert experiment.pooling == LastToken()
    assert experiment.freezing == All()
    spec = experiment.spec
    assert spec.data.padding == 256
    assert not spec.data.balance
    # 50,000 reviews, shuffled twice: 35,000 train, 5,000 validation, 10,000 test.
    assert spec.data.split.name == "book-ablation"
    train_end = int(50_000 * spec.data.split.train)
    assert (train_end, int(50_000 * spec.data.split.validation)) == (35_000, 5_000)
    assert (spec.train.epochs, spec.train.batch_size, spec.train.eval_batches) == (1, 8, 20)
    assert (spec.train.lr, spec.train.weight_decay, spec.train.eval_every) == (5e-5, 0.1, 50)
    assert spec.published is not None
    assert spec.published.losses[-1][0] < 35_000 // 8
    for split, size in {"train": 35_000, "validation": 5_000, "test": 10_000}.items():
        correct = round(spec.published.accuracy[split] * size)
        assert round(correct / size, 4) == spec.published.accuracy[split]


@pytest.mark.parametrize("name", NAMES)
def test_named_experiments_have_a_summary_and_survive_toml(name: str, catalog: Catalog) -> None:
    spec = catalog.spec(ExperimentSpec, name)
    assert isinstance(spec, ExperimentSpec)
    assert spec.name == name
    assert 20 < len(spec.description) < 120
    experiment = resolved(catalog, name)
    assert not experiment.modified
    again = parse_toml(format_toml(experiment.spec), "file.toml")
    assert again == experiment.spec
    assert not resolve(again, {}, catalog).modified
    assert resolve(again, {"train.lr": "1e-4"}, catalog).modified


DATA = {
    "split": {"name": "book-ablation", "train": 0.7, "validation": 0.1, "seed": 123},
    "balance": True,
    "padding": "longest-train",
}
"""The data settings of the ablation's rows, written out."""

ROWS = {str(number): DATA for number in range(1, 20)}
ROWS["13"] = {**DATA, "padding": 1024}
ROWS["14"] = ROWS["15"] = {**DATA, "padding": "none"}
EXPERIMENTS = {
    "gpt2-sms-spam": {**DATA, "split": {**DATA["split"], "name": "book"}},  # type: ignore[dict-item]
    "gpt2-imdb": {**DATA, "balance": False, "padding": 256},
}


def data_of(experiment: Experiment) -> object:
    return to_tree(experiment.spec)["data"]


def with_stand_ins(experiment: Experiment, catalog: Catalog) -> Experiment:
    for axis in ("dataset", "backbone"):
        stand_in = getattr(experiment, axis).stand_in()
        if stand_in is not None:
            experiment = substitute(experiment, axis, stand_in, catalog)
    return experiment


@pytest.mark.parametrize("name", NAMES)
def test_named_experiments_split_and_balance_equal_the_books(name: str, catalog: Catalog) -> None:
    experiment = resolved(catalog, name)
    assert data_of(experiment) == EXPERIMENTS[name]
    assert data_of(with_stand_ins(experiment, catalog)) == EXPERIMENTS[name]
    assert not experiment.modified


def test_ablation_split_and_balance_equal_the_books(catalog: Catalog) -> None:
    suite = find_suite("gpt2-sms-spam-ablation", catalog)
    base = catalog.spec(ExperimentSpec, suite.base)
    rows = {row.label: resolve(base, suite.changes_of(row, {}), catalog) for row in suite.rows}
    assert {label: data_of(experiment) for label, experiment in rows.items()} == ROWS
    replaced = {label: data_of(with_stand_ins(each, catalog)) for label, each in rows.items()}
    assert replaced == ROWS


@pytest.mark.parametrize(
    ("changes", "split", "balance"),
    [
        ({"dataset": "synthetic-sms"}, "book", True),
        ({"dataset": "imdb"}, "stratified", False),
        ({"dataset": "csv:path=mine.csv"}, "stratified", False),
        ({"dataset": "csv:path=mine.csv,split=fold"}, "predefined", False),
        ({"dataset": "csv:path=mine.csv", "data.split": "book"}, "book", False),
        ({"dataset": "csv:path=mine.csv", "data.split.seed": 5}, "stratified", False),
        ({"dataset": "csv:path=mine.csv", "data.balance": True}, "stratified", True),
        ({"data.split": "stratified:train=0.5", "data.balance": "false"}, "stratified", False),
    ],
)
def test_resolve_other_data_set_uses_its_default_split_unless_one_is_set(
    changes: dict[str, object], split: str, balance: bool, catalog: Catalog
) -> None:
    data = resolve(catalog.spec(ExperimentSpec, "gpt2-sms-spam"), changes, catalog).spec.data
    assert (data.split.name, data.balance) == (split, balance)


def test_resolve_explicit_split_is_kept_with_another_data_set(catalog: Catalog) -> None:
    mine = {"dataset": "csv:path=mine.csv"}
    data = resolve(catalog.spec(ExperimentSpec, "gpt2-imdb"), mine, catalog).spec.data
    assert (data.split.name, data.balance) == ("book-ablation", False)
    suite = find_suite("gpt2-sms-spam-ablation", catalog)
    changes = suite.changes_of(suite.rows[0], mine)
    data = resolve(catalog.spec(ExperimentSpec, suite.base), changes, catalog).spec.data
    assert (data.split.name, data.balance) == ("book-ablation", False)
    written_out = resolved(catalog, "gpt2-sms-spam").spec
    data = resolve(written_out, mine, catalog).spec.data
    assert (data.split.name, data.balance) == ("book", True)
