from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import activation_rows
import msgspec
import pytest
import torch
from activation_rows import (
    ABOUT,
    KEY,
    OTHER,
    PLENTY,
    age,
    assert_same,
    make_rows,
    row_key,
    shards,
    sizes,
    store,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor

from clsbench.fastpath.cache.cache_files import clear
from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey
from clsbench.schema.quantities import size_text


def load(directory: Path, rows: dict[str, Tensor], key: PrefixKey = KEY) -> dict[str, Tensor]:
    """Load the rows as a later run would."""
    return DiskCache(directory, PLENTY).load(key, list(rows))


def unfinished(directory: Path) -> list[Path]:
    return list(directory.glob("**/.unfinished-*"))


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]


@pytest.fixture(autouse=True)
def everything_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="clsbench")


# --- store and load -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str
)
@pytest.mark.parametrize("shape", [(5, 7), (7,), (1, 1), (0, 7), (1, 2, 2)], ids=str)
def test_store_and_load_preserve_every_bit(
    tmp_path: Path, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    rows = make_rows(range(6), shape, dtype)
    for row, value in zip(rows.values(), (float("nan"), -0.0, float("inf"), 1e-40), strict=False):
        row.view(-1)[:1] = value
    store(tmp_path, rows)
    assert_same(load(tmp_path, rows), rows)


def test_store_with_different_dtypes_writes_one_shard(tmp_path: Path) -> None:
    rows = {
        **make_rows(range(2), (3, 1), torch.bfloat16),
        **make_rows(range(2, 4), (5,), torch.float64),
        **make_rows(range(4, 6), (1, 3)),
    }
    store(tmp_path, rows)
    assert_same(load(tmp_path, rows), rows)


def test_store_accepts_slices_and_any_memory_order(tmp_path: Path) -> None:
    batch = torch.randn(4, 6, 8, requires_grad=True)
    rows = {row_key(n): batch[n] for n in range(3)}
    rows |= {row_key(9): batch[3].T, row_key(10): batch[0, :, 2], row_key(11): batch[0]}
    detached = {key: row.detach() for key, row in rows.items()}
    kept = DiskCache(tmp_path, PLENTY).store(KEY, rows)
    assert_same(kept, detached)
    assert_same(load(tmp_path, rows), detached)


def test_load_of_unknown_rows_is_empty(tmp_path: Path) -> None:
    rows = make_rows(range(4))
    assert load(tmp_path / "none", rows) == {}
    assert not (tmp_path / "none").exists()
    store(tmp_path, rows)
    asked = [row_key(7), row_key(2), row_key(8), row_key(0)]
    found = DiskCache(tmp_path, PLENTY).load(KEY, asked)
    assert list(found) == [row_key(2), row_key(0)]
    assert load(tmp_path, rows, OTHER) == {}
    assert DiskCache(tmp_path, PLENTY).load(KEY, []) == {}


def test_load_combines_rows_of_several_stores(tmp_path: Path) -> None:
    for start in range(0, 9, 3):
        store(tmp_path, make_rows(range(start, start + 3)))
    assert len(shards(tmp_path)) == 3
    assert_same(load(tmp_path, make_rows(range(9))), make_rows(range(9)))


def test_store_writes_a_plain_safetensors_file(tmp_path: Path) -> None:
    rows = make_rows(range(3))
    path = store(tmp_path, rows)
    with safe_open(path, framework="pt") as file:
        assert_same({key: file.get_tensor(key) for key in file.keys()}, rows)  # noqa: SIM118
        metadata = file.metadata()
    for key, row in rows.items():
        assert metadata[key] == hashlib.sha256(row.numpy().tobytes()).hexdigest()
    assert metadata["digest"] == KEY.digest
    assert msgspec.json.decode((tmp_path / KEY.digest / "about.json").read_bytes()) == ABOUT


def test_store_of_equal_rows_writes_one_file(tmp_path: Path) -> None:
    rows = make_rows(range(3))
    path = store(tmp_path, rows)
    content = path.read_bytes()
    DiskCache(tmp_path, PLENTY).store(KEY, dict(reversed(rows.items())))
    assert shards(tmp_path) == [path]
    assert path.read_bytes() == content


def test_load_returns_tensors_that_can_be_trained_with(tmp_path: Path) -> None:
    rows = make_rows(range(1))
    store(tmp_path, rows)
    with torch.inference_mode():
        (row,) = load(tmp_path, rows).values()
    weight = torch.ones(4, requires_grad=True)
    (row @ weight).sum().backward()
    assert weight.grad is not None


def test_load_returns_private_copies(tmp_path: Path) -> None:
    rows = make_rows(range(2))
    cache = DiskCache(tmp_path, PLENTY)
    for views in (cache.store(KEY, rows), cache.load(KEY, list(rows))):
        for view in views.values():
            view.zero_()
    assert_same(load(tmp_path, rows), rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (torch.zeros(3, dtype=torch.int8), "torch.int8"),
        (torch.tensor(1.0), r"\(\)"),
    ],
)
def test_store_with_an_unsupported_row_raises(tmp_path: Path, row: Tensor, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DiskCache(tmp_path, PLENTY).store(KEY, {row_key(1): row})


def test_store_with_an_invalid_digest_raises(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", PLENTY)
    for digest in ("../" + "a" * 61, "A" * 64, ""):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            cache.store(PrefixKey(digest, {}), make_rows(range(1)))
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            cache.load(PrefixKey(digest, {}), [row_key(1)])
    assert os.listdir(tmp_path) == []


# --- memory mapping -------------------------------------------------------------------------------


def anonymous_bytes() -> int:
    """Memory of this process that is not backed by a file."""
    status = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in status if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_load_of_a_large_shard_maps_it(tmp_path: Path) -> None:
    batch = torch.randn(40, 120, 3500)
    rows = {row_key(n): batch[n] for n in range(len(batch))}
    size_bytes = batch.nbytes
    sums = [float(row.sum()) for row in rows.values()]
    before = anonymous_bytes()
    kept = DiskCache(tmp_path, PLENTY).store(KEY, rows)
    found = load(tmp_path, rows)
    for views in (kept, found):
        assert [float(row.sum()) for row in views.values()] == sums
    assert anonymous_bytes() - before < size_bytes / 8
    (path,) = shards(tmp_path)
    assert str(path) in Path("/proc/self/maps").read_text()
    del kept, found, views
    assert str(path) not in Path("/proc/self/maps").read_text()


# --- damage ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """A cache with one small shard, that shard, and its content."""
    directory = tmp_path_factory.mktemp("small")
    path = store(directory, make_rows(range(3), (2, 3)))
    return directory, path, path.read_bytes()


def restore(small: tuple[Path, Path, bytes], content: bytes) -> dict[str, Tensor]:
    """The rows that a run finds if the cache contains only ``content``."""
    directory, path, _ = small
    for other in shards(directory):
        other.unlink()
    path.write_bytes(content)
    return load(directory, make_rows(range(3), (2, 3)))


def test_load_with_any_flipped_byte_detects_it(small: tuple[Path, Path, bytes]) -> None:
    directory, path, content = small
    rows = make_rows(range(3), (2, 3))
    assert_same(restore(small, content), rows)
    assert shards(directory) == [path]
    data_start = len(content) - 3 * 24
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << position % 8
        found = restore(small, bytes(flipped))
        if position < data_start:
            assert found == {}
            assert shards(directory) == []
        else:
            assert len(found) == 2  # the intact rows are stored in a new shard
            assert_same(found, {key: rows[key] for key in found})
            assert path not in shards(directory)
            assert_same(load(directory, rows), found)


@settings(max_examples=150)
@given(st.data())
def test_load_with_any_damage_detects_it(
    small: tuple[Path, Path, bytes], data: st.DataObject
) -> None:
    content = bytearray(small[2])
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 90))] = data.draw(st.binary(max_size=40))
    rows = make_rows(range(3), (2, 3))
    found = restore(small, bytes(content))
    assert_same(found, {key: rows[key] for key in found})
    if bytes(content) != small[2]:
        assert len(found) < 3


