"""Downloads: sources, mirrors, limits of time, files that are wrong."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from asset_server import (
    PATIENT,
    AssetServer,
    Behaviour,
    RecordingObserver,
    Slow,
    StallClock,
    breaks_off,
    breaks_off_silently,
    damaged,
    files_below,
    in_turn,
    put,
    sends_without_end,
    serves,
    serves_without_length,
    sha256,
    something_arrived,
    stalls,
    stalls_half_way,
    status,
    web_asset,
)
from obtaining import CONTENT

from clsbench import AssetError, PluginError, UsageError
from clsbench.assets import Limits, cache_folder, obtain

NO_SERVER = "http://127.0.0.1:9/file"


def test_obtain_of_a_missing_file_downloads_it_once(server: AssetServer, caches: Path) -> None:
    asset = web_asset(CONTENT, server.at("/file", serves(CONTENT)))
    watcher = RecordingObserver()
    first = obtain([asset], folder=None, offline=False, progress=watcher, limits=PATIENT)
    assert first.files == {asset.key: caches / "own" / asset.key}
    assert first.files[asset.key].read_bytes() == CONTENT
    assert first.sha256 == {asset.key: sha256(CONTENT)}
    assert first.downloaded == {asset.key}
    assert first.missing == ()
    assert watcher.events[0] == ("started", asset.key, server.url + "/file")
    assert watcher.events[-1] == ("finished", asset.key, True)
    again = obtain([asset], folder=None, offline=False, limits=PATIENT)
    assert again.downloaded == frozenset()
    assert again.files == first.files
    assert server.count("/file") == 1
    assert files_below(caches / "own") == {asset.key}


def test_obtain_of_several_files_keeps_their_order(server: AssetServer) -> None:
    contents = {f"set/{n}": os.urandom(1000 + n) for n in range(6)}
    assets = [
        web_asset(content, server.at(f"/{key}", serves(content)), key=key)
        for key, content in contents.items()
    ]
    obtained = obtain([*assets, assets[0]], folder=None, offline=False, limits=PATIENT)
    assert list(obtained.files) == list(contents)
    assert {key: path.read_bytes() for key, path in obtained.files.items()} == contents


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(status(404), id="404"),
        pytest.param(status(503), id="503"),
        pytest.param(serves(damaged(CONTENT)), id="corrupt"),
        pytest.param(serves(b""), id="empty"),
        pytest.param(serves(CONTENT + b"more"), id="too-long"),
        pytest.param(breaks_off(CONTENT), id="truncated"),
        pytest.param(breaks_off_silently(CONTENT), id="truncated-without-length"),
        pytest.param(stalls, id="stalls"),
        pytest.param(stalls_half_way(CONTENT), id="stalls-half-way", marks=pytest.mark.slow),
        pytest.param(sends_without_end, id="endless"),
    ],
)
def test_obtain_with_a_failing_first_source_uses_the_mirror(
    server: AssetServer, caches: Path, first: Behaviour
) -> None:
    asset = web_asset(
        CONTENT, server.at("/first", first), server.at("/mirror", serves_without_length(CONTENT))
    )
    clock = StallClock(server)
    obtained = obtain([asset], folder=None, offline=False, limits=PATIENT, clock=clock)
    assert obtained.files[asset.key].read_bytes() == CONTENT
    assert files_below(caches / "own") == {asset.key}
    assert server.count("/first") == 1


@pytest.mark.parametrize(
    "once",
    [
        pytest.param(status(503), id="503"),
        pytest.param(status(429), id="429"),
        pytest.param(breaks_off(CONTENT), id="truncated"),
        pytest.param(breaks_off_silently(CONTENT), id="truncated-without-length"),
        pytest.param(stalls, id="stalls"),
        pytest.param(stalls_half_way(CONTENT), id="stalls-half-way", marks=pytest.mark.slow),
    ],
)
def test_obtain_from_a_source_that_recovers_tries_again(
    server: AssetServer, once: Behaviour
) -> None:
    asset = web_asset(CONTENT, server.at("/file", in_turn(once, serves(CONTENT))))
    clock = StallClock(server)
    obtained = obtain([asset], folder=None, offline=False, limits=PATIENT, clock=clock)
    assert obtained.files[asset.key].read_bytes() == CONTENT
    assert server.count("/file") == 2


@pytest.mark.parametrize(
    ("behaviour", "reason", "requests"),
    [
        pytest.param(status(404), "HTTP status 404", 1, id="404"),
        pytest.param(status(503), "HTTP status 503 (tried 2 times)", 2, id="503"),
        pytest.param(serves(damaged(CONTENT)), "SHA-256", 1, id="corrupt"),
        pytest.param(serves(b"short"), "5 bytes, expected 128,000", 2, id="short"),
        pytest.param(stalls, "no data within 90 s (tried 2 times)", 2, id="stalls"),
        pytest.param(
            stalls_half_way(CONTENT),
            "stalled after",
            2,
            id="stalls-half-way",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_obtain_without_a_working_source_reports_what_was_tried(
    server: AssetServer,
    tmp_path: Path,
    caches: Path,
    behaviour: Behaviour,
    reason: str,
    requests: int,
) -> None:
    asset = web_asset(CONTENT, server.at("/file", behaviour), NO_SERVER)
    half_way = reason == "stalled after"
    clock = StallClock(server, lambda: not half_way or something_arrived(caches))
    with pytest.raises(AssetError) as caught:
        obtain([asset], folder=tmp_path, offline=False, limits=PATIENT, clock=clock)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert f"{server.url}/file: " in text
    assert reason in text
    assert f"{NO_SERVER}: Connection refused" in text
    assert f"not in the assets folder ({tmp_path / asset.key})" in text
    assert str(cache_folder() / asset.key) in text
    for remedy in ("clsbench assets fetch DIR", "--assets DIR", "--offline"):
        assert remedy in text
    assert server.count("/file") == requests
    assert files_below(caches) == set()


def test_obtain_from_an_unknown_host_reports_the_name(caches: Path) -> None:
    asset = web_asset(CONTENT, "http://no-such-host.invalid/file")
    with pytest.raises(AssetError, match="cannot be resolved"):
        obtain([asset], folder=None, offline=False, limits=PATIENT)


def test_download_that_progresses_longer_than_every_limit_completes(
    server: AssetServer,
) -> None:
    source = Slow()
    asset = web_asset(source.content, server.at("/file", source.serves()))
    limits = Limits(stall_seconds=90.0, silence_seconds=90.0, rounds=1)
    obtained = obtain(
        [asset], folder=None, offline=False, progress=source, limits=limits, clock=source.clock
    )
    assert obtained.files[asset.key].read_bytes() == source.content
    assert source.now_seconds == 20 * 60.0
    seen = [event[2] for event in source.events if event[0] == "received"]
    assert seen == sorted(seen)  # type: ignore[type-var]
    totals = {event[3] for event in source.events if event[0] == "received"}
    assert totals == {len(source.content)}


def test_obtain_without_any_response_ends_all_downloads_together(
    server: AssetServer, caches: Path
) -> None:
    for n in range(6):
        server.at(f"/{n}", stalls if n % 2 else stalls_half_way(CONTENT))
    assets = [
        web_asset(CONTENT, f"{server.url}/{n}", f"{server.url}/{5 - n}", key=f"set/{n}")
        for n in range(3)
    ]
    limits = Limits(stall_seconds=1.5, silence_seconds=6.0, rounds=100)
    clock = StallClock(server, step=0.1)
    with pytest.raises(AssetError) as caught:
        obtain(assets, folder=None, offline=False, limits=limits, clock=clock)
    assert clock.now_seconds < 20
    assert all(f"set/{n}" in str(caught.value) for n in range(3))
    assert files_below(caches) == set()


def test_obtain_without_data_from_any_source_in_time_fails(server: AssetServer) -> None:
    asset = web_asset(CONTENT, server.at("/file", stalls))
    limits = Limits(stall_seconds=1000.0, silence_seconds=5.0)
    with pytest.raises(AssetError, match="no data from any source for 5 s"):
        obtain([asset], folder=None, offline=False, limits=limits, clock=itertools.count().__next__)


@pytest.mark.slow
def test_obtain_without_any_response_fails_within_thirty_seconds(hub: AssetServer) -> None:
    from clsbench.components.catalog import load_catalog
    from clsbench.components.resolve import find_spec, resolve

    catalog = load_catalog()
    experiment = resolve(find_spec("gpt2-sms-spam", catalog), {}, catalog)
    for path in ("/a", "/b"):
        hub.at(path, stalls)
    (weights,) = set(experiment.backbone.assets()) - set(experiment.backbone.tokenizer_assets())
    source = weights.sources[0]
    hub.at(f"/{source.repository}/resolve/{source.revision}/{source.filename}", stalls)  # type: ignore[union-attr]
    assets = [web_asset(CONTENT, hub.url + "/a", hub.url + "/b", key=f"{n}") for n in range(5)]
    clock = StallClock(hub, step=0.02)
    with pytest.raises(AssetError):
        obtain([*assets, weights], folder=None, offline=False, clock=clock)
    assert clock.now_seconds < 30


def test_obtain_offline_makes_no_connection(hub: AssetServer, tmp_path: Path) -> None:
    present = web_asset(CONTENT, hub.at("/present", serves(CONTENT)), key="present")
    absent = web_asset(CONTENT, hub.at("/absent", serves(CONTENT)), key="absent")
    put(tmp_path / "present", CONTENT)
    obtained = obtain([present, absent], folder=tmp_path, offline=True)
    assert obtained.files == {"present": tmp_path / "present"}
    assert [missing.asset for missing in obtained.missing] == [absent]
    assert str(tmp_path / "absent") in " ".join(obtained.missing[0].tried)
    assert obtained.downloaded == frozenset()
    assert hub.connections == 0


def test_obtain_with_a_wrong_file_in_the_assets_folder_fails_even_offline(
    server: AssetServer, tmp_path: Path
) -> None:
    asset = web_asset(CONTENT, server.at("/file", serves(CONTENT)))
    put(tmp_path / asset.key, damaged(CONTENT))
    for offline in (True, False):
        with pytest.raises(AssetError, match="SHA-256"):
            obtain([asset], folder=tmp_path, offline=offline)
    assert server.connections == 0


def test_obtain_with_a_wrong_file_in_the_cache_replaces_it(
    server: AssetServer, caches: Path
) -> None:
    asset = web_asset(CONTENT, server.at("/file", serves(CONTENT)))
    put(cache_folder() / asset.key, damaged(CONTENT))
    obtained = obtain([asset], folder=None, offline=False, limits=PATIENT)
    assert obtained.downloaded == {asset.key}
    assert (cache_folder() / asset.key).read_bytes() == CONTENT


def test_obtain_with_a_missing_assets_folder_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        obtain([], folder=tmp_path / "nowhere", offline=True)


def test_obtain_of_two_assets_with_one_key_is_a_plugin_error() -> None:
    with pytest.raises(PluginError, match=r"key 'data/file\.bin'"):
        obtain(
            [web_asset(b"one", NO_SERVER), web_asset(b"two", NO_SERVER)],
            folder=None,
            offline=True,
        )


def test_obtain_with_an_unwritable_cache_reports_it(
    server: AssetServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLSBENCH_CACHE", str(put(tmp_path / "a-file", b"") / "cache"))
    asset = web_asset(CONTENT, server.at("/file", serves(CONTENT)))
    with pytest.raises(AssetError, match="cannot be stored"):
        obtain([asset], folder=None, offline=False, limits=PATIENT)
