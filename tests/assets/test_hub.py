from __future__ import annotations

import logging
import os
from pathlib import Path

import msgspec
import pytest
from asset_server import (
    PATIENT,
    REVISION,
    AssetServer,
    Behaviour,
    Slow,
    StallClock,
    breaks_off,
    damaged,
    files_below,
    hub_headers,
    in_turn,
    put,
    serves,
    sha256,
    something_arrived,
    stalls,
    stalls_half_way,
    status,
)

from clsbench import Asset, AssetError, HubFile, WebFile
from clsbench.assets import cache_folder, obtain

WEIGHTS = os.urandom(300_000)
HEADERS = hub_headers(WEIGHTS)
REPOSITORY, FILENAME = "some-org/gpt2", "model.safetensors"
ASSET = Asset(
    key="gpt2/model.safetensors",
    sources=(HubFile(REPOSITORY, FILENAME, REVISION),),
    sha256=sha256(WEIGHTS),
    size_bytes=len(WEIGHTS),
)
UNPINNED = Asset(key=ASSET.key, sources=ASSET.sources, sha256=None)
ONCE = msgspec.structs.replace(PATIENT, rounds=1)


def hub_file(caches: Path) -> Path:
    repository = caches / "hf" / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
    return repository / "snapshots" / REVISION / FILENAME


def test_hub_file_is_stored_in_the_hugging_face_cache(hub: AssetServer, caches: Path) -> None:
    hub.at_hub(REPOSITORY, FILENAME, serves(WEIGHTS, **HEADERS))
    obtained = obtain([ASSET], folder=None, offline=False, limits=PATIENT)
    assert obtained.files == {ASSET.key: hub_file(caches)}
    assert obtained.downloaded == {ASSET.key}
    assert hub_file(caches).is_symlink()
    assert hub_file(caches).read_bytes() == WEIGHTS
    repository = hub_file(caches).parents[2]
    assert files_below(repository) == {
        f"blobs/{sha256(WEIGHTS)}",
        f"snapshots/{REVISION}/{FILENAME}",
    }
    assert not list((caches / "hf" / "hub").glob(".clsbench-*"))

    from huggingface_hub import hf_hub_download, scan_cache_dir

    asked = len(hub.requests)
    found = hf_hub_download(
        REPOSITORY, FILENAME, revision=REVISION, cache_dir=caches / "hf" / "hub"
    )
    assert Path(found) == hub_file(caches)
    (scanned,) = scan_cache_dir(caches / "hf" / "hub").repos
    assert (scanned.repo_id, scanned.size_on_disk) == (REPOSITORY, len(WEIGHTS))
    assert len(hub.requests) == asked

    again = obtain([ASSET], folder=None, offline=True)
    assert again.places == {ASSET.key: "Hugging Face cache"}
    assert len(hub.requests) == asked


def test_hub_file_of_a_data_set_comes_from_its_own_place(hub: AssetServer, caches: Path) -> None:
    hub.at_hub(f"datasets/{REPOSITORY}", FILENAME, serves(WEIGHTS, **HEADERS))
    source = HubFile(REPOSITORY, FILENAME, REVISION, kind="dataset")
    asset = Asset(key="data/train.parquet", sources=(source,), sha256=None)
    obtained = obtain([asset], folder=None, offline=False, limits=PATIENT)
    name = f"datasets--{REPOSITORY.replace('/', '--')}"
    place = caches / "hf" / "hub" / name / "snapshots" / REVISION / FILENAME
    assert obtained.files == {asset.key: place}
    assert place.read_bytes() == WEIGHTS
    again = obtain([asset], folder=None, offline=True)
    assert again.places == {asset.key: "Hugging Face cache"}


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        pytest.param(status(404), "HTTP status 404", id="404"),
        pytest.param(
            status(401, X_Error_Code="GatedRepo"),
            "HTTP status 401, gated; accept its terms on the hub, then set HF_TOKEN",
            id="gated",
        ),
        pytest.param(status(503), "HTTP status 503", id="503"),
        pytest.param(serves(damaged(WEIGHTS), **HEADERS), "SHA-256", id="corrupt"),
        pytest.param(serves(WEIGHTS), "X-Repo-Commit", id="no-hub-at-all"),
        pytest.param(stalls, "no data within 90 s", id="stalls"),
        pytest.param(
            stalls_half_way(WEIGHTS, **HEADERS),
            "stalled after",
            id="stalls-half-way",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_hub_that_fails_leaves_the_hugging_face_cache_unchanged(
    hub: AssetServer, caches: Path, behaviour: Behaviour, reason: str
) -> None:
    hub.at_hub(REPOSITORY, FILENAME, behaviour)
    clock = StallClock(hub, lambda: behaviour is stalls or something_arrived(caches))
    with pytest.raises(AssetError) as caught:
        obtain([ASSET], folder=None, offline=False, limits=ONCE, clock=clock)
    url = f"{hub.url}/{REPOSITORY}/resolve/{REVISION}/{FILENAME}: "
    assert url in str(caught.value)
    assert reason in str(caught.value).partition(url)[2].splitlines()[0]
    assert files_below(caches) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (status(404, X_Error_Code="RepoNotFound"), "404, no such repository, or a private one"),
        (status(404, X_Error_Code="RevisionNotFound"), "404, the repository has no such revision"),
        (status(404, X_Error_Code="EntryNotFound"), "404, the revision has no such file"),
    ],
)
def test_hub_without_the_file_is_reported_with_what_is_missing(
    hub: AssetServer, caches: Path, behaviour: Behaviour, reason: str
) -> None:
    hub.at_hub(REPOSITORY, FILENAME, behaviour)
    with pytest.raises(AssetError, match=reason):
        obtain([ASSET], folder=None, offline=False, limits=ONCE)
    assert files_below(caches) == set()


