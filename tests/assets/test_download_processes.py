"""Downloads by several processes, killed processes, and any server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from asset_server import (
    PATIENT,
    AssetServer,
    Behaviour,
    StallClock,
    breaks_off,
    damaged,
    files_below,
    in_pieces,
    in_turn,
    put,
    running_server,
    serves,
    serves_without_length,
    sha256,
    something_arrived,
    stalls,
    stalls_half_way,
    status,
    web_asset,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from obtaining import CONTENT

from clsbench import AssetError
from clsbench.assets import cache_folder, obtain
from clsbench.system.unfinished import held

OBTAIN = """
import sys
from clsbench import Asset, WebFile
from clsbench.assets import Limits, obtain
url, sha256 = sys.argv[1:]
asset = Asset(key="data/file.bin", sources=(WebFile(url),), sha256=sha256)
limits = Limits(stall_seconds=1e4, silence_seconds=1e4)
print(obtain([asset], folder=None, offline=False, limits=limits).sha256[asset.key])
"""


def start_obtaining(url: str, content: bytes) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OBTAIN, url, sha256(content)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait without a time limit; pytest ends a test that hangs."""
    while not condition():
        time.sleep(0.02)


def test_obtain_in_several_processes_at_once_succeeds_in_each(
    server: AssetServer, caches: Path
) -> None:
    content = os.urandom(1_000_000)
    all_three = threading.Barrier(3)
    url = server.at("/file", in_pieces(content, lambda number: number == 10 and all_three.wait()))
    processes = [start_obtaining(url, content) for _ in range(3)]
    for process in processes:
        out, err = process.communicate()
        assert (process.returncode, out.strip()) == (0, sha256(content)), err
    assert server.count("/file") == 3
    assert files_below(caches / "own") == {"data/file.bin"}


def test_obtain_in_a_killed_process_leaves_no_file_in_place(
    server: AssetServer, caches: Path
) -> None:
    content = os.urandom(1_000_000)
    url = server.at("/file", in_turn(stalls_half_way(content), serves(content)))
    process = start_obtaining(url, content)
    wait_until(lambda: something_arrived(caches))
    process.kill()
    process.communicate()
    assert not (cache_folder() / "data/file.bin").exists()
    asset = web_asset(content, url)
    obtained = obtain([asset], folder=None, offline=False, limits=PATIENT)
    assert obtained.files[asset.key].read_bytes() == content


def test_obtain_when_interrupted_removes_partial_files(server: AssetServer, caches: Path) -> None:
    content = os.urandom(1_000_000)
    process = start_obtaining(server.at("/file", stalls_half_way(content)), content)
    wait_until(lambda: something_arrived(caches))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in err
    assert files_below(caches) == set()


def test_download_removes_partial_files_of_a_killed_process(server: AssetServer) -> None:
    left, busy = (cache_folder() / f".clsbench-partial-{name}" for name in ("left", "busy"))
    for folder in (left, busy):
        put(folder / "files" / "download", b"half")
    asset = web_asset(CONTENT, server.at("/file", serves(CONTENT)))
    with held(busy):
        obtain([asset], folder=None, offline=False, limits=PATIENT)
    assert not left.exists()
    assert busy.exists()


ANYTHING = st.one_of(
    st.just(serves(CONTENT)),
    st.binary(max_size=300).map(serves),
    st.integers(0, len(CONTENT)).map(lambda n: serves(CONTENT[:n])),
    st.integers(0, len(CONTENT)).map(lambda n: serves_without_length(CONTENT[:n])),
    st.sampled_from([400, 401, 404, 410, 416, 429, 500, 503, 204, 304]).map(status),
    st.just(breaks_off(CONTENT)),
    st.just(serves(damaged(CONTENT))),
    st.just(stalls),
)


@pytest.mark.slow
@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ANYTHING, min_size=1, max_size=3), st.lists(ANYTHING, min_size=1, max_size=2))
def test_cache_with_any_server_never_holds_a_wrong_file(
    caches: Path, first: list[Behaviour], second: list[Behaviour]
) -> None:
    place = cache_folder() / "data/file.bin"
    place.unlink(missing_ok=True)
    stop, wrong = threading.Event(), []

    def watch() -> None:
        while not stop.wait(0.005):
            if place.exists() and place.read_bytes() != CONTENT:
                wrong.append(place.read_bytes())

    watcher = threading.Thread(target=watch)
    with running_server() as server:
        asset = web_asset(
            CONTENT, server.at("/1", in_turn(*first)), server.at("/2", in_turn(*second))
        )
        watcher.start()
        try:
            clock = StallClock(server)
            obtained = obtain([asset], folder=None, offline=False, limits=PATIENT, clock=clock)
            assert obtained.files[asset.key].read_bytes() == CONTENT
        except AssetError:
            assert not place.exists()
        finally:
            stop.set()
            watcher.join()
    assert not wrong
    assert files_below(cache_folder()) <= {asset.key}
