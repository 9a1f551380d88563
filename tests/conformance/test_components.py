"""Every component of the catalog passes the conformance check of its axis."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from components_of_the_catalog import CATALOG, VARIANTS, entries, make

import clsbench
from clsbench import testing
from clsbench.components.catalog import Entry
from clsbench.components.component import Component
from clsbench.components.resolve import find_spec, resolve
from clsbench.schema.experiment import ExperimentSpec, format_toml, parse_toml

CHECKS: dict[str, Callable[..., None]] = {
    "datasets": testing.check_dataset,
    "backbones": testing.check_backbone,
    "poolings": testing.check_pooling,
    "heads": testing.check_head,
    "freezing_strategies": testing.check_freezing_strategy,
    "adapters": testing.check_adapter,
    "optimizers": testing.check_optimizer,
    "schedules": testing.check_schedule,
    "losses": testing.check_loss,
    "baselines": testing.check_baseline,
    "executors": testing.check_executor,
    "tuners": testing.check_tuner,
    "metrics": testing.check_metric,
}
SPECS = {"experiments", "methods", "suites"}
FROM_PLUGINS = {"exporters"}
"""Axes without built-ins; their distributions test them."""


def texts_files(folder: Path) -> None:
    (folder / "texts.csv").write_text(
        "text,label,part\nwin,1,train\nhome,0,train\nlate,0,validation\nprize,1,test\n"
    )
    (folder / "texts.jsonl").write_text(
        '{"body": "win", "class": "b"}\n{"body": "go", "class": "a"}\n{"body": "x", "class": "b"}\n'
    )


def checkpoint(folder: Path) -> None:
    """A miniature GPT-2 with the real vocabulary, as transformers saves it."""
    transformers = pytest.importorskip("transformers", reason="needed to write a checkpoint")
    config = transformers.GPT2Config(n_embd=8, n_layer=3, n_head=2, n_positions=32)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder / "checkpoint")


def imdb_archive(folder: Path) -> Path:
    path = folder / "aclImdb_v1.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name in ("train/neg/0_1", "train/pos/0_9", "test/neg/0_2", "test/pos/0_8"):
            member = tarfile.TarInfo(f"aclImdb/{name}.txt")
            content = f"A film: {name}".encode()
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def files_of(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Callable[[Component], dict[str, Path]]:
    """The files of a component's assets; a small archive in place of the large one."""

    def find(component: Component) -> dict[str, Path]:
        keys = [asset.key for asset in component.assets()]
        if keys == ["imdb/aclImdb_v1.tar.gz"]:
            return {keys[0]: imdb_archive(tmp_path)}
        files = {}
        for key in keys:
            files[key] = request.getfixturevalue("assets_dir") / key
            if not files[key].is_file():
                pytest.skip(f"the asset {key} is not available")
        return files

    return find


@pytest.mark.parametrize(
    ("entry", "options"), entries("poolings", "heads", "adapters", "optimizers", "losses")
)
def test_component_passes_its_check_on_each_device(
    entry: Entry, options: dict[str, Any], device: torch.device
) -> None:
    CHECKS[entry.axis](make(entry, options), device=str(device))


@pytest.mark.parametrize(
    ("entry", "options"),
    entries("freezing_strategies", "schedules", "baselines", "metrics"),
)
def test_component_passes_its_check(entry: Entry, options: dict[str, Any]) -> None:
    CHECKS[entry.axis](make(entry, options))


@pytest.mark.parametrize(("entry", "options"), entries("backbones"))
def test_backbone_passes_its_check_on_each_device(
    entry: Entry,
    options: dict[str, Any],
    tmp_path: Path,
    files_of: Callable[[Component], dict[str, Path]],
    device: torch.device,
) -> None:
    if entry.name == "gpt2":
        checkpoint(tmp_path)
    component = make(entry, options, tmp_path)
    testing.check_backbone(component, files_of(component), str(device))


@pytest.mark.parametrize(("entry", "options"), entries("datasets"))
def test_dataset_passes_its_check(
    entry: Entry,
    options: dict[str, Any],
    tmp_path: Path,
    files_of: Callable[[Component], dict[str, Path]],
) -> None:
    texts_files(tmp_path)
    component = make(entry, options, tmp_path)
    testing.check_dataset(component, files_of(component))


