from __future__ import annotations

from pathlib import Path

import pytest
from asset_server import (
    PATIENT,
    REVISION,
    AssetServer,
    damaged,
    files_below,
    hub_headers,
    put,
    serves,
    sha256,
    status,
    web_asset,
    zipped,
)

from clsbench import Asset, AssetError, HubFile, UsageError
from clsbench.assets import cache_folder, fetch_folder, find, obtain

CORPUS, WEIGHTS = b"ham\thello\n" * 100, bytes(range(256)) * 300


@pytest.fixture
def assets(hub: AssetServer) -> tuple[Asset, Asset]:
    """A corpus in an archive, and weights on the hub without a known hash."""
    corpus = hub.at("/corpus.zip", serves(zipped({"Corpus": CORPUS})))
    hub.at_hub("some-org/gpt2", "model.safetensors", serves(WEIGHTS, **hub_headers(WEIGHTS)))
    return (
        web_asset(CORPUS, corpus, key="corpus/Corpus", member="Corpus"),
        Asset(
            key="gpt2/model.safetensors",
            sources=(HubFile("some-org/gpt2", "model.safetensors", REVISION),),
            sha256=None,
        ),
    )


def test_fetch_folder_fills_a_folder_for_offline_use(
    hub: AssetServer, assets: tuple[Asset, Asset], tmp_path: Path, caches: Path
) -> None:
    folder = tmp_path / "new" / "folder"
    states = fetch_folder(assets, folder, limits=PATIENT)
    assert [(s.state, s.detail) for s in states] == [("found", "downloaded")] * 2
    assert files_below(folder) == {
        "corpus/Corpus",
        "gpt2/model.safetensors",
        "gpt2/model.safetensors.sha256",
    }
    assert files_below(caches) == set()  # no second copy
    asked = len(hub.requests)
    assert [s.state for s in find(assets, folder, caches=False)] == ["found", "found"]
    obtained = obtain(assets, folder=folder, offline=True)
    assert obtained.files["corpus/Corpus"].read_bytes() == CORPUS
    assert obtained.sha256["gpt2/model.safetensors"] == sha256(WEIGHTS)
    assert [s.detail for s in fetch_folder(assets, folder)] == ["already there"] * 2
    assert len(hub.requests) == asked


def test_fetch_folder_copies_cached_files(
    hub: AssetServer, assets: tuple[Asset, Asset], tmp_path: Path
) -> None:
    obtain(assets, folder=None, offline=False, limits=PATIENT)
    asked = len(hub.requests)
    states = fetch_folder(assets, tmp_path / "folder")
    assert [s.detail for s in states] == [
        "copied from the cache",
        "copied from the Hugging Face cache",
    ]
    assert len(hub.requests) == asked
    copy = tmp_path / "folder" / "gpt2" / "model.safetensors"
    assert copy.read_bytes() == WEIGHTS
    assert not copy.is_symlink()
    put(copy, damaged(WEIGHTS))
    assert [s.state for s in find(assets, tmp_path / "folder", caches=False)] == ["found", "wrong"]


def test_fetch_folder_replaces_a_wrong_file(assets: tuple[Asset, Asset], tmp_path: Path) -> None:
    put(tmp_path / "corpus/Corpus", damaged(CORPUS))
    (state, missing) = find(assets, tmp_path, caches=False)
    assert (state.state, state.path) == ("wrong", tmp_path / "corpus/Corpus")
    assert "SHA-256" in state.detail
    assert missing.state == "missing"
    fetch_folder(assets[:1], tmp_path, limits=PATIENT)
    assert (tmp_path / "corpus/Corpus").read_bytes() == CORPUS


def test_fetch_folder_with_an_unavailable_file_keeps_the_others(
    hub: AssetServer, assets: tuple[Asset, Asset], tmp_path: Path
) -> None:
    hub.at_hub("some-org/gpt2", "model.safetensors", status(404))
    with pytest.raises(AssetError, match=r"gpt2/model\.safetensors") as caught:
        fetch_folder(assets, tmp_path / "folder", limits=PATIENT)
    assert "corpus/Corpus" not in str(caught.value)
    assert "HTTP status 404" in str(caught.value)
    assert "no assets folder" not in str(caught.value)
    assert files_below(tmp_path / "folder") == {"corpus/Corpus"}


def test_find_without_caches_searches_the_folder_only(
    assets: tuple[Asset, Asset], tmp_path: Path
) -> None:
    put(cache_folder() / "corpus/Corpus", CORPUS)
    assert [s.state for s in find(assets, tmp_path, caches=False)] == ["missing", "missing"]
    assert [s.state for s in find(assets, tmp_path)] == ["found", "missing"]
    assert [s.state for s in find(assets, None)] == ["found", "missing"]


def test_folder_that_cannot_be_used_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        find([], tmp_path / "nowhere", caches=False)
    with pytest.raises(UsageError, match="cannot be created"):
        fetch_folder([], put(tmp_path / "file", b"") / "folder")
