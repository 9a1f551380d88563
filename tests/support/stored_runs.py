"""A store of runs."""

from __future__ import annotations

import os
from pathlib import Path

from clsbench.results.store import (
    final_path,
    run_directory,
    write_record,
)
from clsbench.schema.record import RunRecord

NAME = "20251121T101729Z-gpt2-sms-spam-1a2b3c4d"


def store_run(store: Path, record: RunRecord, name: str = NAME) -> Path:
    with run_directory(store, name) as directory:
        write_record(directory, record)
    return final_path(directory)


def entries(store: Path) -> list[str]:
    return sorted(os.listdir(store))
