from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from asset_server import REVISION, damaged, put, sha256, web_asset
from hypothesis import given
from hypothesis import strategies as st

from clsbench import Asset, AssetError, HubFile, PluginError, WebFile
from clsbench.assets import cache_folder, locate
from clsbench.assets.places import look, path_below

CONTENT = b"not quite a corpus\n" * 50
ASSET = web_asset(CONTENT, "https://nowhere.invalid/file")
WEIGHTS = Asset(
    key="gpt2/model.safetensors",
    sources=(HubFile("some-org/gpt2", "model.safetensors", REVISION),),
    sha256=sha256(CONTENT),
    size_bytes=len(CONTENT),
)
VOCABULARY_URL = "https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/vocab.bpe"
VOCABULARY = web_asset(CONTENT, VOCABULARY_URL, key="gpt2-tokenizer/vocab.bpe")


def in_hub_cache(caches: Path, content: bytes, name: str | None = None) -> Path:
    """Store a file in the Hugging Face cache as the library does."""
    repository = caches / "hf" / "hub" / "models--some-org--gpt2"
    blob = put(repository / "blobs" / (name or sha256(content)), content)
    pointer = repository / "snapshots" / REVISION / "model.safetensors"
    pointer.parent.mkdir(parents=True)
    pointer.symlink_to(Path("../../blobs") / blob.name)
    return pointer


def in_tiktoken_cache(caches: Path, content: bytes) -> Path:
    return put(caches / "tiktoken" / hashlib.sha1(VOCABULARY_URL.encode()).hexdigest(), content)


def test_locate_without_any_file_returns_none(tmp_path: Path) -> None:
    assert locate(ASSET, tmp_path) is None
    assert locate(WEIGHTS, None) is None
    assert locate(VOCABULARY, None) is None


def test_locate_prefers_the_assets_folder_to_the_cache(tmp_path: Path) -> None:
    cached = put(cache_folder() / ASSET.key, CONTENT)
    assert locate(ASSET, tmp_path) == (cached, sha256(CONTENT), "cache")
    given_file = put(tmp_path / ASSET.key, CONTENT)
    assert locate(ASSET, tmp_path) == (given_file, sha256(CONTENT), "assets folder")


def test_cache_folder_follows_the_environment_variable(caches: Path) -> None:
    assert cache_folder() == caches / "own"


@pytest.mark.parametrize("content", [damaged(CONTENT), CONTENT[:-1], b"", CONTENT + b"\n"])
def test_locate_with_a_wrong_file_in_the_assets_folder_fails(
    tmp_path: Path, content: bytes
) -> None:
    put(cache_folder() / ASSET.key, CONTENT)  # a correct copy elsewhere does not help
    bad = put(tmp_path / ASSET.key, content)
    with pytest.raises(AssetError) as caught:
        locate(ASSET, tmp_path)
    assert str(bad) in str(caught.value)
    assert "expected" in str(caught.value)
    assert "clsbench assets fetch" in str(caught.value)


def test_locate_with_a_folder_in_place_of_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / ASSET.key).mkdir(parents=True)
    with pytest.raises(AssetError, match="it is a folder"):
        locate(ASSET, tmp_path)


def test_look_with_a_wrong_file_in_a_cache_ignores_it_with_a_warning(
    caches: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [
        put(cache_folder() / WEIGHTS.key, damaged(CONTENT)),
        in_hub_cache(caches, damaged(CONTENT), name=sha256(CONTENT)),
    ]
    with caplog.at_level(logging.WARNING):
        located, notes = look(WEIGHTS, None)
    assert located is None
    for path in bad:
        assert any(str(path) in record.message for record in caplog.records)
        assert any(str(path) in note for note in notes)
        assert path.read_bytes() == damaged(CONTENT)


def test_locate_finds_the_pinned_revision_in_the_hugging_face_cache(caches: Path) -> None:
    pointer = in_hub_cache(caches, CONTENT)
    assert locate(WEIGHTS, None) == (pointer, sha256(CONTENT), "Hugging Face cache")
    other = HubFile("some-org/gpt2", "model.safetensors", REVISION[::-1])
    assert locate(Asset(key="x", sources=(other,), sha256=sha256(CONTENT)), None) is None


def test_locate_without_the_model_in_the_hugging_face_cache_does_not_import_its_library() -> None:
    script = (
        "import sys\n"
        "from clsbench import Asset, HubFile\n"
        "from clsbench.assets import locate\n"
        "source = HubFile('some-org/gpt2', 'model.safetensors', '0' * 40)\n"
        "assert locate(Asset(key='x', sources=(source,), sha256=None), None) is None\n"
        "assert 'huggingface_hub.file_download' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_locate_without_a_known_hash_uses_the_hubs(caches: Path) -> None:
    unpinned = Asset(key=WEIGHTS.key, sources=WEIGHTS.sources, sha256=None)
    pointer = in_hub_cache(caches, damaged(CONTENT), name=sha256(CONTENT))
    assert locate(unpinned, None) is None
    pointer.resolve().write_bytes(CONTENT)
    located = locate(unpinned, None)
    assert located is not None
    assert located.sha256 == sha256(CONTENT)


def test_locate_compares_a_file_with_the_hash_stored_beside_it(tmp_path: Path) -> None:
    unpinned = Asset(key="model.bin", sources=WEIGHTS.sources, sha256=None)
    put(tmp_path / "model.bin", CONTENT)
    assert locate(unpinned, tmp_path) is not None
    put(tmp_path / "model.bin.sha256", f"{sha256(b'other')}  model.bin\n".encode())
    with pytest.raises(AssetError, match="SHA-256"):
        locate(unpinned, tmp_path)


def test_locate_finds_vocabularies_in_the_tiktoken_cache(caches: Path) -> None:
    kept = in_tiktoken_cache(caches, CONTENT)
    assert locate(VOCABULARY, None) == (kept, sha256(CONTENT), "tiktoken cache")
    kept.write_bytes(damaged(CONTENT))
    assert locate(VOCABULARY, None) is None


def test_locate_with_the_tiktoken_cache_disabled_ignores_it(
    caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_tiktoken_cache(caches, CONTENT)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
    assert locate(VOCABULARY, None) is None


def test_locate_verifies_the_real_files_of_the_built_ins(assets_dir: Path) -> None:
    from clsbench.components.catalog import load_catalog
    from clsbench.components.resolve import find_spec, resolve

    catalog = load_catalog()
    experiment = resolve(find_spec("gpt2-sms-spam", catalog), {}, catalog)
    assets = experiment.dataset.assets() + experiment.backbone.tokenizer_assets()
    assert {asset.key for asset in assets} >= {
        "sms-spam/SMSSpamCollection",
        "gpt2-tokenizer/vocab.bpe",
        "gpt2-tokenizer/encoder.json",
    }
    for asset in assets:
        located = locate(asset, assets_dir)
        assert located is not None
        assert located.sha256 == asset.sha256


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a\\b", "C:/x"])
def test_locate_with_a_key_outside_its_folder_fails(tmp_path: Path, key: str) -> None:
    with pytest.raises(PluginError, match="asset key"):
        locate(Asset(key=key, sources=(WebFile("http://x.invalid"),), sha256="0" * 64), tmp_path)


@given(st.text(alphabet="./\\:ab", max_size=12))
def test_path_below_with_any_key_stays_below_its_folder(key: str) -> None:
    folder = Path("/somewhere/assets")
    try:
        path = path_below(folder, key)
    except PluginError:
        return
    assert folder in path.parents
    assert ".." not in path.parts