@pytest.mark.parametrize("length", [0, 1, 8, 300, -1])
def test_load_of_a_truncated_shard_removes_it(tmp_path: Path, length: int) -> None:
    rows = make_rows(range(3))
    path = store(tmp_path, rows)
    path.write_bytes(path.read_bytes()[:length])
    assert load(tmp_path, rows) == {}
    assert not path.exists()
    assert_same(DiskCache(tmp_path, PLENTY).store(KEY, rows), rows)
    assert_same(load(tmp_path, rows), rows)


def test_load_of_an_extended_shard_removes_it(tmp_path: Path) -> None:
    rows = make_rows(range(3))
    path = store(tmp_path, rows)
    path.write_bytes(path.read_bytes() + b"\0")
    assert load(tmp_path, rows) == {}
    assert not path.exists()


def test_load_with_an_absurd_header_length_allocates_nothing(tmp_path: Path) -> None:
    path = store(tmp_path, make_rows(range(3)))
    path.write_bytes(b"\xff" * 7 + b"\x7f" + path.read_bytes()[8:])
    assert load(tmp_path, make_rows(range(3))) == {}
    assert not path.exists()


def test_load_with_a_damaged_row_logs_it_and_keeps_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_rows(range(5))
    path = store(tmp_path, rows)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    found = load(tmp_path, rows)
    assert len(found) == 4
    (message,) = (r.getMessage() for r in caplog.records if r.levelno == logging.INFO)
    assert str(path) in message
    assert "1 rows do not match their hashes; 4 others are intact" in message
    caplog.clear()
    assert_same(load(tmp_path, rows), found)
    assert caplog.records == []


