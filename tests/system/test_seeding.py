from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsbench.components.catalog import load_catalog
from clsbench.components.resolve import find_spec, resolve
from clsbench.experiment.run import run_experiment
from clsbench.schema.options import RunOptions
from clsbench.schema.record import RunRecord
from clsbench.system.seeding import seeded, torch_seeded


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


@pytest.mark.parametrize("seed", [0, 123, 2**32 - 1])
def test_seeded_repeats_draws_and_restores_the_generators(seed: int) -> None:
    seed_all(1)
    untouched = draw()
    found = []
    for before in (1, 2):
        seed_all(before)
        with seeded(seed):
            found.append(draw()[:2])
        if before == 1:
            assert draw()[:2] == untouched[:2]
    assert found[0] == found[1]


def test_seeded_ignores_torch_and_torch_seeded_restores_it() -> None:
    seed_all(1)
    untouched = draw()
    seed_all(1)
    with seeded(5):
        pass
    with torch_seeded(5):
        first = draw()
    assert draw() == untouched
    with torch_seeded(5):
        assert draw() == first


def test_torch_seeded_restores_the_generators_after_an_error() -> None:
    seed_all(1)
    untouched = draw()
    seed_all(1)
    with pytest.raises(KeyError), torch_seeded(5):
        raise KeyError
    assert draw() == untouched


def test_torch_seeded_on_a_lost_device_raises_the_blocks_own_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``torch.cuda`` is simulated: one device, which is lost in the block."""

    def lost(*arguments: object) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.zeros(16))
    monkeypatch.setattr(torch.cuda, "set_rng_state", lost)
    seed_all(1)
    untouched = draw()
    seed_all(1)
    with pytest.raises(KeyError), torch_seeded(5):
        raise KeyError
    assert draw() == untouched


# --- components that draw from the global generators ----------------------------------------------


PLUGIN = '''
import random
import numpy as np
import clsbench

class Drawn(clsbench.Dataset):
    """Texts drawn from the global generators."""

    def load(self, files):
        texts = [f"{random.random()} {np.random.rand()}" for _ in range(200)]
        return clsbench.Corpus(class_names=("a", "b"), texts=texts, labels=[0, 1] * 100)

class SomeParameters(clsbench.FreezingStrategy):
    """Trains parameters drawn anew for each epoch."""

    def trainable(self, parameters):
        return [p.name for p in parameters]

    def trainable_at(self, parameters, epoch):
        return random.sample([p.name for p in parameters], 3)

@clsbench.hookimpl
def clsbench_register_datasets():
    return {"drawn": Drawn}

@clsbench.hookimpl
def clsbench_register_freezing_strategies():
    return {"some": SomeParameters}
'''


def planned(folder: Path, **changes: Any) -> RunRecord:
    plugin = folder / "drawing.py"
    plugin.write_text(PLUGIN)
    catalog = load_catalog([str(plugin)])
    spec = {"dataset": "drawn", "backbone": "gpt2-nano", "freezing": "some", "train.epochs": 4}
    experiment = resolve(find_spec("gpt2-sms-spam", catalog), spec | changes, catalog)
    options = RunOptions(device="cpu", threads=1, offline=True)
    return run_experiment(experiment, options, catalog, dry_run=True).record


def test_dry_run_with_drawing_plugins_depends_only_on_the_seed(tmp_path: Path) -> None:
    found = []
    for number in (1, 2):
        seed_all(number)
        record = planned(tmp_path)
        assert record.data is not None
        assert record.parameters is not None
        found.append((record.data.sha256, record.parameters.trainable_by_epoch, record.fingerprint))
    assert found[0] == found[1]
    other = planned(tmp_path, seed=7)
    assert other.data is not None
    assert other.parameters is not None
    assert other.data.sha256 == found[0][0]  # several seeds have one corpus
    assert other.parameters.trainable_by_epoch != found[0][1]
