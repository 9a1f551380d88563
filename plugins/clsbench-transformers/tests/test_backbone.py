"""The backbone keeps to the contract of clsbench."""

from __future__ import annotations

from pathlib import Path

import pytest
from clsbench_transformers import HF
from clsbench_transformers.families import FAMILIES
from miniatures import save_model

from clsbench import testing


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_backbone_of_every_family_conforms(family: str, tmp_path: Path) -> None:
    testing.check_backbone(HF(model=str(save_model(tmp_path, family))))


def test_backbone_random_weights_conform(tmp_path: Path) -> None:
    testing.check_backbone(HF(model=str(save_model(tmp_path, "bert")), weights="random"))
