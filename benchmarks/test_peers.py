"""The fast path compared with its peers: the book's code, its GPTModelFast, and Hugging Face.

By default on a toy model, which shows that results agree, not the speed. ``-m slow`` compares them
at GPT-2 small's size for the table of the fast path's targets (half an hour). Both write the table
of ``python benchmarks/fast_path.py``, which has more options.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workload import SETTINGS

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def _peers() -> None:
    pytest.importorskip("llms_from_scratch", reason="pip install --no-deps llms-from-scratch")
    pytest.importorskip("transformers", reason="pip install transformers")


@pytest.fixture
def assets(pytestconfig: pytest.Config) -> Path:
    folder = pytestconfig.getoption("--assets") or os.environ.get("CLSBENCH_ASSETS")
    if folder is None:
        pytest.skip("the SMS corpus is read from a folder: --assets DIR")
    return Path(folder)


def race(assets: Path, written: Path, setting: str, *arguments: str) -> dict[str, Any]:
    """Check the result of the setting; its table is printed."""
    command = [sys.executable, str(HERE / "fast_path.py"), setting, "--assets", str(assets)]
    done = subprocess.run(
        [*command, "--json", str(written), *arguments], capture_output=True, text=True
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    (result,) = json.loads(written.read_bytes())["results"]
    assert result["setting"] == setting
    return dict(result)


@pytest.mark.usefixtures("_peers")
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_the_same_work_on_a_toy(assets: Path, setting: str, tmp_path: Path) -> None:
    toy = ("--size", "tiny", "--threads", "1", "--rounds", "6", "--budget", "6")
    result = race(assets, tmp_path / "race.json", setting, *toy)
    assert result["equality"]["ours"] == pytest.approx(result["equality"]["book"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.usefixtures("_peers")
@pytest.mark.parametrize("setting", list(SETTINGS))
def test_the_targets_of_the_fast_path(
    assets: Path, setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Skip the check if other processes disturb too much, or the interval contains the target."""
    with capsys.disabled():
        result = race(assets, tmp_path / "race.json", setting)
    step, promised = result["step"], result["promised_step"]
    if step["ratio"] is None or step["low"] <= promised <= step["high"]:
        pytest.skip(f"{result['verdict']}: repeat on a quieter machine")
    assert step["low"] > promised, result["verdict"]
