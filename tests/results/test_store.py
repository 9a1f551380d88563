"""The store: atomic writes, names, reading and finding runs."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_examples import STAND_INS, make_history, make_record
from safetensors.numpy import save_file
from stored_runs import NAME, entries, store_run

from clsbench.errors import ClsbenchError, UsageError
from clsbench.results.store import (
    adopt_run,
    final_path,
    read_record,
    run_directory,
    run_files,
    run_name,
    scan,
    write_record,
)
from clsbench.schema.record import RunRecord
from clsbench.system.filesystem import replace_text


def test_record_written_and_read_is_equal(tmp_path: Path) -> None:
    for changes in (
        {},
        {"status": "failed", "metrics": None, "error": "the loss is nan", "baselines": ()},
        {"stand_ins": STAND_INS, "experiment": "größer \U0001f600 \x00 \u2028"},
        {"history": make_history(epochs=1), "data": None, "throughput": None},
    ):
        record = make_record(**changes)
        assert read_record(store_run(tmp_path, record)) == record
    assert len(scan(tmp_path).runs) == 4


def test_write_record_writes_indented_json(tmp_path: Path) -> None:
    path = store_run(tmp_path, make_record())
    text = (path / "record.json").read_text(encoding="utf-8")
    assert json.loads(text)["metrics"]["test"]["n"] == 300
    assert text.startswith('{\n  "schema_version": 2,\n')
    assert text.endswith("}\n")


def test_run_directory_is_hidden_until_the_block_ends(tmp_path: Path) -> None:
    with run_directory(tmp_path, NAME) as directory:
        write_record(directory, make_record())
        assert scan(tmp_path) == ((), ())
        assert not final_path(directory).exists()
    assert entries(tmp_path) == [NAME]


def test_run_directory_with_a_failing_block_is_removed(tmp_path: Path) -> None:
    def fail_halfway(directory: Path) -> None:
        (directory / "sub").mkdir()
        (directory / "sub" / "file").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), run_directory(tmp_path, NAME) as directory:
        fail_halfway(directory)
    assert entries(tmp_path) == []


def test_run_directory_reraises_unrelated_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), run_directory(tmp_path / "store", NAME):
        (tmp_path / "elsewhere").read_text()


@pytest.mark.parametrize("umask", [0o022, 0o002, 0o077])
def test_run_directory_all_files_get_the_mode_that_the_umask_allows(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with run_directory(tmp_path, "run") as directory:
            write_record(directory, make_record())
            save_file({"x": np.zeros(2)}, directory / "classifier.safetensors")
            (directory / "deeper").mkdir()
            (directory / "deeper" / "private").touch(mode=0o600)
        adopt_run(tmp_path, "adopted", run_files(tmp_path / "run"))
        replace_text(tmp_path / "report.html", "")
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 7
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}


def test_run_directory_with_a_used_name_adds_a_number(tmp_path: Path) -> None:
    with run_directory(tmp_path, NAME) as outer, run_directory(tmp_path, NAME) as inner:
        assert outer != inner
    store_run(tmp_path, make_record())
    assert entries(tmp_path) == [NAME, f"{NAME}-2", f"{NAME}-3"]


def test_adopt_run_stores_all_files(tmp_path: Path) -> None:
    with run_directory(tmp_path / "there", NAME) as directory:
        write_record(directory, make_record())
        (directory / "sub").mkdir()
        (directory / "sub" / "weights").write_bytes(bytes(range(256)))
    files = run_files(tmp_path / "there" / NAME)
    assert sorted(files) == ["record.json", "sub/weights"]
    for name in (NAME, f"{NAME}-2"):
        path = adopt_run(tmp_path / "here", NAME, files)
        assert path == tmp_path / "here" / name
        assert run_files(path) == files


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (NAME, {"../outside": b""}, "'../outside'"),
        (NAME, {"/outside": b""}, "'/outside'"),
        (NAME, {"": b""}, "''"),
        ("../outside", {}, "'../outside'"),
        ("a/b", {}, "'a/b'"),
        (NAME, {}, "record.json is missing"),
        (NAME, {"record.json": b"{"}, "damaged"),
    ],
)
def test_adopt_run_with_invalid_files_is_refused(
    name: str, files: dict[str, bytes], message: str, tmp_path: Path
) -> None:
    record = {"record.json": msgspec.json.encode(make_record())} if "damaged" not in message else {}
    content = files if "record" in message else {**record, **files}
    with pytest.raises(ClsbenchError, match=re.escape(message)):
        adopt_run(tmp_path / "store", name, content)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


WRITER = """
import sys, time
from pathlib import Path
from clsbench.results.store import run_directory, final_path
store, count = Path(sys.argv[1]), int(sys.argv[2])
while not (store / ".go").exists():
    time.sleep(0.001)