def test_load_of_a_renamed_shard_ignores_it(tmp_path: Path) -> None:
    rows = make_rows(range(2))
    path = store(tmp_path, rows)
    renamed = path.with_name("0" * 32 + ".safetensors")
    path.rename(renamed)
    assert load(tmp_path, rows) == {}
    path = store(tmp_path, rows)
    moved = tmp_path / OTHER.digest / path.name
    moved.parent.mkdir()
    path.rename(moved)
    assert load(tmp_path, rows, OTHER) == {}
    assert shards(tmp_path) == []


def test_load_of_an_unreadable_shard_keeps_it(tmp_path: Path) -> None:
    """A folder in its place causes an OSError, like a failing disk."""
    rows = make_rows(range(2))
    path = store(tmp_path, rows)
    path.unlink()
    path.mkdir()
    assert load(tmp_path, rows) == {}
    assert path.is_dir()


# --- the limit ------------------------------------------------------------------------------------


def test_store_beyond_the_limit_evicts_the_least_recently_used(tmp_path: Path) -> None:
    groups = [make_rows(range(n, n + 2), (64, 64)) for n in range(0, 8, 2)]
    paths = [store(tmp_path, rows, key) for rows, key in zip(groups, (KEY, OTHER) * 2, strict=True)]
    for path, seconds in zip(paths, (300, 400, 200, 100), strict=True):
        age(path, seconds)
    assert_same(load(tmp_path, groups[1], OTHER), groups[1])
    times = [path.stat().st_mtime_ns for path in paths]
    assert times[1] == max(times)  # now the most recently used of the four
    age(paths[1], 50)
    limit_bytes = sizes(tmp_path)
    for number, gone in enumerate((paths[0], paths[2], paths[3], paths[1])):
        rows = make_rows(range(10 + 2 * number, 12 + 2 * number), (64, 64))
        assert_same(DiskCache(tmp_path, limit_bytes).store(KEY, rows), rows)
        assert sizes(tmp_path) <= limit_bytes
        assert not gone.exists()
        assert len(shards(tmp_path)) == 4
    assert not (tmp_path / OTHER.digest).exists()  # removed because it was empty


