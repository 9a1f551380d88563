"""Settings of all tests here."""

from __future__ import annotations

import os

# Small models are faster with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")
