"""``benchmarks/pretrained.py`` on miniature models: both sides compute the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import save_model

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "pretrained.py"


@pytest.mark.parametrize(("family", "pooling"), [("bert", "mean"), ("llama", "last-real-token")])
def test_race_sides_have_equal_losses_and_are_timed(
    family: str, pooling: str, tmp_path: Path
) -> None:
    assets = os.environ.get("CLSBENCH_ASSETS")
    if not assets or not (Path(assets) / "sms-spam").is_dir():
        pytest.skip("needs the SMS corpus: set CLSBENCH_ASSETS")
    model = save_model(tmp_path / "model", family, max_position_embeddings=1024)
    results = tmp_path / "results.json"
    done = subprocess.run(
        [
            *(sys.executable, SCRIPT, model, "--pooling", pooling, "--threads", "1"),
            *("--rounds", "1", "--budget", "0", "--load-limit", "64", "--whole", "1"),
            *("--epochs", "1", "--json", results),
        ],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    assert found["our_losses"] == pytest.approx(found["their_losses"], abs=1e-5)
    assert found["whole_seconds"].keys() == {"clsbench", "transformers"}
    assert "losses of 4 steps: largest difference" in done.stdout