def test_store_beyond_the_limit_keeps_rows_in_use(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loaded, idle = make_rows(range(2), (64, 64)), make_rows(range(2, 4), (64, 64))
    loaded_path, idle_path = store(tmp_path, loaded), store(tmp_path, idle)
    cache = DiskCache(tmp_path, sizes(tmp_path))
    cache.load(KEY, list(loaded))
    age(loaded_path, 1000)
    assert cache.store(KEY, make_rows(range(4, 6), (64, 64)))
    assert loaded_path.exists()
    assert not idle_path.exists()
    assert warnings_in(caplog) == []
    for start in (6, 8):
        assert cache.store(KEY, make_rows(range(start, start + 2), (64, 64))) == {}
    (warning,) = warnings_in(caplog)
    assert warning == (
        f"some activations of the frozen prefix are not cached for later runs in {tmp_path}: the "
        f"limit of {size_text(cache.limit_bytes)} (--cache-disk) is reached"
    )
    assert cache.problems == [warning]
    assert len(shards(tmp_path)) == 2


def test_store_of_a_shard_above_the_limit_evicts_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = store(tmp_path, make_rows(range(2), (64, 64)))
    cache = DiskCache(tmp_path, 60_000)
    assert cache.store(KEY, make_rows(range(2, 9), (64, 64))) == {}
    assert shards(tmp_path) == [path]
    (warning,) = warnings_in(caplog)
    assert warning.startswith("activations of the frozen prefix are not cached for later runs in ")
    assert "the limit of 60 kB" in warning
    assert cache.store(KEY, make_rows(range(20, 21))) != {}  # a smaller one fits


def test_load_with_a_lower_limit_evicts_immediately(tmp_path: Path) -> None:
    """Loading is enough."""
    old, new = (make_rows(range(n, n + 2), (64, 64)) for n in (0, 2))
    age(store(tmp_path, old), 100)
    path = store(tmp_path, new)
    cache = DiskCache(tmp_path, sizes(tmp_path) - 1)
    assert_same(cache.load(KEY, [*old, *new]), new)
    assert shards(tmp_path) == [path]


@pytest.mark.parametrize("about", [b"", b'{"a": "1"}'])
def test_load_with_a_lost_or_other_description_restores_it(tmp_path: Path, about: bytes) -> None:
    rows = make_rows(range(2))
    described = store(tmp_path, rows).with_name("about.json")
    described.write_bytes(about)
    assert_same(load(tmp_path, rows), rows)
    assert msgspec.json.decode(described.read_bytes()) == ABOUT


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_load_keeps_rows_readable_after_eviction_by_another_run(tmp_path: Path) -> None:
    rows = make_rows(range(2), (64, 64))
    path = store(tmp_path, rows)
    found = load(tmp_path, rows)
    other = DiskCache(tmp_path, sizes(tmp_path))
    assert other.store(OTHER, make_rows(range(2, 4), (64, 64)))
    assert not path.exists()
    assert_same(found, rows)


def test_cache_ignores_foreign_files(tmp_path: Path) -> None:
    path = store(tmp_path, make_rows(range(2)))
    foreign = [tmp_path / "notes.txt", path.with_name("model.safetensors"), tmp_path / "x" / "y"]
    foreign[2].parent.mkdir()
    for file in foreign:
        file.write_bytes(bytes(5000))
        age(file, 30 * 24 * 3600)
    age(path, 10)
    limit_bytes = path.stat().st_size + 200
    assert DiskCache(tmp_path, limit_bytes).store(OTHER, make_rows(range(2, 4)))
    assert not path.exists()
    assert clear(tmp_path).freed_bytes > 0
    assert all(file.exists() for file in foreign)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_load_with_a_named_pipe_does_not_block(tmp_path: Path) -> None:
    path = store(tmp_path, make_rows(range(2)))
    os.mkfifo(path.with_stem("0" * 32))
    assert len(DiskCache(tmp_path, 10**9).load(KEY, list(make_rows(range(2))))) == 2


# --- several processes ----------------------------------------------------------------------------

SHARED = f"""
import sys, time, logging, torch
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).resolve().parents[2] / "support")!r})
from activation_rows import KEY, PLENTY, assert_same, make_rows
from clsbench.fastpath.cache.disk_cache import DiskCache
logging.basicConfig(level=logging.WARNING, format="%(message)s")
directory = Path(sys.argv[1])
"""

WRITER = (
    SHARED
    + """
print("ready", flush=True)
sys.stdin.readline()
cache = DiskCache(directory, PLENTY)
for start in range(0, 120, 4):
    rows = make_rows(range(start, start + 4), (16, 16))
    assert_same(cache.store(KEY, rows), rows)
rows = make_rows(range(120), (16, 16))
assert_same(cache.load(KEY, list(rows)), rows)
"""
)

ENDLESS_WRITER = (
    SHARED
    + """
cache = DiskCache(directory, PLENTY)
for start in range(10_000):
    cache.store(KEY, make_rows(range(4 * start, 4 * start + 4), (1024, 1024)))
"""
)


WITH_HELPERS = {**os.environ, "PYTHONPATH": str(Path(activation_rows.__file__).parent)}


def start(script: str, *arguments: Path) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=WITH_HELPERS,
    )


