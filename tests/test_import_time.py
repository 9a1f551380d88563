"""``import clsbench`` and the light commands load no heavy libraries, so that they are fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch", "numpy", "pandas", "scipy", "sklearn", "matplotlib", "transformers", "tiktoken"
}  # fmt: skip

COMMAND = """
import json, sys
sys.argv = ["clsbench", *json.loads(sys.argv[1])]
from clsbench.cli.main import main
try:
    main()
finally:
    print("MODULES", json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def modules_of(*arguments: str) -> set[str]:
    """The modules that are loaded when the command ends."""
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, json.dumps(arguments)],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.rpartition("MODULES ")[2]))


def test_import_clsbench_loads_no_heavy_libraries() -> None:
    code = "import clsbench, clsbench.cli.main, sys, json; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert not HEAVY & set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["list"],
        ["list", "--json"],
        ["run", "--help"],
        ["show", "gpt2-sms-spam"],
    ],
    ids=" ".join,
)
def test_light_commands_load_no_heavy_libraries(arguments: list[str]) -> None:
    assert not HEAVY & modules_of(*arguments)


def test_help_and_list_import_no_library_that_they_do_not_need() -> None:
    assert not {"logging", "tomllib", "urllib.request"} & modules_of("--help")
    assert not {"ssl", "tarfile", "tomllib", "urllib.request"} & modules_of("list")


def test_dry_run_imports_no_compiler() -> None:
    """Importing ``torch._dynamo`` and SymPy takes as long as importing torch."""
    loaded = modules_of("run", "gpt2-sms-spam", "--offline", "--dry-run")
    assert not {"torch._dynamo", "sympy", "scipy", "sklearn", "matplotlib"} & loaded


_RUN = """
import sys
import clsbench

class Watch:
    loaded = {}

    @clsbench.hookimpl
    def clsbench_phase_started(self, phase):
        self.loaded[phase] = set(sys.modules)

spec = clsbench.ExperimentSpec(
    dataset="synthetic-sms:texts=60", backbone="gpt2-nano:weights=random",
    data=clsbench.DataSettings(balance=False), train=clsbench.TrainSettings(epochs=1),
)
clsbench.run(spec, out=sys.argv[1], observers=[Watch()], curves=False)
late = Watch.loaded["evaluation"] - Watch.loaded["training"]
print(sorted(name for name in late if not name.startswith("clsbench.")))
"""


def test_training_imports_no_library(tmp_path: Path) -> None:
    """It would be counted as time of training."""
    done = subprocess.run([sys.executable, "-c", _RUN, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


def test_prediction_does_not_import_pandas() -> None:
    code = "import clsbench.experiment.predict, sys; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_list_command_does_not_import_other_commands() -> None:
    loaded = {m for m in modules_of("list") if m.startswith("clsbench.cli.")}
    assert "clsbench.cli.commands.list" in loaded
    assert not loaded & {
        "clsbench.cli.commands.run",
        "clsbench.cli.commands.predict",
        "clsbench.cli.commands.results",
        "clsbench.cli.commands.assets",
        "clsbench.cli.commands.doctor",
    }
