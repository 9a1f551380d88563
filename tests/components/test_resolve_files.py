"""Specs and suites found by name or file."""

from __future__ import annotations

from pathlib import Path

import pytest

from clsbench.components.catalog import Catalog
from clsbench.components.resolve import find_spec, find_suite, is_suite
from clsbench.errors import UsageError
from clsbench.schema.experiment import ExperimentSpec


def test_find_spec_finds_names_and_files(tmp_path: Path, catalog: Catalog) -> None:
    assert find_spec("gpt2-sms-spam", catalog).name == "gpt2-sms-spam"
    file = tmp_path / "small one.toml"
    file.write_text('dataset = "synthetic-sms"\nbackbone = "gpt2-nano"\n', encoding="utf-8")
    assert find_spec(file, catalog).name == "small one"
    bare = tmp_path / "spec"
    bare.write_bytes(file.read_bytes())
    assert find_spec(str(bare), catalog).name == "spec"


def test_find_spec_registered_name_precedes_a_file(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("gpt2-sms-spam").write_text("notes, and no TOML", encoding="utf-8")
    assert find_spec("gpt2-sms-spam", catalog) is catalog.spec(ExperimentSpec, "gpt2-sms-spam")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"dataset = [", "not valid TOML"),
        (b'dataset = "x"', "backbone is required"),
        (b"", "is required"),
    ],
)
def test_find_spec_bad_file_is_refused(
    content: bytes | None, said: str, tmp_path: Path, catalog: Catalog
) -> None:
    path = tmp_path / "spec.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        find_spec(path, catalog)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_find_suite_unknown_base_names_the_file(tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('base = "gpt2-smss"\n[[rows]]\nchanges = {freezing = "all"}\n')
    with pytest.raises(UsageError) as caught:
        find_suite(path, catalog)
    assert str(caught.value).startswith(f"{path}: base = 'gpt2-smss': unknown experiment")


def test_find_spec_byte_order_mark_is_accepted(tmp_path: Path, catalog: Catalog) -> None:
    path = tmp_path / "spec.toml"
    path.write_text('dataset = "synthetic-sms"\nbackbone = "gpt2-nano"\n', encoding="utf-8-sig")
    assert find_spec(path, catalog).name == "spec"


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "a\0b.toml", "x" * 5000 + ".toml", ""])
def test_find_spec_invalid_file_names_are_refused(name: str, catalog: Catalog) -> None:
    with pytest.raises(UsageError):
        find_spec(name, catalog)


def test_find_spec_directory_is_refused(tmp_path: Path, catalog: Catalog) -> None:
    with pytest.raises(UsageError):
        find_spec(tmp_path, catalog)


def test_is_suite_is_true_for_suites_by_name_and_files_with_rows(
    tmp_path: Path, catalog: Catalog
) -> None:
    suite, spec = tmp_path / "suite.toml", tmp_path / "spec.toml"
    suite.write_text('base = "gpt2-sms-spam"\n[[rows]]\n', encoding="utf-8")
    spec.write_text('dataset = "synthetic-sms"\nbackbone = "gpt2-nano"\n', encoding="utf-8")
    given = ["gpt2-sms-spam-ablation", str(suite), "gpt2-sms-spam", str(spec), "no-such"]
    assert [is_suite(each, catalog) for each in given] == [True, True, False, False, False]
