"""Where the activations of a prefix are kept, and how cached ones are checked."""

from __future__ import annotations

import gc
import hashlib
import logging
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from components_of_the_catalog import CATALOG
from fast_and_plain import Outcome, Setup, random_splits, train
from tiny_gpt2 import VOCABULARY, WIDTH_TOKENS, TinyGPT2
from torch import Tensor

import clsbench
from clsbench.builtin.freezing_strategies import HeadOnly, LastBlocks
from clsbench.builtin.heads import Linear
from clsbench.builtin.poolings import FirstToken, LastRealToken, LastToken, Mean
from clsbench.components.identity import identify
from clsbench.components.resolve import Experiment, resolve
from clsbench.fastpath import kept_rows, shortcuts
from clsbench.fastpath.cache import disk_cache
from clsbench.fastpath.cache.disk_cache import DiskCache, PrefixKey
from clsbench.fastpath.fast_forward import FastForward, Shortcuts
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.prefix import PrefixStore, Start
from clsbench.fastpath.rows import DistinctRows
from clsbench.fastpath.shortcuts import make_shortcuts
from clsbench.schema.experiment import ExperimentSpec, TrainSettings
from clsbench.schema.options import default_options
from clsbench.schema.quantities import size_text
from clsbench.schema.record import ComponentIdentity

LENGTHS = [9, 4, 1, 0, 9, 5, 5, 7, 3, 8]
FEATURES = 12
ROW_BYTES = WIDTH_TOKENS * FEATURES * 8
POOLED_CUT = 6
"""From this cut on, a row of :class:`Prefix` is one vector."""

BASE = ExperimentSpec(name="mine", dataset="synthetic-sms", backbone="gpt2-nano")


@pytest.fixture(autouse=True)
def warnings_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="clsbench")


class Prefix:
    """A prefix with distinct values for each row and cut, which records the calls."""

    def __init__(self, rows: DistinctRows, features: int = FEATURES) -> None:
        self.rows = rows
        self.features = features
        self.asked: list[tuple[list[int], tuple[int, ...]]] = []

    def __call__(
        self, slots: Tensor, cuts: Sequence[int], start: Start | None
    ) -> Mapping[int, Sequence[Tensor]]:
        self.asked.append((slots.tolist(), tuple(cuts)))
        return {cut: [self.row(slot, cut) for slot in slots.tolist()] for cut in cuts}

    def row(self, slot: int, cut: int) -> Tensor:
        shape: tuple[int, ...] = (int(self.rows.widths[slot]), self.features)
        generator = torch.Generator().manual_seed(1000 * cut + slot)
        row = torch.randn(shape, generator=generator, dtype=torch.float64)
        return row[0] if cut >= POOLED_CUT else row

    def computed(self, cut: int) -> int:
        return sum(len(slots) for slots, cuts in self.asked if cut in cuts)


def rows_of(pooling: clsbench.Pooling | None = None, unpadded: bool = False) -> DistinctRows:
    lengths = sorted(LENGTHS)  # short rows first
    splits = random_splits(1, lengths, WIDTH_TOKENS, VOCABULARY).by_name()
    return DistinctRows(splits, pooling or LastToken(), unpadded)


def fill(
    store: PrefixStore,
    *cuts: int,
    keys: Mapping[int, PrefixKey] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    store.fill({cut: (keys or {}).get(cut) for cut in cuts}, {}, True, progress)


def assert_all_there(store: PrefixStore, compute: Prefix, cut: int) -> None:
    for slot, row in enumerate(store.at(cut, torch.arange(len(compute.rows)))):
        assert torch.equal(row, compute.row(slot, cut))


def key_of(text: str) -> PrefixKey:
    return PrefixKey(hashlib.sha256(text.encode()).hexdigest(), {})


def setup(freezing: clsbench.FreezingStrategy, pooling: clsbench.Pooling | None = None) -> Setup:
    settings = TrainSettings(epochs=3, batch_size=3, eval_every=2, eval_batches=2)
    return Setup(TinyGPT2(), pooling or LastToken(), Linear(), freezing, None, settings)


def run(what: Setup, room: Room | None) -> Outcome:
    splits = random_splits(1, LENGTHS, WIDTH_TOKENS, VOCABULARY)
    return train(what, splits, torch.float64, room)


# --- beyond memory, without a key -----------------------------------------------------------------


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
    tmp_path: Path, freezing: clsbench.FreezingStrategy
) -> None:
    what = setup(freezing)
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


def test_close_frees_memory_immediately(tmp_path: Path) -> None:
    """Without garbage collection."""
    outcome = run(setup(LastBlocks()), Room(10**9, None))
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


