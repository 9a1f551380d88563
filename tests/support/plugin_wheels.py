"""Distributions with entry points, installed by pip without a network."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

PIP = ("install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")


def install(
    target: Path, name: str, files: Mapping[str, str], entry_points: Mapping[str, str]
) -> None:
    """Make a wheel of ``files`` and let pip install it into the folder ``target``."""
    module = name.replace("-", "_")
    info = f"{module}-1.2.3.dist-info"
    points = "".join(f"{point} = {value}\n" for point, value in entry_points.items())
    contents = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        "Tag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[clsbench]\n{points}",
    }
    wheel = target.parent / f"{module}-1.2.3-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in contents.items():
            archive.writestr(path, content)
        record = "".join(f"{path},,\n" for path in [*contents, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    subprocess.run(
        [sys.executable, "-m", "pip", *PIP, "--target", str(target), str(wheel)],
        check=True,
        capture_output=True,
    )
