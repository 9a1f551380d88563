from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch
from command_line import Command

from clsbench.assets import cached_folder
from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey
from clsbench.schema.options import default_options
from clsbench.schema.quantities import size_bytes

FIRST, SECOND = "3f9c" * 16, "77b0" * 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "own" / "activations"


@pytest.fixture
def command(clsbench: Command, folder: Path) -> Command:
    """``clsbench cache`` with a separate cache."""
    return partial(clsbench, "cache", env={"CLSBENCH_CACHE": str(folder.parent)})


@pytest.fixture
def filled(folder: Path) -> Path:
    """A cache with two entries; the second was last used 40 days ago."""
    cache = DiskCache(folder, 10**9)
    keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(1200)]
    about = {
        "backbone": "gpt2:size=small",
        "cut": "after block.10",
        "positions": "all",
        "texts": "padded to 120",
        "precision": "bf16",
    }
    cache.store(PrefixKey(FIRST, about), {key: torch.zeros(12, 64) for key in keys[:3]})
    strange = {"backbone": "[bold]x[/] \x1b[31m", "dtype": "float32"}
    cache.store(PrefixKey(SECOND, strange), {key: torch.zeros(64) for key in keys})
    (shard,) = (folder / SECOND).glob("*.safetensors")
    os.utime(shard, (time.time() - 40 * 86_400,) * 2)
    return folder


def used_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_cache_list_of_an_empty_cache_reports_it(command: Command, folder: Path) -> None:
    listed = command("list")
    assert (listed.returncode, listed.stdout) == (0, "")
    assert listed.stderr.startswith(f"the cache {folder.parent} is empty: ")
    cleared = command("clear")
    assert (cleared.returncode, cleared.stdout) == (0, "")
    assert cleared.stderr == f"nothing to clear in {folder.parent}\n"
    assert json.loads(command("list", "--json").stdout)["entries"] == []
    assert not folder.exists()


def test_cache_list_prints_a_table(command: Command, filled: Path) -> None:
    done = command("list")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines() if line.strip(" ─")]
    titles = "digest what cut positions texts precision rows size last used"
    assert lines[0] == titles.split()
    first = "3f9c3f9c3f9c gpt2:size=small after block.10 all padded to 120 bf16 3"
    assert lines[1][: len(first.split())] == first.split()
    second = r"77b077b077b0 [bold]x[/] \x1b[31m ? ? ? ? 1,200"
    assert lines[2][: len(second.split())] == second.split()
    assert lines[3][:2] == ["2", "entries,"]
    assert done.stdout.rstrip().endswith(f", in {filled.parent}")


def test_cache_list_fits_the_terminal(filled: Path) -> None:
    code = "from clsbench.cli.main import main; main()"
    script = f"import pty, sys; pty.spawn([{sys.executable!r}, '-c', {code!r}, 'cache', 'list'])"
    environment = {**os.environ, "CLSBENCH_CACHE": str(filled.parent), "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment)
    lines = done.stdout.decode().splitlines()
    assert any("3f9c3f9c3f9c" in line for line in lines)
    table = [line for line in lines if "entries," not in line and str(filled)[:20] not in line]
    assert max(len(line) for line in table if "\x1b" not in line) <= 80


def test_cache_list_json_is_one_object(command: Command, filled: Path) -> None:
    result = json.loads(command("list", "--json").stdout)
    assert result["folder"] == str(filled.parent)
    assert result["limit_bytes"] == size_bytes(default_options({}).cache_disk)
    assert result["size_bytes"] == used_bytes(filled)
    first, second = result["entries"]
    assert (first["digest"], first["rows"]) == (FIRST, 3)
    assert first["about"]["cut"] == "after block.10"
    assert second["about"]["dtype"] == "float32"
    assert second["last_used"] < first["last_used"]


def test_cache_clear_without_arguments_removes_everything(command: Command, filled: Path) -> None:
    before_bytes = used_bytes(filled)
    done = command("clear")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"freed {before_bytes / 1000:.3g} kB: 2 entries in {filled.parent}\n"
    assert used_bytes(filled) == 0


def test_cache_clear_by_digest_or_age_removes_these_entries(command: Command, filled: Path) -> None:
    done = command("clear", "--older-than", "50")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"nothing to clear in {filled.parent} that was unused for 50 days\n"
    assert "1 entry" in command("clear", "--older-than", "30").stdout
    assert [path.name for path in filled.iterdir()] == [FIRST]
    assert "1 entry" in command("clear", "3f9").stdout
    assert list(filled.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["clear", "3f9c3f9c3f9d"], "did you mean '3f9c3f9c3f9c'?"),
        (["clear", "--older-than", "-1"], "--older-than"),
        (["clear", "--older-than", "week"], "--older-than"),
        (["clear", "--older-than", "nan"], "not a finite number"),
        (["shrink"], "shrink"),
    ],
    ids=" ".join,
)
def test_cache_with_invalid_arguments_is_refused(
    command: Command, filled: Path, arguments: list[str], said: str
) -> None:
    before_bytes = used_bytes(filled)
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert used_bytes(filled) == before_bytes