def test_temporary_rows_equal_the_computed_rows(tmp_path: Path) -> None:
    rows = rows_of()
    compute = Prefix(rows)
    store = PrefixStore(rows, compute, Room(3 * ROW_BYTES, None, temporary(tmp_path)), WIDTH_TOKENS)
    fill(store, 2, POOLED_CUT)
    computed = len(compute.asked)
    for cut in (2, POOLED_CUT):
        assert_all_there(store, compute, cut)
    assert len(compute.asked) == computed == len(rows)
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_temporary_rows_respect_the_limit_and_free_their_space(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = rows_of()
    compute = Prefix(rows)
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


def test_temporary_rows_and_cached_rows_share_one_limit(tmp_path: Path) -> None:
    rows = rows_of()
    compute = Prefix(rows)
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


# --- beyond memory, freed memory ------------------------------------------------------------------


def test_at_keeps_recomputed_rows_when_memory_is_freed() -> None:
    rows = rows_of()
    compute = Prefix(rows)
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


# --- full cuts ------------------------------------------------------------------------------------


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


# --- cached rows of an earlier run ----------------------------------------------------------------


def try_kept(
    tmp_path: Path,
    change: Callable[[int, Tensor], Tensor],
    unpadded: bool = False,
    dtype: torch.dtype = torch.float64,
) -> int:
    """The number of rows that are used if an earlier run has cached changed ones."""

    class InThisDtype(Prefix):
        def row(self, slot: int, cut: int) -> Tensor:
            return super().row(slot, cut).to(dtype)

    rows = rows_of(LastRealToken(), unpadded)
    compute = InThisDtype(rows)
    cache = DiskCache(tmp_path, 10**9)
    kept = {rows.keys[slot]: change(slot, compute.row(slot, 1)) for slot in range(len(rows))}
    assert cache.store(key_of("1"), kept)
    store = PrefixStore(rows, compute, Room(10**6, cache), WIDTH_TOKENS)
    fill(store, 1, keys={1: key_of("1")})
    facts = store.facts()
    if not facts.found:
        assert_all_there(store, compute, 1)
    return facts.found


def test_lookup_checks_the_longest_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Short texts may agree where longer ones do not, as without a causal mask."""

    def longer_ones(slot: int, row: Tensor) -> Tensor:
        return row if len(row) < 4 else row + 1

    assert try_kept(tmp_path, longer_ones, unpadded=True) == 0
    assert "differ from recomputed ones (by 1)" in caplog.text


def test_lookup_checks_the_shortest_row(tmp_path: Path) -> None:
    """Longer texts may agree where a short one does not."""

    def shortest(slot: int, row: Tensor) -> Tensor:
        return row + 1 if len(row) == 1 else row

    assert try_kept(tmp_path, shortest, unpadded=True) == 0


@pytest.mark.parametrize(
    ("dtype", "same", "other"),
    [(torch.float64, 1e-12, 1e-6), (torch.float32, 1e-6, 2e-3), (torch.bfloat16, 4e-3, 5e-2)],
    ids=str,
)
def test_lookup_tolerance_depends_on_the_precision(
    tmp_path: Path, dtype: torch.dtype, same: float, other: float
) -> None:
    for difference, found in ((same, len(rows_of())), (other, 0)):

        def change(slot: int, row: Tensor, difference: float = difference) -> Tensor:
            return row + difference * row.abs().max()

        assert try_kept(tmp_path / str(difference), change, dtype=dtype) == found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda slot, row: row[:4], "float64 (4, 12) instead of float64 (9, 12)"),
        (lambda slot, row: row[:, :7], "float64 (9, 7) instead of"),
        (lambda slot, row: row[0], "float64 (12,) instead of"),
        (lambda slot, row: row.float(), "float32 (9, 12) instead of"),
        (lambda slot, row: row * torch.nan, "by nan"),
    ],
)
def test_lookup_with_another_shape_dtype_or_nan_recomputes_rows(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[int, Tensor], Tensor],
    said: str,
) -> None:
    assert try_kept(tmp_path, change) == 0
    assert f"differ from recomputed ones ({said}" in caplog.text


def test_store_without_space_hashes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed = 0
    seal = disk_cache.seal

    def count(digest: str, rows: Mapping[str, disk_cache.RowBytes]) -> object:
        nonlocal sealed
        sealed += 1
        return seal(digest, rows)

    monkeypatch.setattr(disk_cache, "seal", count)
    cache = DiskCache(tmp_path, 1000)
    assert cache.store(key_of("1"), {key_of("row").digest: torch.zeros(300)}) == {}
    assert sealed == 0
    assert cache.store(key_of("1"), {key_of("row").digest: torch.zeros(30)})
    assert sealed == 1


# --- limits and keys of a run ---------------------------------------------------------------------


def experiment(pooling: str) -> Experiment:
    return resolve(BASE, {"pooling": pooling}, CATALOG)


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Outcome]:
    """Runs that do not train their backbone, which is the same in each."""
    poolings: dict[str, clsbench.Pooling] = {
        "last-token": LastToken(),
        "mean:include_padding=true": Mean(include_padding=True),
        "last-real-token": LastRealToken(),
        "first-token": FirstToken(),
    }
    return {
        text: run(setup(HeadOnly(), pooling), Room(10**9, None))
        for text, pooling in poolings.items()
    }


def shortcuts_of(
    outcome: Outcome,
    of: Experiment,
    device: str = "cpu",
    identities: Sequence[ComponentIdentity] = (),
    needed_bytes: int = 0,
    **options: str,
) -> Shortcuts:
    assert outcome.plan is not None
    made = make_shortcuts(
        outcome.forward.classifier,
        outcome.plan,
        of,
        identities or identify(of),
        default_options(options),
        torch.device(device),
        WIDTH_TOKENS,
        needed_bytes=needed_bytes,
    )
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("first", "second"),
    [("last-token", "mean:include_padding=true"), ("last-real-token", "first-token")],
)
def test_prefix_keys_of_similar_poolings_agree_before_the_pooling(
    outcomes: dict[str, Outcome], first: str, second: str
) -> None:
    keys = [shortcuts_of(outcomes[text], experiment(text)).key for text in (first, second)]
    one, other = ([key(cut) for cut in range(1, 7)] for key in keys)
    assert one[:3] == other[:3]
    assert not {key.digest for key in one[3:] if key} & {key.digest for key in other[3:] if key}
    assert len({key.digest for key in one if key}) == 6


def test_prefix_keys_with_and_without_padding_differ(outcomes: dict[str, Outcome]) -> None:
    padded, unpadded = (
        shortcuts_of(outcomes[text], experiment(text)).key(3)
        for text in ("last-token", "last-real-token")
    )
    assert padded is not None
    assert unpadded is not None
    assert padded.digest != unpadded.digest
    assert padded.about["texts"] == f"padded to {WIDTH_TOKENS}"
    assert unpadded.about["texts"] == "without padding"


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "0.0.1"},
        {"source_sha256": "ab"},
        {"libraries": {"a": "1"}},
        {"files": {"a.txt": "ab"}},
    ],
)
@pytest.mark.parametrize(
    ("axis", "from_cut"), [("pooling", 6), ("backbone", 1), ("head", 7), ("dataset", 7)]
)
def test_prefix_key_contains_the_identities_of_deciding_components(
    outcomes: dict[str, Outcome], axis: str, from_cut: int, changed: dict[str, Any]
) -> None:
    outcome, mean = outcomes["mean:include_padding=true"], experiment("mean:include_padding=true")
    others = [
        msgspec.structs.replace(each, **changed) if each.axis == axis else each
        for each in identify(mean)
    ]
    key, other = shortcuts_of(outcome, mean).key, shortcuts_of(outcome, mean, identities=others).key
    assert [cut for cut in range(1, 7) if key(cut) != other(cut)] == list(range(from_cut, 7))


def test_prefix_key_contains_the_options_of_a_pooling(outcomes: dict[str, Outcome]) -> None:
    outcome = outcomes["mean:include_padding=true"]
    made = [experiment(text) for text in ("mean:include_padding=true", "mean")]
    for cut, different in ((3, 1), (6, 2)):
        keys = [shortcuts_of(outcome, each).key(cut) for each in made]
        assert len({key.digest for key in keys if key is not None}) == different


def test_cache_disk_0_uses_no_disk(outcomes: dict[str, Outcome]) -> None:
    made = shortcuts_of(outcomes["last-token"], experiment("last-token"), cache_disk="0")
    assert (made.room.disk, made.room.temporary, made.key(3)) == (None, None, None)
    limited = shortcuts_of(outcomes["last-token"], experiment("last-token"), cache_disk="3MB")
    assert limited.room.temporary is not None
    assert limited.room.temporary.limit_bytes == 3 * 10**6


@pytest.mark.parametrize(
    ("needed_bytes", "budget_bytes"), [(0, 500), (400, 500), (800, 200), (2000, 0)]
)
def test_memory_room_by_default_reserves_what_the_run_needs(
    outcomes: dict[str, Outcome],
    monkeypatch: pytest.MonkeyPatch,
    needed_bytes: int,
    budget_bytes: int,
) -> None:
    monkeypatch.setattr(shortcuts, "free_memory_bytes", lambda device: 1000)
    of = experiment("last-token")
    made = shortcuts_of(outcomes["last-token"], of, needed_bytes=needed_bytes)
    assert made.room.memory_bytes == budget_bytes
    asked = shortcuts_of(
        outcomes["last-token"], of, needed_bytes=needed_bytes, cache_memory="1 MiB"
    )
    assert asked.room.memory_bytes == 2**20
