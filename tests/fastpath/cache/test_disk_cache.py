"""The disk cache: store, load, memory mapping and the limit."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

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
from cached_rows import load, warnings_in
from safetensors import safe_open
from torch import Tensor

from clsbench.fastpath.cache.cache_files import clear
from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey
from clsbench.schema.quantities import size_text


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
