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


def test_every_default_is_written_out(clsbench: Command) -> None:
    done = clsbench("show", "gpt2-sms-spam")
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


def test_the_same_changes_as_run(clsbench: Command) -> None:
    done = clsbench("show", "gpt2-sms-spam", *CHANGES)
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


def test_what_it_prints_reads_back_as_the_same(clsbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "gpt2-sms-spam.toml"
    first = clsbench("show", "gpt2-sms-spam", *CHANGES).stdout
    file.write_text(first, encoding="utf-8")
    assert clsbench("show", file).stdout == first


def test_later_changes_refine_a_component(clsbench: Command) -> None:
    done = clsbench("show", "gpt2-sms-spam", "--freezing", "last-blocks", "--set", "freezing.n=3")
    assert tomllib.loads(done.stdout)["freezing"] == {"name": "last-blocks", "n": 3}


def test_an_adapter_is_taken_away(clsbench: Command, tmp_path: Path) -> None:
    file = tmp_path / "with-lora.toml"
    file.write_text(clsbench("show", "gpt2-sms-spam", "--adapter", "lora").stdout)
    assert "adapter" not in tomllib.loads(clsbench("show", file, "--adapter", "none").stdout)


def test_options_that_hold_commas_and_quotes(clsbench: Command) -> None:
    done = clsbench("show", "gpt2-sms-spam", "--dataset", 'csv:"path=a,b.csv",text=body')
    dataset = tomllib.loads(done.stdout)["dataset"]
    assert dataset["path"] == "a,b.csv"
    assert dataset["text"] == "body"