@pytest.mark.slow
@pytest.mark.parametrize(("entry", "options"), entries("executors"))
def test_executor_passes_its_check(entry: Entry, options: dict[str, Any]) -> None:
    CHECKS[entry.axis](make(entry, options))


@pytest.mark.parametrize(("entry", "options"), entries("tuners"))
def test_tuner_passes_its_check(entry: Entry, options: dict[str, Any]) -> None:
    if entry.name == "optuna":
        pytest.importorskip("optuna", reason="an extra")
    CHECKS[entry.axis](make(entry, options))


@pytest.mark.parametrize("name", sorted(CATALOG.entries["suites"]))
def test_suite_every_row_resolves(name: str) -> None:
    suite = CATALOG.spec(clsbench.SuiteSpec, name)
    assert suite.description
    base = resolve(find_spec(suite.base, CATALOG), {}, CATALOG).spec
    for row in suite.rows:
        assert row.title
        assert resolve(base, suite.changes_of(row, {}), CATALOG)


@pytest.mark.slow
def test_gpt2_small_passes_check_backbone(files_of: Callable[[Component], dict[str, Path]]) -> None:
    component = make(CATALOG.entries["backbones"]["gpt2"], {"weights": "random"})
    testing.check_backbone(component, files_of(component))


def test_catalog_built_ins_load_and_fill_every_axis() -> None:
    ours = [failure for failure in CATALOG.failures if "(clsbench)" in failure.plugin]
    assert not ours
    axes_without = [axis for axis, found in CATALOG.entries.items() if not found]
    assert set(axes_without) <= FROM_PLUGINS


def test_checks_cover_every_axis_of_components() -> None:
    assert set(CHECKS) | SPECS | FROM_PLUGINS == set(CATALOG.entries)


def test_variants_belong_to_registered_components() -> None:
    known = {(axis, name) for axis, found in CATALOG.entries.items() for name in found}
    assert set(VARIANTS) <= known


@pytest.mark.parametrize("name", sorted(CATALOG.entries["experiments"]))
def test_experiment_resolves_and_survives_toml(name: str) -> None:
    spec = CATALOG.spec(clsbench.ExperimentSpec, name)
    assert spec.description
    experiment = resolve(spec, {}, CATALOG)
    assert not experiment.modified
    again = parse_toml(format_toml(experiment.spec), f"{name}.toml")
    assert again == experiment.spec
    assert resolve(again, {}, CATALOG).spec == experiment.spec


@pytest.mark.parametrize("name", sorted(CATALOG.entries["methods"]))
def test_method_resolves(name: str) -> None:
    assert CATALOG.spec(clsbench.Method, name).description.endswith(".")
    spec = ExperimentSpec(dataset="synthetic-sms", backbone="gpt2-nano")
    assert resolve(spec, {"method": name}, CATALOG)


def is_described(kind: msgspec.inspect.Type) -> bool:
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(is_described(member) for member in kind.types)
    schema = kind.extra_json_schema if isinstance(kind, msgspec.inspect.Metadata) else None
    return bool((schema or {}).get("description"))


def options_of(entry: Entry) -> list[msgspec.inspect.Field]:
    described = msgspec.inspect.type_info(entry.component)
    assert isinstance(described, msgspec.inspect.StructType)
    return list(described.fields)


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(entry, id=f"{axis}-{entry.name}")
        for axis, found in CATALOG.entries.items()
        for entry in found.values()
        if axis not in SPECS
    ],
)
def test_component_and_its_options_are_documented(entry: Entry) -> None:
    assert entry.summary.endswith(".")
    assert 20 <= len(entry.summary) <= 100
    assert entry.distribution
    assert entry.name == entry.name.lower().replace("_", "-")
    for field in options_of(entry):
        in_text = field.name in str(entry.component.__doc__)
        assert in_text or is_described(field.type), f"{field.name} is not documented"


def test_resolve_component_object_with_invalid_option_is_refused() -> None:
    """Constructors of structs do not validate options; ``resolve`` does."""
    spec = ExperimentSpec(dataset="synthetic-sms", backbone="gpt2-nano")
    for axis, key in (("freezing_strategies", "freezing"), ("heads", "head")):
        for entry in CATALOG.entries[axis].values():
            assert isinstance(entry.component, type)
            for field in msgspec.structs.fields(entry.component):
                wrong = entry.component(**{field.name: object.__name__ + "!"})
                with pytest.raises(clsbench.UsageError, match=field.name):
                    resolve(spec, {key: wrong}, CATALOG)