def test_store_of_the_same_rows_by_several_processes_succeeds(tmp_path: Path) -> None:
    writers = [start(WRITER, tmp_path) for _ in range(2)]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    rows = make_rows(range(120), (16, 16))
    while any(writer.poll() is None for writer in writers):
        found = load(tmp_path, rows)
        assert_same(found, {key: rows[key] for key in found})
        time.sleep(0.01)
    for writer in writers:
        assert (writer.communicate()[1], writer.returncode) == ("", 0)
    assert_same(load(tmp_path, rows), rows)
    assert len(shards(tmp_path)) == 30
    assert unfinished(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="a process cannot be stopped in the middle there")
def test_store_after_a_killed_writer_removes_its_file(tmp_path: Path) -> None:
    def half_written() -> list[Path]:
        found = []
        for file in unfinished(tmp_path):
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                found += [file] if file.stat().st_size else []
        return found

    writer = start(ENDLESS_WRITER, tmp_path)
    try:
        while not (shards(tmp_path) and half_written()):
            writer.send_signal(signal.SIGCONT)
            time.sleep(0.001)
            writer.send_signal(signal.SIGSTOP)
            os.waitpid(writer.pid, os.WUNTRACED)  # until it has stopped
        DiskCache(tmp_path, PLENTY).store(OTHER, make_rows(range(1, 2)))
        (left,) = unfinished(tmp_path)  # its writer is alive
    finally:
        writer.kill()
        writer.communicate()
    assert unfinished(tmp_path) == [left]
    complete = list((tmp_path / KEY.digest).glob("*.safetensors"))
    rows = make_rows(range(4 * len(complete) + 4), (1024, 1024))
    found = load(tmp_path, rows)
    assert_same(found, dict(list(rows.items())[: 4 * len(complete)]))
    few = make_rows(range(1))
    assert_same(DiskCache(tmp_path, PLENTY).store(OTHER, few), few)
    assert unfinished(tmp_path) == []


