"""Specs resolved to components: defaults, overrides, methods, invalid values, stand-ins."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clsbench.builtin.baselines import FrozenLogreg, Majority, TfidfLogreg
from clsbench.builtin.datasets.delimited_file import DelimitedFile
from clsbench.builtin.datasets.synthetic_sms import SyntheticSms
from clsbench.builtin.freezing_strategies import Gradual, HeadOnly, LastBlocks
from clsbench.builtin.heads import Linear, Mlp
from clsbench.builtin.lora import LoRA
from clsbench.builtin.optimizers import AdamW
from clsbench.builtin.poolings import Mean
from clsbench.components.catalog import Catalog
from clsbench.components.identity import identify
from clsbench.components.resolve import find_spec, resolve, substitute
from clsbench.errors import UsageError
from clsbench.schema.experiment import (
    ExperimentSpec,
    PublishedFigures,
    format_component,
    format_toml,
    parse_component,
    parse_toml,
    to_tree,
)
from clsbench.testing import MiniatureBackbone

BASE = ExperimentSpec(name="mine", dataset="synthetic-sms", backbone="gpt2-nano")


@pytest.fixture
def complaint(catalog: Catalog) -> Callable[..., str]:
    def message(**changes: Any) -> str:
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        with pytest.raises(UsageError) as caught:
            resolve(BASE, dotted, catalog)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return message


def test_resolve_writes_out_every_default(catalog: Catalog) -> None:
    experiment = resolve(BASE, {}, catalog)
    assert experiment.spec.freezing == {"name": "last-blocks", "n": 1}
    assert experiment.spec.head == {"name": "linear"}
    assert experiment.spec.baselines == (
        {"name": "majority"},
        {"name": "tfidf-logreg", "ngrams": 1, "c": "auto"},
        {"name": "frozen-logreg", "c": "auto"},
    )
    assert experiment.freezing == LastBlocks()
    assert experiment.baselines == (Majority(), TfidfLogreg(), FrozenLogreg())
    assert experiment.adapter is None
    assert not experiment.modified


def test_resolve_option_texts_are_converted(catalog: Catalog) -> None:
    changes = {
        "freezing": "last-blocks:n=3",
        "pooling": "mean:include_padding=true",
        "head": "mlp:width=16,dropout=0.5",
        "adapter": "lora:r=16,alpha=16",
        "dataset.texts": "100",
        "train.lr": "1e-4",
    }
    experiment = resolve(BASE, changes, catalog)
    assert experiment.freezing == LastBlocks(n=3)
    assert experiment.pooling == Mean(include_padding=True)
    assert experiment.head == Mlp(width=16, dropout=0.5)
    assert experiment.adapter == LoRA(r=16, alpha=16.0)
    assert experiment.dataset == SyntheticSms(texts=100)
    assert experiment.spec.train.lr == 1e-4
    assert experiment.modified


def test_resolve_accepts_component_objects(catalog: Catalog) -> None:
    changes = {
        "freezing": HeadOnly(final_norm=True),
        "adapter": LoRA(r=4),
        "baselines": [TfidfLogreg(ngrams=2), "majority"],
    }
    experiment = resolve(BASE, changes, catalog)
    assert experiment.freezing == HeadOnly(final_norm=True)
    assert experiment.spec.freezing == {"name": "head-only", "final_norm": True}
    assert experiment.adapter == LoRA(r=4)
    assert experiment.baselines == (TfidfLogreg(ngrams=2), Majority())


def test_resolve_option_none_keeps_its_default(catalog: Catalog) -> None:
    experiment = resolve(BASE, {"head": Mlp()}, catalog)
    assert experiment.head == Mlp(width=None)
    assert resolve(experiment.spec, {}, catalog).head == Mlp(width=None)


def test_resolve_adapter_none_removes_it(catalog: Catalog) -> None:
    with_lora = resolve(BASE, {"adapter": "lora"}, catalog).spec
    assert resolve(with_lora, {"adapter": "none"}, catalog).adapter is None
    assert resolve(with_lora, {"adapter": None}, catalog).adapter is None
    assert resolve(with_lora, {"adapter.r": 2}, catalog).adapter == LoRA(r=2)


def test_resolve_component_named_again_starts_from_its_defaults(catalog: Catalog) -> None:
    spec = resolve(BASE, {"freezing": "last-blocks:n=3"}, catalog).spec
    assert resolve(spec, {"freezing": "last-blocks"}, catalog).freezing == LastBlocks(n=1)
    assert resolve(spec, {"freezing": "gradual"}, catalog).freezing == Gradual()
    assert resolve(spec, {"freezing.n": 4}, catalog).freezing == LastBlocks(n=4)


def test_resolve_order_of_changes_does_not_matter(catalog: Catalog) -> None:
    pairs = [("freezing.n", 3), ("freezing", "last-blocks"), ("data.split.seed", 5)]
    pairs += [("data.split", "book-ablation:train=0.6")]
    for order in (pairs, pairs[::-1]):
        experiment = resolve(BASE, dict(order), catalog)
        assert experiment.freezing == LastBlocks(n=3)
        split = experiment.spec.data.split
        assert (split.name, split.train, split.seed) == ("book-ablation", 0.6, 5)


def test_identify_names_the_origin_of_every_component(catalog: Catalog) -> None:
    plugins = identify(resolve(BASE, {"adapter": "lora"}, catalog))
    assert [(p.axis, p.component) for p in plugins] == [
        ("dataset", "synthetic-sms"),
        ("backbone", "gpt2-nano"),
        ("pooling", "last-token"),
        ("head", "linear"),
        ("freezing", "last-blocks"),
        ("adapter", "lora"),
        ("train.optimizer", "adamw"),
        ("train.schedule", "constant"),
        ("train.loss", "cross-entropy"),
        ("baseline", "majority"),
        ("baseline", "tfidf-logreg"),
        ("baseline", "frozen-logreg"),
    ]
    assert {p.distribution for p in plugins} == {"clsbench"}


def test_resolve_stores_tree_and_labels_of_components(catalog: Catalog) -> None:
    changes = {"freezing": "last-blocks:n=2", "baselines": ["majority"]}
    experiment = resolve(BASE, changes, catalog)
    assert experiment.tree == to_tree(experiment.spec)
    assert experiment.label("freezing") == "last-blocks:n=2"
    assert experiment.identity() == experiment.spec.identity()
    found = {each.axis: (each.component, each.table) for each in experiment.components}
    assert found["backbone"] == (experiment.backbone, experiment.tree["backbone"])
    assert [each.label for each in experiment.components if each.axis == "baseline"] == ["majority"]
    assert "adapter" not in found


def test_resolve_registered_experiment_is_modified_if_changed(catalog: Catalog) -> None:
    spec = catalog.spec(ExperimentSpec, "gpt2-sms-spam")
    assert not resolve(spec, {}, catalog).modified
    assert not resolve(spec, {"freezing": "last-blocks:n=1"}, catalog).modified
    assert not resolve(spec, {"train.epochs": 5, "head": Linear()}, catalog).modified
    for changes in ({"train.epochs": 6}, {"seed": 1}, {"freezing": "all"}, {"baselines": []}):
        assert resolve(spec, changes, catalog).modified


def test_resolve_edited_copy_of_registered_experiment_is_modified(catalog: Catalog) -> None:
    """A file made by ``show`` keeps the name, and with it the published figures."""
    shown = format_toml(resolve(catalog.spec(ExperimentSpec, "gpt2-sms-spam"), {}, catalog).spec)
    assert not resolve(parse_toml(shown, "mine.toml"), {}, catalog).modified
    edited = shown.replace("epochs = 5", "epochs = 7")
    assert edited != shown
    assert resolve(parse_toml(edited, "mine.toml"), {}, catalog).modified


def test_resolve_renamed_copy_with_published_figures_is_modified_if_changed(
    catalog: Catalog,
) -> None:
    spec = resolve(catalog.spec(ExperimentSpec, "gpt2-sms-spam"), {}, catalog).spec
    shown = format_toml(msgspec.structs.replace(spec, name="mine"))
    assert not resolve(parse_toml(shown, "mine.toml"), {}, catalog).modified
    assert resolve(parse_toml(shown, "mine.toml"), {"train.lr": 1}, catalog).modified
    edited = parse_toml(shown.replace("epochs = 5", "epochs = 7"), "mine.toml")
    assert edited.name == "mine"
    assert edited.published == spec.published is not None
    assert resolve(edited, {}, catalog).modified


def test_resolve_own_published_figures_are_unmodified_unless_changed(catalog: Catalog) -> None:
    figures = PublishedFigures(source="our paper", conditions="as here", accuracy={"test": 0.9})
    spec = msgspec.structs.replace(BASE, published=figures)
    assert not resolve(spec, {}, catalog).modified
    assert resolve(spec, {"train.epochs": 7}, catalog).modified


def test_resolve_with_another_dataset_leaves_out_the_published_figures(catalog: Catalog) -> None:
    spec = catalog.spec(ExperimentSpec, "gpt2-sms-spam")
    other = resolve(spec, {"dataset": "synthetic-sms"}, catalog)
    assert other.modified
    assert other.spec.published is None
    assert "published" not in other.tree
    assert other.identity() == other.spec.identity()
    same = resolve(spec, {"dataset": "sms-spam", "freezing": "all"}, catalog)
    assert same.spec.published == spec.published is not None


def test_resolve_description_of_another_experiment_is_left_out(catalog: Catalog) -> None:
    spec = catalog.spec(ExperimentSpec, "gpt2-sms-spam")
    for key, other in (("dataset", "imdb"), ("backbone", "gpt2-nano"), ("freezing", "all")):
        experiment = resolve(spec, {key: other}, catalog)
        assert experiment.spec.description == experiment.tree["description"] == ""
        described = resolve(spec, {key: other, "description": "mine"}, catalog)
        assert described.spec.description == "mine"
    same = resolve(spec, {"train.epochs": 1, "backbone": "gpt2:size=small"}, catalog)
    assert same.spec.description == spec.description


@pytest.mark.parametrize(
    ("method", "freezing", "adapter"),
    [
        ("all", {"name": "all"}, None),
        ("last-block", {"name": "last-blocks", "n": 1}, None),
        ("head-only", {"name": "head-only", "final_norm": False}, None),
        (
            "lora",
            {"name": "head-only", "final_norm": False},
            {"name": "lora", "r": 8, "alpha": 8.0},
        ),
    ],
)
def test_resolve_with_a_method_sets_freezing_and_adapter(
    method: str, freezing: dict[str, Any], adapter: dict[str, Any] | None, catalog: Catalog
) -> None:
    base = msgspec.structs.replace(BASE, freezing="gradual", adapter="lora:r=2")
    spec = resolve(base, {"method": method, "train.lr": 1e-4}, catalog).spec
    assert (spec.freezing, spec.adapter, spec.train.lr) == (freezing, adapter, 1e-4)
    parts = {"freezing": freezing, "adapter": adapter, "train.lr": 1e-4}
    assert spec == resolve(base, parts, catalog).spec


def test_resolve_with_the_methods_own_experiment_is_unmodified(catalog: Catalog) -> None:
    gpt2 = find_spec("gpt2-sms-spam", catalog)
    assert not resolve(gpt2, {"method": "last-block"}, catalog).modified
    assert resolve(gpt2, {"method": "lora"}, catalog).modified


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"head": "liner"}, "unknown head 'liner'; did you mean 'linear'?"),
        ({"freezing": "last-blocks:m=2"}, "freezing_strategy 'last-blocks': unknown key 'm'"),
        ({"freezing": "gradual:epochs_per_blok=2"}, "did you mean 'epochs_per_block'?"),
        ({"freezing": "last-blocks:n=0"}, "n = '0': expected int >= 1"),
        ({"freezing": "last-blocks:n=many"}, "n = 'many': expected int, got str"),
        ({"freezing": "last-blocks:n=1.5"}, "n = '1.5': expected int"),
        ({"head": "mlp:dropout=1"}, "dropout = '1': expected float < 1.0"),
        ({"head": "mlp:dropout=nan"}, "dropout"),
        ({"adapter": "lora:alpha=inf"}, "alpha = inf: expected a finite number"),
        ({"backbone": "gpt2:size=tiny"}, "one of: large, medium, small, xl"),
        ({"dataset": "csv"}, "path is required"),
        ({"pooling": "mean:include_padding=perhaps"}, "include_padding = 'perhaps'"),
        ({"adapter__r": 4}, "requires a name"),
        ({"baselines": ["majorty"]}, "did you mean 'majority'?"),
        ({"head": {"width": 3}}, "requires a name"),
        ({"head": {"name": 3}}, "requires a name"),
        ({"head": ""}, "has no name"),
        ({"train__lr": "fast"}, "train.lr = 'fast': expected float"),
        ({"train__optimizer": "adamx"}, "unknown optimizer 'adamx'; did you mean 'adamw'?"),
        ({"train__optimizer": "adamw:beta3=1"}, "optimizer 'adamw': unknown key 'beta3'"),
        ({"train__schedule": "constant:warmup=1"}, "warmup = '1': expected float < 1.0"),
        ({"train__schedule": "constant:warmup=-0.1"}, "warmup = '-0.1': expected float >= 0.0"),
        ({"train__schedule__warmup": "nan"}, "warmup"),
        ({"train__loss": "cross-entropy:class_weights=even"}, "one of: balanced, none"),
        ({"train__loss": {"label_smoothing": 0.1}}, "requires a name"),
        ({"data__split__train": 0.8, "data__split__validation": 0.3}, "must be less than 1"),
        ({"data__padding": "none"}, "requires train.batch_size=1 (it is 8)"),
        ({"name": ""}, "name = '': an experiment's name cannot be empty"),
        ({"name": " "}, "cannot be empty"),
        ({"method": "loar"}, "unknown method 'loar'; did you mean 'lora'?"),
        ({"method": "lora:r=4"}, "no options; set those of its parts: --freezing head-only"),
        ({"method": ["lora"]}, "method = ['lora']: expected a name"),
        ({"method": "lora", "freezing": "all"}, "freezing cannot be combined with method = 'lora'"),
        ({"method": "all", "adapter": "none"}, "adapter cannot be combined with method = 'all'"),
        ({"method": "lora", "adapter__r": 4}, "adapter.r cannot be combined with method"),
    ],
)
def test_resolve_invalid_changes_are_refused(
    changes: dict[str, Any], said: str, complaint: Callable[..., str]
) -> None:
    assert said in complaint(**changes)


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (LastBlocks(n=0), "freezing_strategy 'last-blocks': n = 0: expected int >= 1"),
        (LastBlocks(n="two"), "n = 'two': expected int, got str"),  # type: ignore[arg-type]
        (LastBlocks(n=[1]), "n = [1]: expected int, got array"),  # type: ignore[arg-type]
        (LastBlocks(n=object()), "must be plain values"),  # type: ignore[arg-type]
        (LastBlocks(n=10**30), "n"),
        (Mlp(dropout=float("nan")), "dropout"),
    ],
)
def test_resolve_component_objects_are_validated(
    component: Any, said: str, complaint: Callable[..., str]
) -> None:
    axis = "head" if isinstance(component, Mlp) else "freezing"
    assert said in complaint(**{axis: component})


def test_resolve_training_recipe_by_text_table_and_object(catalog: Catalog) -> None:
    base = catalog.spec(ExperimentSpec, "gpt2-sms-spam")
    for choice in ("adamw:beta2=0.98", {"name": "adamw", "beta2": 0.98}, AdamW(beta2=0.98)):
        experiment = resolve(base, {"train.optimizer": choice}, catalog)
        assert experiment.optimizer == AdamW(beta2=0.98)
        assert experiment.label("train.optimizer") == "adamw:beta1=0.9,beta2=0.98,eps=1e-08"
        assert experiment.modified
    experiment = resolve(base, {"train.optimizer": "adamw", "train.schedule.warmup": 0}, catalog)
    assert not experiment.modified
    assert [each.axis for each in experiment.components] == [
        *("dataset", "backbone", "pooling", "head", "freezing"),
        *("train.optimizer", "train.schedule", "train.loss", *["baseline"] * 3),
    ]
    assert experiment.components[5].quoted_name == "optimizer 'adamw'"


def test_resolve_component_on_wrong_axis_or_unregistered_is_refused(
    complaint: Callable[..., str],
) -> None:
    assert "not registered on the axis heads" in complaint(head=Mean())
    assert "clsbench_register_backbones" in complaint(backbone=MiniatureBackbone())
    assert "train.lr does not hold a component" in complaint(train__lr=Mean())
    assert "not registered on the axis losses" in complaint(train__loss=AdamW())


def test_resolve_path_with_lone_surrogates_is_refused(complaint: Callable[..., str]) -> None:
    """Bytes of the command line that are not UTF-8 arrive as lone surrogates."""
    assert "not text in UTF-8" in complaint(dataset="csv:path=caf\udce9.csv")


def test_substitute_replaces_the_component_in_the_spec(catalog: Catalog) -> None:
    experiment = resolve(catalog.spec(ExperimentSpec, "gpt2-sms-spam"), {}, catalog)
    substituted = substitute(experiment, "dataset", SyntheticSms(texts=50), catalog)
    assert substituted.dataset == SyntheticSms(texts=50)
    assert substituted.spec.dataset == {"name": "synthetic-sms", "texts": 50}
    assert substituted.modified
    assert substituted.backbone == experiment.backbone


words = st.text(st.characters(codec="utf-8"), min_size=1)


@given(path=words, text=words, label=words, split=st.none() | words)
def test_resolve_any_text_survives_command_line_and_toml(
    catalog: Catalog, path: str, text: str, label: str, split: str | None
) -> None:
    component = DelimitedFile(path=path, text=text, label=label, split=split)
    [table] = [
        each.table
        for each in resolve(BASE, {"dataset": component}, catalog).components
        if each.axis == "dataset"
    ]
    for choice in (table, format_component(table), component):
        experiment = resolve(BASE, {"dataset": choice}, catalog)
        assert experiment.dataset == component
        again = parse_toml(format_toml(experiment.spec), "mine.toml")
        assert resolve(again, {}, catalog).dataset == component
    assert (
        msgspec.convert(
            {k: v for k, v in parse_component(format_component(table)).items() if k != "name"},
            DelimitedFile,
        )
        == component
    )


def test_resolve_imports_no_heavy_libraries() -> None:
    code = (
        "import sys; from clsbench.components.catalog import load_catalog; "
        "from clsbench.components.resolve import *; "
        "catalog = load_catalog(); resolve(find_spec('gpt2-sms-spam', catalog), {}, catalog); "
        "heavy = {'torch', 'numpy', 'pandas', 'sklearn'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