for i in range(count):
    with run_directory(store, "20251121T101729Z-same-00000000") as directory:
        (directory / "record.json").write_bytes((store.parent / "record.json").read_bytes())
        (directory / "whole").write_text(str(final_path(directory)))
"""


@pytest.mark.slow
def test_run_directory_with_concurrent_processes_stores_all_runs(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (tmp_path / "record.json").write_bytes(msgspec.json.encode(make_record()))
    command = [sys.executable, "-c", WRITER, str(store), "15"]
    processes = [subprocess.Popen(command) for _ in range(4)]
    (store / ".go").touch()
    seen = 0
    while any(process.poll() is None for process in processes):
        found = scan(store)
        assert not found.damaged
        seen = max(seen, len(found.runs))
    assert [process.wait() for process in processes] == [0] * 4
    runs = scan(store).runs
    assert len(runs) == 60
    for run in runs:
        assert (run.path / "whole").read_text() == str(run.path)
    assert entries(store)[0] == ".go"
    assert not [name for name in entries(store) if "unfinished" in name]
    assert seen <= 60


INTERRUPTED = """
import sys, time
from pathlib import Path
from clsbench.results.store import run_directory
with run_directory(Path(sys.argv[1]), "20251121T101729Z-run-00000000") as directory:
    (directory / "record.json").write_text("{")
    print("inside", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    ("number", "left"),
    [(signal.SIGINT, []), (signal.SIGKILL, [".unfinished-20251121T101729Z-run-00000000"])],
)
def test_run_directory_of_an_interrupted_process_is_removed(
    tmp_path: Path, number: signal.Signals, left: list[str]
) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        assert process.wait() != 0
    assert entries(tmp_path) == left
    assert scan(tmp_path) == ((), ())
    with run_directory(tmp_path, "20251121T101729Z-run-00000000") as directory:
        write_record(directory, make_record())
    assert len(scan(tmp_path).runs) == 1


@given(st.text(max_size=100))
def test_run_name_of_any_experiment_is_a_valid_file_name(experiment: str) -> None:
    name = run_name(make_record(experiment=experiment, run_key="0123456789abcdef"))
    assert re.fullmatch(r"20251121T101729Z-[A-Za-z0-9._-]+-01234567", name)
    assert len(name) < 110


def test_run_name_has_the_time_in_utc() -> None:
    record = make_record(created="2025-11-21T23:30:00+05:30", run_key="0123456789abcdef")
    assert run_name(record) == "20251121T180000Z-gpt2-sms-spam-01234567"


def test_scan_of_a_missing_store_is_empty(tmp_path: Path) -> None:
    assert scan(tmp_path / "none") == ((), ())