CLEARER = """
import sys, threading
from pathlib import Path
from clsbench.fastpath.cache.cache_files import clear
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), done.set()), daemon=True).start()
print("ready", flush=True)
freed = 0
while not done.is_set():
    freed += clear(Path(sys.argv[1])).freed_bytes
print(freed)
"""


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be removed there")
def test_store_and_load_while_another_process_clears_succeed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clearer = start(CLEARER, tmp_path)
    assert clearer.stdout is not None
    assert clearer.stdout.readline() == "ready\n"
    cache = DiskCache(tmp_path, PLENTY)
    kept_at_all = 0
    try:
        for number in range(150):
            rows = make_rows(range(number, number + 2), (16, 16))
            kept = cache.store(KEY, rows)
            assert_same(kept, {key: rows[key] for key in kept})
            kept_at_all += bool(kept)
            found = cache.load(KEY, list(rows))
            assert_same(found, {key: rows[key] for key in found})
    finally:
        out, err = clearer.communicate("stop\n")
    assert (clearer.returncode, err) == (0, "")
    assert int(out) > 0
    assert kept_at_all > 0
    assert warnings_in(caplog) == []


# --- disks that cannot be written -----------------------------------------------------------------

SMALL_DISK = (
    SHARED
    + """
import os, subprocess
cache = DiskCache(directory, PLENTY)
stored = {}
outcomes = []
for start in range(0, 8, 2):
    rows = make_rows(range(start, start + 2), (200, 200))
    kept = cache.store(KEY, rows)
    outcomes.append(len(kept))
    stored |= {key: rows[key] for key in kept}
print(outcomes, [name for name in os.listdir(directory) if name.startswith(".")])
sys.stderr.write("---\\n")
sys.stderr.flush()
subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
cache = DiskCache(directory, PLENTY)
assert_same(cache.load(KEY, list(stored)), stored)
print([len(cache.store(KEY, make_rows(range(20, 22)))) for _ in range(2)])
"""
)


def test_store_on_a_full_or_read_only_disk_warns(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SMALL_DISK)
    mount = f"mount -t tmpfs -o size=800k,mode=700 tmpfs {disk}"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-m", "sh", "-c", mount]).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    command = f"{mount} && {sys.executable} {script} {disk}"
    ended = subprocess.run(
        [unshare, "-m", "sh", "-c", command], capture_output=True, text=True, env=WITH_HELPERS
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == ["[2, 2, 0, 0] []", "[0, 0]"]
    full, _, read_only = ended.stderr.partition("---\n")
    not_cached = "some activations of the frozen prefix are not cached for later runs in"
    assert full == f"{not_cached} {disk}: the disk is full\n"
    # Stored rows were found before.
    assert read_only == f"{not_cached} {disk}: read-only file system\n"


@pytest.mark.parametrize("template", ["{tmp}/file", "{tmp}/file/deep", "/proc/cache", "/dev/full"])
def test_store_in_a_folder_that_cannot_be_made_warns_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, template: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    directory = Path(template.format(tmp=tmp_path))
    cache = DiskCache(directory, PLENTY)
    rows = make_rows(range(2))
    for _ in range(2):
        assert cache.load(KEY, list(rows)) == {}
        assert cache.store(KEY, rows) == {}
    (warning,) = warnings_in(caplog)
    assert str(directory) in warning


@pytest.mark.skipif(os.name == "nt", reason="no such names there")
def test_store_in_a_folder_that_torch_cannot_open_returns_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest-xdist cannot transfer a log record with this name.
    monkeypatch.setattr(logging.getLogger("clsbench.fastpath.cache.disk_cache"), "disabled", True)
    directory = tmp_path / os.fsdecode(b"caf\xe9")
    rows = make_rows(range(2))
    cache = DiskCache(directory, PLENTY)
    for views in (cache.store(KEY, rows), cache.load(KEY, list(rows))):
        assert views == {}


def test_cache_in_a_relative_folder_ignores_later_chdir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = DiskCache(Path("cache"), PLENTY)
    rows = make_rows(range(2))
    cache.store(KEY, rows)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert_same(cache.load(KEY, list(rows)), rows)
