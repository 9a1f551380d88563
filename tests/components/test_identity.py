"""The identity of a run: code, libraries, options, and the content of the user's files."""

from __future__ import annotations

import functools
import os
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import clsbench
from clsbench.components.catalog import Catalog, load_catalog
from clsbench.components.identity import changes_since, identify
from clsbench.components.resolve import resolve
from clsbench.errors import PluginError, UsageError
from clsbench.experiment.preparation import (
    PreparedData,
    experiment_fingerprint,
    prepare_data,
    prepare_files,
)
from clsbench.schema.experiment import ExperimentSpec
from clsbench.schema.options import RunOptions
from clsbench.schema.record import ComponentIdentity
from clsbench.schema.training import TrainSettings

BASE = ExperimentSpec(
    name="own",
    dataset="synthetic-sms:texts=200",
    backbone="gpt2-nano",
    freezing="head-only",
    baselines=("majority",),
    train=TrainSettings(epochs=1),
)

PLUGIN = """
from pathlib import Path
from typing import ClassVar
import clsbench
from clsbench.builtin.{module} import {base}


class Own({base}, frozen=True):
    '''A component with files of the user's own.'''

    libraries: ClassVar[tuple[str, ...]] = {libraries}
    file: str = ""
    files: tuple[str, ...] = ()
    word: str = ""

    def user_files(self):
        return tuple(Path(each).expanduser() for each in (self.file, *self.files) if each)


@clsbench.hookimpl
def clsbench_register_{axis}():
    return {{"own": Own}}
"""

AXES = {
    "head": ("heads", "heads", "Linear"),
    "pooling": ("poolings", "poolings", "LastToken"),
    "adapter": ("lora", "adapters", "LoRA"),
    "freezing": ("freezing_strategies", "freezing_strategies", "HeadOnly"),
    "baselines": ("baselines", "baselines", "Majority"),
}


def plugin(folder: Path, key: str = "head", libraries: tuple[str, ...] = ()) -> Catalog:
    module, axis, base = AXES[key]
    path = folder / "plugin.py"
    path.write_text(PLUGIN.format(module=module, axis=axis, base=base, libraries=libraries))
    return load_catalog([str(path)])


@functools.cache
def data() -> PreparedData:
    return prepare_data(resolve(BASE, {}, load_catalog()), {})


def fingerprint_of(changes: dict[str, Any], catalog: Catalog) -> str:
    experiment = resolve(BASE, changes, catalog)
    return experiment_fingerprint(experiment, identify(experiment), data())


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.csv"
    rows = [f"text number {i},{('ham', 'spam')[i % 2]}\n" for i in range(60)]
    path.write_text("text,label\n" + "".join(rows))
    return path


@pytest.mark.parametrize("key", AXES)
def test_fingerprint_contains_the_content_of_user_files_on_every_axis(
    tmp_path: Path, key: str
) -> None:
    catalog = plugin(tmp_path, key)
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("one")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("two")
    tables = [
        {"name": "own", "file": str(tmp_path / name)} for name in ("a.txt", "b.txt", "other/a.txt")
    ]
    choices = [{key: [table] if key == "baselines" else table} for table in tables]
    one, same, other = (fingerprint_of(each, catalog) for each in choices)
    assert one == same != other
    (tmp_path / "a.txt").write_text("two")
    assert fingerprint_of(choices[0], catalog) == other


