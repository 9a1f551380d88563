"""The frozen prefix: rows of earlier runs, checked before use, and keys."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from components_of_the_catalog import CATALOG
from fast_and_plain import CPU, Outcome
from prefix_rows import (
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
from clsbench.builtin.freezing_strategies import HeadOnly
from clsbench.builtin.poolings import FirstToken, LastRealToken, LastToken, Mean
from clsbench.components.identity import identify
from clsbench.components.resolve import Experiment, resolve
from clsbench.fastpath import shortcuts
from clsbench.fastpath.cache import disk_cache
from clsbench.fastpath.cache.disk_cache import DiskCache
from clsbench.fastpath.fast_forward import Shortcuts
from clsbench.fastpath.kept_rows import Room
from clsbench.fastpath.prefix import PrefixStore
from clsbench.fastpath.shortcuts import make_shortcuts
from clsbench.schema.experiment import ExperimentSpec
from clsbench.schema.options import default_options
from clsbench.schema.record import ComponentIdentity

BASE = ExperimentSpec(name="mine", dataset="synthetic-sms", backbone="gpt2-nano")


def try_kept(
    tmp_path: Path,
    change: Callable[[int, Tensor], Tensor],
    unpadded: bool = False,
    dtype: torch.dtype = torch.float64,
    device: torch.device = CPU,
) -> int:
    """The number of rows that are used if an earlier run has cached changed ones."""

    class InThisDtype(Prefix):
        def row(self, slot: int, cut: int) -> Tensor:
            return super().row(slot, cut).to(dtype)

    rows = rows_of(LastRealToken(), unpadded)
    compute = InThisDtype(rows, device=device)
    cache = DiskCache(tmp_path, 10**9)
    kept = {rows.keys[slot]: change(slot, compute.row(slot, 1)).cpu() for slot in range(len(rows))}
    assert cache.store(key_of("1"), kept)
    store = PrefixStore(rows, compute, Room(10**6, cache), WIDTH_TOKENS)
    fill(store, 1, keys={1: key_of("1")})
    facts = store.facts()
    if not facts.found:
        assert_all_there(store, compute, 1)
    return facts.found


def test_facts_have_the_seconds_of_the_run_that_computed_the_activations(tmp_path: Path) -> None:
    """Whether they are found, or a later stage continues from them; unknown without a note."""
    rows, keys = rows_of(), {cut: key_of(str(cut)) for cut in (1, 2)}

    def later(cut: int, below: dict[int, Any]) -> PrefixStore:
        store = PrefixStore(rows, Prefix(rows), Room(10**6, DiskCache(tmp_path, 10**9)), 10**3)
        store.fill({cut: keys[cut]}, below, True, lambda done, total: None)
        return store

    assert later(1, {}).facts().found_seconds == 0
    cache = DiskCache(tmp_path, 10**9)
    cache.note_seconds(keys[1], 0.5)
    half = 0.5 * int(rows.widths.sum())
    assert later(1, {}).facts().found_seconds == half
    continued = later(2, {1: lambda: keys[1]}).facts()
    assert (continued.found, continued.found_seconds) == (0, half)
    assert continued.continued == continued.computed == len(rows)
    found = later(2, {}).facts().found_seconds
    assert found is not None
    assert found > half, "with the time of the stage that it continued"
    for note in ('{"seconds_per_position": "soon"}', '{"seconds_per_position": "nan"}', "{}"):
        (tmp_path / keys[1].digest / "about.json").write_text(note)
        assert later(1, {}).facts().found_seconds is None


def test_lookup_checks_the_longest_row(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, device: torch.device
) -> None:
    """Short texts may agree where longer ones do not, as without a causal mask."""

    def longer_ones(slot: int, row: Tensor) -> Tensor:
        return row if len(row) < 4 else row + 1

    assert try_kept(tmp_path, longer_ones, unpadded=True, device=device) == 0
    assert "differ from recomputed ones (by 1)" in caplog.text


def test_lookup_checks_the_shortest_row(tmp_path: Path, device: torch.device) -> None:
    """Longer texts may agree where a short one does not."""

    def shortest(slot: int, row: Tensor) -> Tensor:
        return row + 1 if len(row) == 1 else row

    assert try_kept(tmp_path, shortest, unpadded=True, device=device) == 0


@pytest.mark.parametrize(
    ("dtype", "same", "other"),
    [(torch.float64, 1e-12, 1e-6), (torch.float32, 1e-6, 2e-3), (torch.bfloat16, 4e-3, 5e-2)],
    ids=str,
)
def test_lookup_tolerance_depends_on_the_precision(
    tmp_path: Path, dtype: torch.dtype, same: float, other: float, device: torch.device
) -> None:
    for difference, found in ((same, len(rows_of())), (other, 0)):

        def change(slot: int, row: Tensor, difference: float = difference) -> Tensor:
            return row + difference * row.abs().max()

        assert try_kept(tmp_path / str(difference), change, dtype=dtype, device=device) == found


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
    device: torch.device,
) -> None:
    assert try_kept(tmp_path, change, device=device) == 0
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
