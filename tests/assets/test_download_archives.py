"""Downloads of archives: one member, bounded and checked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from asset_server import (
    PATIENT,
    AssetServer,
    Behaviour,
    damaged,
    files_below,
    sends_without_end,
    serves,
    sha256,
    web_asset,
    zipped,
)
from obtaining import CONTENT

from clsbench import Asset, AssetError, WebFile
from clsbench.assets import obtain


def test_obtain_of_an_archive_extracts_one_member_only(
    server: AssetServer, tmp_path: Path, caches: Path
) -> None:
    archive = zipped(
        {
            "../../../evil": b"evil",
            "/evil": b"evil",
            "readme": b"read me",
            "Collection": CONTENT,
            "Collection/../../evil": b"evil",
        }
    )
    asset = web_asset(CONTENT, server.at("/zip", serves(archive)), member="Collection")
    obtained = obtain([asset], folder=None, offline=False, limits=PATIENT)
    assert obtained.files[asset.key].read_bytes() == CONTENT
    assert obtained.sha256[asset.key] == sha256(CONTENT)
    assert files_below(tmp_path) == {f"caches/own/{asset.key}"}
    assert not Path("/evil").exists()


def test_obtain_of_a_member_with_a_path_outside_stores_it_at_its_key(
    server: AssetServer, tmp_path: Path, caches: Path
) -> None:
    archive = zipped({"../../evil": CONTENT})
    asset = web_asset(CONTENT, server.at("/zip", serves(archive)), member="../../evil")
    obtain([asset], folder=None, offline=False, limits=PATIENT)
    assert files_below(tmp_path) == {f"caches/own/{asset.key}"}


@pytest.mark.parametrize(
    ("archive", "reason"),
    [
        pytest.param(zipped({"other": CONTENT}), "no member 'Collection'", id="other-member"),
        pytest.param(zipped({"x/Collection": CONTENT}), "no member", id="deeper-member"),
        pytest.param(zipped({"Collection": damaged(CONTENT)}), "SHA-256", id="wrong-member"),
        pytest.param(zipped({"Collection": b"short"}), "expected 128,000", id="short-member"),
        pytest.param(CONTENT, "not a valid zip archive", id="no-archive"),
        pytest.param(zipped({"Collection": CONTENT})[:-30], "not a valid zip", id="cut-archive"),
    ],
)
def test_obtain_with_an_unusable_archive_uses_the_mirror(
    server: AssetServer, caches: Path, archive: bytes, reason: str
) -> None:
    first = server.at("/zip", serves(archive))
    asset = web_asset(CONTENT, first, member="Collection")
    once = msgspec.structs.replace(PATIENT, rounds=1)
    with pytest.raises(AssetError, match=reason):
        obtain([asset], folder=None, offline=False, limits=once)
    assert files_below(caches) == set()
    mirror = server.at("/mirror", serves(zipped({"Collection": CONTENT})))
    asset = web_asset(CONTENT, first, mirror, member="Collection")
    obtain([asset], folder=None, offline=False, limits=once)
    assert files_below(caches) == {f"own/{asset.key}"}


@pytest.mark.parametrize(
    ("behaviour", "member", "reason"),
    [
        pytest.param(sends_without_end, None, "more than the allowed", id="endless"),
        pytest.param(
            sends_without_end, "Collection", "more than the allowed", id="endless-archive"
        ),
        pytest.param(
            serves(zipped({"Collection": bytes(200_000)})),
            "Collection",
            "larger than it should be",
            id="member",
        ),
    ],
)
def test_download_of_unknown_size_is_bounded_by_the_catalog(
    server: AssetServer, caches: Path, behaviour: Behaviour, member: str | None, reason: str
) -> None:
    source = WebFile(server.at("/file", behaviour), member)
    asset = Asset(key="a", sources=(source,), sha256="0" * 64, largest_bytes=100_000)
    with pytest.raises(AssetError, match=reason):
        obtain([asset], folder=None, offline=False, limits=PATIENT)
    assert files_below(caches) == set()