def test_scan_of_a_file_raises(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a folder"):
        scan(tmp_path / "file")


def test_scan_with_damaged_runs_names_them_and_reads_the_rest(tmp_path: Path) -> None:
    good = store_run(tmp_path, make_record())
    encoded = (good / "record.json").read_bytes()

    def damaged(name: str, content: bytes | None) -> None:
        directory = tmp_path / f"20251121T111111Z-{name}"
        directory.mkdir()
        if content is not None:
            (directory / "record.json").write_bytes(content)

    tree = json.loads(encoded)
    damaged("cut", encoded[: len(encoded) // 2])
    damaged("empty", b"")
    damaged("latin", b'{"experiment": "\xff"}')
    damaged("list", b"[]")
    damaged("lost", None)
    damaged("deep", b'{"a":' * 100_000)
    damaged("number", b'{"schema_version": ' + b"9" * 5000 + b"}")
    damaged("created", json.dumps({**tree, "created": "yesterday"}).encode())
    damaged("spec", json.dumps({**tree, "spec": {}}).encode())
    damaged("component", json.dumps({**tree, "spec": {**tree["spec"], "head": {}}}).encode())
    damaged("wide", json.dumps({**tree, "memory_bytes_expected": 10**30}).encode())
    damaged("newer", json.dumps({**tree, "schema_version": 3}).encode())
    damaged("newer-form", b'{"schema_version": 7, "all": "different"}')
    damaged("older", json.dumps({**tree, "schema_version": 0}).encode())
    damaged("type", json.dumps({**tree, "status": 3}).encode())
    damaged("unversioned", b'{"hello": "world"}')
    (tmp_path / "20251121T111111Z-folder" / "record.json").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".unfinished-20251121T111111Z-x").mkdir()
    abandoned = tmp_path / ".unfinished-20251121T111111Z-abandoned"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    found = scan(tmp_path)
    assert [run.path for run in found.runs] == [good]
    reasons = {path.name.partition("Z-")[2]: reason for path, reason in found.damaged}
    assert set(reasons) == {
        *("cut", "empty", "latin", "list", "lost", "newer", "newer-form", "older", "type"),
        *("unversioned", "folder", "abandoned", "deep", "number", "created", "spec"),
        *("component", "wide"),
    }
    assert all(reasons.values())
    assert "schema_version 3" in reasons["newer"]
    assert "newer clsbench" in reasons["newer"]
    assert "schema_version 7" in reasons["newer-form"]
    assert "older clsbench" in reasons["older"]
    assert "status" in reasons["type"]
    assert "no schema_version" in reasons["unversioned"]
    assert "record.json is missing" in reasons["lost"]
    assert "remove it" in reasons.pop("abandoned")
    for path, reason in found.damaged[:-1]:
        with pytest.raises(UsageError, match=re.escape(reason)):
            read_record(path)


@settings(max_examples=60)
@given(st.data())
def test_read_record_with_any_damage_raises_only_usage_errors(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    encoded = bytearray(msgspec.json.encode(make_record()))
    start = data.draw(st.integers(0, len(encoded) - 1))
    encoded[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=20))
    directory = tmp_path_factory.mktemp("run")
    (directory / "record.json").write_bytes(encoded)
    try:
        outcome: object = read_record(directory)
    except UsageError as error:
        outcome = str(error)
    assert isinstance(outcome, RunRecord) or "record.json" in str(outcome)


def test_read_record_with_unknown_fields_ignores_them(tmp_path: Path) -> None:
    record = make_record()
    tree = {**msgspec.to_builtins(record), "later": {"unheard": "of"}}
    (tmp_path / "record.json").write_text(json.dumps(tree))
    assert read_record(tmp_path) == record
    assert read_record(tmp_path / "record.json") == record


def test_record_without_new_fields_is_read_with_defaults(tmp_path: Path) -> None:
    tree = msgspec.to_builtins(make_record(working_directory="/somewhere"))
    del tree["working_directory"], tree["data"]["dropped"]
    (tmp_path / "record.json").write_text(json.dumps(tree))
    record = read_record(tmp_path)
    assert record.working_directory is None
    assert record.data is not None
    assert record.data.dropped == {}
