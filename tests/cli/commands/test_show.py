from __future__ import annotations

import tomllib
from pathlib import Path

from command_line import Command

CHANGES = [
    "--freezing",
    "last-blocks:n=2",
    "--adapter",
    "lora:r=4",
    "--set",
    "train.lr=1e-4",
    "--set",
    "data.split=book-ablation",
    "--set",
    "data.padding=64",
    "--set",
    "baselines=['majority']",
    "--set",
    "seed=7",
]


def test_show_includes_all_defaults(in_process: Command) -> None:
    done = in_process("show", "gpt2-sms-spam")
    assert done.returncode == 0, done.stderr
    spec = tomllib.loads(done.stdout)
    assert spec["backbone"] == {
        "name": "gpt2",
        "size": "small",
        "weights": "pretrained",
        "causal": True,
    }
    assert spec["freezing"] == {"name": "last-blocks", "n": 1}
    assert spec["train"]["lr"] == 5e-5
    assert spec["data"]["split"]["name"] == "book"
    assert spec["published"]["accuracy"]["test"] == 0.9567


def test_show_accepts_the_options_of_run(in_process: Command) -> None:
    done = in_process("show", "gpt2-sms-spam", *CHANGES)
    assert done.returncode == 0, done.stderr
    spec = tomllib.loads(done.stdout)
    assert spec["freezing"] == {"name": "last-blocks", "n": 2}
    assert spec["adapter"]["name"] == "lora"
    assert spec["adapter"]["r"] == 4
    assert spec["train"]["lr"] == 1e-4
    assert spec["data"]["split"]["name"] == "book-ablation"
    assert spec["data"]["padding"] == 64
    assert spec["baselines"] == [{"name": "majority"}]
    assert spec["seed"] == 7


def test_show_output_reads_back_as_the_same_experiment(in_process: Command, tmp_path: Path) -> None:
    file = tmp_path / "gpt2-sms-spam.toml"
    first = in_process("show", "gpt2-sms-spam", *CHANGES).stdout
    file.write_text(first, encoding="utf-8")
    assert in_process("show", file).stdout == first


def test_show_with_set_refines_a_component(in_process: Command) -> None:
    done = in_process("show", "gpt2-sms-spam", "--freezing", "last-blocks", "--set", "freezing.n=3")
    assert tomllib.loads(done.stdout)["freezing"] == {"name": "last-blocks", "n": 3}


def test_show_with_adapter_none_removes_the_adapter(in_process: Command, tmp_path: Path) -> None:
    file = tmp_path / "with-lora.toml"
    file.write_text(in_process("show", "gpt2-sms-spam", "--adapter", "lora").stdout)
    assert "adapter" not in tomllib.loads(in_process("show", file, "--adapter", "none").stdout)


def test_show_with_commas_and_quotes_in_options_preserves_them(in_process: Command) -> None:
    done = in_process("show", "gpt2-sms-spam", "--dataset", 'csv:"path=a,b.csv",text=body')
    dataset = tomllib.loads(done.stdout)["dataset"]
    assert dataset["path"] == "a,b.csv"
    assert dataset["text"] == "body"