@pytest.mark.slow
def test_hub_file_of_a_renamed_repository_is_found_under_its_old_name(
    hub: AssetServer, caches: Path
) -> None:
    hub.at_hub("new-org/gpt2", FILENAME, serves(WEIGHTS, **HEADERS))
    moved = f"/new-org/gpt2/resolve/{REVISION}/{FILENAME}"
    hub.at_hub(REPOSITORY, FILENAME, status(307, Location=moved))
    obtained = obtain([ASSET], folder=None, offline=False, limits=ONCE)
    assert obtained.files[ASSET.key].read_bytes() == WEIGHTS


def test_hub_that_always_disconnects_counts_as_stalled(hub: AssetServer, caches: Path) -> None:
    hub.at_hub(REPOSITORY, FILENAME, breaks_off(WEIGHTS, **HEADERS))
    now_seconds = 0.0

    def clock() -> float:
        """Time that passes once the client has tried to resume the download several times."""
        nonlocal now_seconds
        now_seconds += 15.0 if len(hub.requests) > 4 else 0.0
        return now_seconds

    with pytest.raises(AssetError, match=r"stalled after [0-9,]+ bytes: no new data"):
        obtain([ASSET], folder=None, offline=False, limits=ONCE, clock=clock)
    assert files_below(caches) == set()


def test_hub_that_recovers_is_tried_again(hub: AssetServer, caches: Path) -> None:
    hub.at_hub(REPOSITORY, FILENAME, in_turn(status(503), serves(WEIGHTS, **HEADERS)))
    obtain([ASSET], folder=None, offline=False, limits=PATIENT)
    assert hub_file(caches).read_bytes() == WEIGHTS


def test_hub_that_is_slow_completes(hub: AssetServer, caches: Path) -> None:
    source = Slow()
    hub.at_hub(REPOSITORY, FILENAME, source.serves(**hub_headers(source.content)))
    asset = Asset(key="x", sources=ASSET.sources, sha256=sha256(source.content))
    obtained = obtain(
        [asset], folder=None, offline=False, progress=source, limits=ONCE, clock=source.clock
    )
    assert obtained.files["x"].read_bytes() == source.content
    assert source.now_seconds == 20 * 60.0


def test_hub_that_fails_is_replaced_by_the_web_mirror(hub: AssetServer, caches: Path) -> None:
    mirror = WebFile(hub.at("/mirror", serves(WEIGHTS)))
    asset = Asset(key="x/y", sources=(*ASSET.sources, mirror), sha256=sha256(WEIGHTS))
    obtained = obtain([asset], folder=None, offline=False, limits=ONCE)
    assert obtained.files == {"x/y": cache_folder() / "x/y"}


def test_hub_cache_with_a_wrong_file_is_repaired_with_a_warning(
    hub: AssetServer, caches: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hub.at_hub(REPOSITORY, FILENAME, serves(WEIGHTS, **HEADERS))
    obtain([ASSET], folder=None, offline=False, limits=PATIENT)
    hub_file(caches).resolve().write_bytes(damaged(WEIGHTS))
    with caplog.at_level(logging.WARNING):
        obtained = obtain([ASSET], folder=None, offline=False, limits=PATIENT)
    assert "ignored" in caplog.text
    assert obtained.files[ASSET.key].read_bytes() == WEIGHTS


def test_hub_file_without_a_known_hash_is_verified_by_the_hubs(
    hub: AssetServer, caches: Path
) -> None:
    hub.at_hub(REPOSITORY, FILENAME, serves(damaged(WEIGHTS), **HEADERS))
    with pytest.raises(AssetError, match="SHA-256"):
        obtain([UNPINNED], folder=None, offline=False, limits=ONCE)
    assert files_below(caches) == set()
    hub.at_hub(REPOSITORY, FILENAME, serves(WEIGHTS, **HEADERS))
    obtained = obtain([UNPINNED], folder=None, offline=False, limits=ONCE)
    assert obtained.sha256 == {ASSET.key: sha256(WEIGHTS)}


def test_hub_cache_that_is_unwritable_is_replaced_by_our_cache(
    hub: AssetServer, caches: Path
) -> None:
    put(caches / "hf" / "hub", b"a file where a folder should be")
    hub.at_hub(REPOSITORY, FILENAME, serves(WEIGHTS, **HEADERS))
    obtained = obtain([UNPINNED], folder=None, offline=False, limits=PATIENT)
    assert obtained.files == {ASSET.key: cache_folder() / ASSET.key}
    note = cache_folder() / (ASSET.key + ".sha256")
    assert note.read_text().split() == [sha256(WEIGHTS), "model.safetensors"]
    put(cache_folder() / ASSET.key, damaged(WEIGHTS))
    assert obtain([UNPINNED], folder=None, offline=True).files == {}


def test_hub_with_hf_hub_offline_makes_no_connection(
    hub: AssetServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="HF_HUB_OFFLINE is set"):
        obtain([ASSET], folder=None, offline=False, limits=PATIENT)
    assert hub.connections == 0
