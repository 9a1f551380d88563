"""The frozen prefix: rows in memory and on disk, limits, full cuts."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from prefix_rows import (
    FEATURES,
    POOLED_CUT,
    Prefix,
    assert_all_there,
    fill,
    key_of,
    rows_of,
    run,
    setup,
)
from tiny_gpt2 import WIDTH_TOKENS
from torch import Tensor

import clsbench
from clsbench.builtin.freezing_strategies import LastBlocks
from clsbench.fastpath import kept_rows
from clsbench.fastpath.cache.disk_cache import DiskCache
from clsbench.fastpath.fast_forward import FastForward
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.prefix import PrefixStore, Start
from clsbench.schema.quantities import size_text

ROW_BYTES = WIDTH_TOKENS * FEATURES * 8


class Alternating(clsbench.FreezingStrategy):
    """Trains the last block, then only the second, then the last again; its cut returns."""

    def trainable(self, parameters: Sequence[clsbench.ParameterInfo]) -> list[str]:
        return self.trainable_at(parameters, 0)

    def trainable_at(self, parameters: Sequence[clsbench.ParameterInfo], epoch: int) -> list[str]:
        stage = "block.1" if epoch == 1 else "block.2"
        return [parameter.name for parameter in parameters if parameter.stage == stage]


def temporary(directory: Path, limit_bytes: int = 10**9) -> DiskCache:
    return DiskCache(directory, limit_bytes, temporary=True)


@pytest.mark.parametrize("freezing", [LastBlocks(), Alternating()], ids=repr)
def test_rows_without_a_key_are_kept_on_disk_until_the_run_ends(
    tmp_path: Path, freezing: clsbench.FreezingStrategy, device: torch.device
) -> None:
    what = setup(freezing, device=device)
    folder = tmp_path / "cache"
    plain, fast = run(what, None), run(what, Room(2000, None, temporary(folder)))
    assert fast.losses == pytest.approx(plain.losses, rel=1e-9)
    facts = fast.forward.kept()
    assert facts is not None
    assert facts.recomputed == 0
    assert 0 < facts.memory_bytes <= 2000 < facts.disk_bytes
    assert len(list(folder.iterdir())) == 1
    del fast
    gc.collect()
    assert list(folder.iterdir()) == []


def test_close_frees_memory_immediately(tmp_path: Path, device: torch.device) -> None:
    """Without garbage collection."""
    outcome = run(setup(LastBlocks(), device=device), Room(10**9, None))
    gc.disable()
    try:
        assert isinstance(outcome.forward, FastForward)
        store = outcome.forward._store
        assert store is not None
        alive = [weakref.ref(row) for row in store._kept.rows[3] if row is not None]
        assert len(alive) == store.facts().distinct
        outcome.forward.close()
        assert not any(reference() is not None for reference in alive)
    finally:
        gc.enable()


def test_temporary_rows_equal_the_computed_rows(tmp_path: Path, device: torch.device) -> None:
    rows = rows_of()
    compute = Prefix(rows, device=device)
    store = PrefixStore(rows, compute, Room(3 * ROW_BYTES, None, temporary(tmp_path)), WIDTH_TOKENS)
    fill(store, 2, POOLED_CUT)
    computed = len(compute.asked)
    for cut in (2, POOLED_CUT):
        assert_all_there(store, compute, cut)
    assert len(compute.asked) == computed == len(rows)
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_temporary_rows_respect_the_limit_and_free_their_space(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, device: torch.device
) -> None:
    rows = rows_of()
    compute = Prefix(rows, device=device)
    limit_bytes = 6 * ROW_BYTES
    store = PrefixStore(
        rows, compute, Room(0, None, temporary(tmp_path, limit_bytes)), WIDTH_TOKENS
    )
    kept = 0
    for cut in (1, 2):
        fill(store, cut)
        before = store.facts().recomputed
        assert_all_there(store, compute, cut)
        again = store.facts().recomputed - before
        assert cut == 1 or len(rows) - again == kept
        kept = len(rows) - again
        store.drop(cut)
    assert 3 <= kept <= 6
    assert store.facts().disk_bytes == kept * ROW_BYTES
    (warning,) = caplog.messages
    assert warning == (
        f"activations of the frozen prefix that fit neither in memory nor in {tmp_path} are "
        f"computed again each time: the limit of {size_text(limit_bytes)} (--cache-disk) is "
        "reached"
    )
    assert store.problems() == (warning,)


def test_temporary_rows_and_cached_rows_share_one_limit(
    tmp_path: Path, device: torch.device
) -> None:
    rows = rows_of()
    compute = Prefix(rows, device=device)
    limit_bytes = 3 * len(rows) * ROW_BYTES // 2
    room = Room(0, DiskCache(tmp_path / "a", limit_bytes), temporary(tmp_path / "b", limit_bytes))
    store = PrefixStore(rows, compute, room, WIDTH_TOKENS)
    fill(store, 1, keys={1: key_of("1")})
    fill(store, 2)
    assert compute.computed(1) == len(rows)
    assert store.facts().disk_bytes <= limit_bytes
    assert len(store.problems()) == 1


def test_fill_with_an_unusable_disk_stops_early(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    rows = rows_of()
    for memory_bytes in (0, 4 * ROW_BYTES):
        compute = Prefix(rows)
        cache = DiskCache(in_the_way / "cache", 10**9)
        room = Room(memory_bytes, cache, temporary(in_the_way / "other"))
        store = PrefixStore(rows, compute, room, WIDTH_TOKENS)
        fill(store, 2, keys={2: key_of("2")})
        assert compute.computed(2) <= memory_bytes // ROW_BYTES + 1 < len(rows)
        assert len(store.problems()) == 2
        assert all(f"{in_the_way} is not a folder" in problem for problem in store.problems())


def test_seconds_include_recomputed_rows() -> None:
    class Slow(Prefix):
        def __call__(
            self, slots: Tensor, cuts: Sequence[int], start: Start | None
        ) -> Mapping[int, Sequence[Tensor]]:
            time.sleep(0.01)
            return super().__call__(slots, cuts, start)

    rows = rows_of()
    compute = Slow(rows)
    store = PrefixStore(rows, compute, Room(3 * ROW_BYTES, None), WIDTH_TOKENS)
    fill(store, 2)
    for _ in range(3):
        store.at(2, torch.arange(len(rows)))
    assert store.facts().recomputed
    assert store.seconds >= 0.01 * len(compute.asked)


def test_at_keeps_recomputed_rows_when_memory_is_freed(device: torch.device) -> None:
    rows = rows_of()
    compute = Prefix(rows, device=device)
    most_bytes = len(rows) * ROW_BYTES
    store = PrefixStore(rows, compute, Room(most_bytes, None), WIDTH_TOKENS)
    fill(store, 1, 2)
    store.drop(1)
    for _ in range(3):
        assert_all_there(store, compute, 2)
    facts = store.facts()
    assert 0 < facts.recomputed < len(rows), "once at most"
    assert facts.memory_bytes <= most_bytes
    store.drop(2)
    fill(store, 3)
    assert_all_there(store, compute, 3)
    assert store.facts().recomputed == facts.recomputed, "the free memory is counted correctly"


def test_fill_with_several_cuts_limits_waiting_rows_in_total(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_rows, "_SHARD_BYTES", 4 * ROW_BYTES)
    rows = rows_of()
    cache = DiskCache(tmp_path, 10**9)
    store = PrefixStore(rows, Prefix(rows), Room(0, cache), WIDTH_TOKENS)
    keys = {cut: key_of(str(cut)) for cut in (1, 2)}
    fill(store, 1, 2, keys=keys)
    for key in keys.values():
        shards = list((tmp_path / key.digest).glob("*.safetensors"))
        assert len(shards) == -(-len(rows) // 2), "two rows of each cut, four together"


def test_fill_with_a_complete_cut_stops_when_the_other_is_full(tmp_path: Path) -> None:
    rows = rows_of()
    keys = {2: key_of("2")}
    room = Room(0, DiskCache(tmp_path, 10**9))
    fill(PrefixStore(rows, Prefix(rows), room, WIDTH_TOKENS), 2, keys=keys)
    compute = Prefix(rows)
    seen: list[tuple[int, int]] = []
    store = PrefixStore(rows, compute, room, WIDTH_TOKENS)
    fill(store, 1, 2, keys=keys, progress=lambda done, total: seen.append((done, total)))
    assert compute.computed(2) == 4, "the checked rows"
    assert compute.computed(1) < len(rows)
    assert seen[-1] == (len(rows) * WIDTH_TOKENS,) * 2


def test_fill_with_a_small_cut_stops_when_the_other_is_full() -> None:
    """One vector per text never reaches the size of a portion."""
    rows = rows_of()
    compute = Prefix(rows)
    store = PrefixStore(rows, compute, Room(2 * ROW_BYTES, None), WIDTH_TOKENS)
    fill(store, 1, POOLED_CUT)
    assert compute.computed(1) <= 4
    vectors = compute.computed(POOLED_CUT)
    compute.asked.clear()
    assert_all_there(store, compute, POOLED_CUT)
    assert compute.computed(POOLED_CUT) >= len(rows) - vectors
    assert vectors <= 2 * WIDTH_TOKENS


def test_fill_with_a_full_cut_continues_the_others_only(tmp_path: Path) -> None:
    rows = rows_of()
    compute = Prefix(rows)
    disk = DiskCache(tmp_path, 10**9)
    store = PrefixStore(rows, compute, Room(0, disk), WIDTH_TOKENS)
    fill(store, 1, 2, keys={1: key_of("1")})
    assert compute.computed(1) == len(rows)
    assert compute.computed(2) == 1