def test_cache_of_an_unreadable_folder_is_refused(command: Command, folder: Path) -> None:
    folder.parent.write_text("in the way")
    for arguments in (["list"], ["clear"]):
        done = command(*arguments)
        assert done.returncode == 2
        assert f"{folder.parent} is not a folder" in done.stderr
        assert "CLSBENCH_CACHE" in done.stderr


def write_weights(folder: Path) -> None:
    (folder / "weights").write_bytes(bytes(5_000))


@pytest.fixture
def converted(filled: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The digests of two converted files beside the activations."""
    monkeypatch.setenv("CLSBENCH_CACHE", str(filled.parent))
    digests = []
    for name in ("first.gguf", "[b]second[/b].gguf"):
        digests.append(cached_folder(name, name, write_weights).parent.name)
    return digests[0], digests[1]


def test_cache_list_shows_converted_files(command: Command, converted: tuple[str, str]) -> None:
    done = command("list")
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    for digest, name in zip(converted, ("first.gguf", "[b]second[/b].gguf"), strict=True):
        (row,) = [line for line in lines if line and line[0] == digest[:12]]
        assert row[1] == name
        assert re.fullmatch(r"5\.0\d kB", " ".join(row[2:4]))
    found = json.loads(command("list", "--json").stdout)["converted"]
    assert {each["digest"] for each in found} == set(converted)
    assert {each["about"] for each in found} == {"first.gguf", "[b]second[/b].gguf"}


def test_cache_clear_removes_converted_files(
    command: Command, filled: Path, converted: tuple[str, str]
) -> None:
    first, second = converted
    cleared = json.loads(command("clear", first[:12], "3f9", "--json").stdout)
    assert cleared["entries"] == 2
    assert cleared["freed_bytes"] > 5_000
    assert [each.name for each in (filled.parent / "converted").iterdir()] == [second]
    assert [path.name for path in filled.iterdir()] == [SECOND]
    assert "2 entries" in command("clear").stdout
    assert not list((filled.parent / "converted").iterdir())
    assert not list(filled.iterdir())


MODULES = """
import json, sys
sys.argv = ["clsbench", "cache", "list"]
from clsbench.cli.main import main
try:
    main()
finally:
    print("MODULES", json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def test_cache_list_does_not_import_torch(filled: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MODULES],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "CLSBENCH_CACHE": str(filled.parent)},
    )
    assert done.returncode == 0
    assert "3f9c3f9c3f9c" in done.stdout
    loaded = set(json.loads(done.stderr.rpartition("MODULES ")[2]))
    assert not {"torch", "numpy", "pandas", "safetensors"} & loaded


def test_cache_list_with_a_damaged_file_warns(command: Command, filled: Path) -> None:
    (shard,) = (filled / FIRST).glob("*.safetensors")
    shard.write_bytes(b"\0" * 500)
    done = command("list", "--json")
    assert done.returncode == 0
    assert done.stderr == (f"warning: {shard} is damaged: the next run that reads it removes it\n")
    first, second = json.loads(done.stdout)["entries"]
    assert (first["digest"], first["rows"], first["damaged"]) == (FIRST, 0, [str(shard)])
    assert second["damaged"] == []