def test_fingerprint_ignores_the_path_of_a_data_file(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = load_catalog()

    def of(path: str) -> str:
        experiment = resolve(BASE, {"dataset": f"csv:path={path}"}, catalog)
        files = prepare_files(experiment, RunOptions(), catalog, dry_run=True)
        return experiment_fingerprint(
            experiment, identify(experiment), prepare_data(experiment, files.files)
        )

    shutil.copy(texts, tmp_path / "renamed.csv")
    monkeypatch.chdir(tmp_path)
    names = ("texts.csv", "./renamed.csv", f"../{tmp_path.name}/texts.csv", str(texts))
    found = [of(name) for name in names]
    (tmp_path / "folder").mkdir()
    monkeypatch.chdir(tmp_path / "folder")
    found += [of(str(texts)), of("../texts.csv")]
    assert len(set(found)) == 1
    texts.write_text(texts.read_text().replace("number 7", "number seven"))
    assert of(str(texts)) != found[0]


def test_fingerprint_ignores_store_and_working_directory(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = clsbench.run(BASE, dataset="csv:path=texts.csv", dry_run=True, out=tmp_path / "one")
    monkeypatch.chdir("/")
    two = clsbench.run(BASE, dataset=f"csv:path={texts}", dry_run=True, out=tmp_path / "two")
    assert (one.fingerprint, one.run_key) == (two.fingerprint, two.run_key)
    assert one.spec_fingerprint != two.spec_fingerprint


def test_identify_files_of_two_options_are_kept_apart(tmp_path: Path) -> None:
    catalog = plugin(tmp_path)
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text("1")
    two.write_text("2")

    def of(**table: Any) -> str:
        return fingerprint_of({"head": {"name": "own", **table}}, catalog)

    straight, crossed = of(files=[str(one), str(two)]), of(files=[str(two), str(one)])
    assert straight != crossed
    assert of(file=str(one), files=[str(two)]) != straight
    assert of(file=str(one)) != of(file=str(one), word="1")
    experiment = resolve(BASE, {"head": {"name": "own", "file": str(one)}}, catalog)
    (head,) = [each for each in identify(experiment) if each.axis == "head"]
    assert head.files.keys() == {str(one)}


def test_identify_folder_hash_depends_on_relative_file_names(tmp_path: Path) -> None:
    catalog = plugin(tmp_path)

    def of(folder: Path) -> str:
        experiment = resolve(BASE, {"head": {"name": "own", "file": str(folder)}}, catalog)
        (head,) = [each for each in identify(experiment) if each.axis == "head"]
        return head.files[str(folder)]

    for name in ("one", "two"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "a.txt").write_text("a")
        (tmp_path / name / "b.txt").write_text("b")
    assert of(tmp_path / "one") == of(tmp_path / "two")
    (tmp_path / "one" / "b.txt").rename(tmp_path / "one" / "c.txt")
    assert of(tmp_path / "one") != of(tmp_path / "two")


def test_fingerprint_uses_the_content_and_not_the_path_of_a_checkpoint(tmp_path: Path) -> None:
    from gpt2_checkpoints import MINIATURES, language_model

    one = tmp_path / "one"
    language_model(MINIATURES["small"]).save_pretrained(one)
    two = tmp_path / "deeper" / "two"
    shutil.copytree(one, two)
    identities = [
        identify(resolve(BASE, {"backbone": f"gpt2:weights={folder}"}, load_catalog()))
        for folder in (one, two)
    ]
    first, second = ([list(each.files.values()) for each in found] for found in identities)
    assert first == second
    assert first[1]
    with (two / "config.json").open("a") as file:
        file.write("\n")
    changed = identify(resolve(BASE, {"backbone": f"gpt2:weights={two}"}, load_catalog()))
    assert [list(each.files.values()) for each in changed] != first


def test_identify_unreadable_file_is_a_usage_error(tmp_path: Path) -> None:
    catalog = plugin(tmp_path)
    experiment = resolve(BASE, {"head": "own:file=/dev/null"}, catalog)
    with pytest.raises(UsageError, match="/dev/null is not a regular file"):
        identify(experiment)


@pytest.mark.parametrize("kind", ["pipe", "dangling link"])
def test_identify_folder_with_an_unreadable_file_is_a_usage_error(
    tmp_path: Path, kind: str
) -> None:
    catalog = plugin(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / "odd")
    else:
        (folder / "odd").symlink_to(tmp_path / "missing")
    experiment = resolve(BASE, {"head": {"name": "own", "file": str(folder)}}, catalog)
    with pytest.raises(UsageError, match=r"odd is not a regular file|folder cannot be read"):
        identify(experiment)


def test_identify_records_declared_libraries(tmp_path: Path) -> None:
    plugin(tmp_path, libraries=("msgspec", "numpy"))
    plugins = [str(tmp_path / "plugin.py")]
    record = clsbench.run(BASE, head="own", dry_run=True, plugins=plugins)
    (head,) = [each for each in record.plugins if each.axis == "head"]
    assert head.libraries == {n: metadata.version(n) for n in ("msgspec", "numpy")}
    assert all(each.libraries == {} for each in record.plugins if each.axis != "head")


def test_fingerprint_contains_the_versions_of_declared_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = plugin(tmp_path, libraries=("own-library",))
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for version in ("1.0", "1.1", "1.0"):
        info = tmp_path / "own_library-1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: own-library\nVersion: {version}\n"
        )
        found.append(fingerprint_of({"head": "own"}, catalog))
    assert found[0] == found[2] != found[1]


def test_identify_missing_library_is_named(tmp_path: Path) -> None:
    plugin(tmp_path, libraries=("missing-library",))
    with pytest.raises(PluginError, match="head 'own' requires the library missing-library"):
        clsbench.run(BASE, head="own", dry_run=True, plugins=[str(tmp_path / "plugin.py")])


def test_changes_since_files_not_recorded_are_not_reported_as_changed() -> None:
    now = ComponentIdentity(
        axis="backbone", component="own", distribution="own", version="1", files={"a": "12"}
    )
    (change,) = changes_since([replace(now, files={})], [now])
    assert change.in_version_alone
    assert "did not record the content of a" in change.text
    for files in ({"a": "34"}, {"a": "12", "b": "12"}):
        (change,) = changes_since([replace(now, files=files)], [now])
        assert not change.in_version_alone
    (change,) = changes_since([now], [replace(now, files={})])
    assert "the content of a has changed" in change.text


def test_fingerprint_contains_the_source_of_a_plugin(tmp_path: Path) -> None:
    catalog = plugin(tmp_path)
    before = fingerprint_of({"head": "own"}, catalog)
    identities = identify(resolve(BASE, {"head": "own"}, catalog))
    sources = {each.axis: each.source_sha256 for each in identities}
    assert sources.pop("head") is not None
    assert set(sources.values()) == {None}
    with (tmp_path / "plugin.py").open("a") as file:
        file.write("# edited\n")
    edited = load_catalog([str(tmp_path / "plugin.py")])
    assert fingerprint_of({"head": "own"}, edited) != before
