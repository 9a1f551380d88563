"""Invalid input: the exit code, and an error that says what is wrong, where, and how to fix it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click
from command_line import Command

from clsbench.cli.errors import LONGEST_MESSAGE, report_error, report_unexpected
from clsbench.cli.main import app


def refused(done: subprocess.CompletedProcess[str], *texts: str, code: int = 2) -> None:
    """Assert that stderr holds the texts without traceback or box, and that stdout is empty."""
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not set("╭│╰") & set(done.stderr)
    assert done.stderr.startswith("error: ")
    for text in texts:
        assert text in done.stderr


@pytest.mark.parametrize("command", ["run", "show"])
@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (
            ["gpt2-sms-spamm"],
            ["unknown experiment 'gpt2-sms-spamm'; did you mean 'gpt2-sms-spam'?"],
        ),
        (
            ["gpt2-sms-spam", "--freezing", "last-block"],
            ["unknown freezing strategy 'last-block'; did you mean 'last-blocks'?"],
        ),
        (
            ["gpt2-sms-spam", "--freezing", "last-blocks:m=2"],
            ["freezing_strategy 'last-blocks': unknown key 'm'", "n"],
        ),
        (
            ["gpt2-sms-spam", "--freezing", "last-blocks:n=0"],
            ["freezing_strategy 'last-blocks': n = '0': expected int >= 1"],
        ),
        (
            ["gpt2-sms-spam", "--freezing", "last-blocks:2"],
            ["'2' is not an option=value pair; write name:option=value"],
        ),
        (
            ["gpt2-sms-spam", "--backbone", "gpt2:size=tiny"],
            ["backbone 'gpt2': size = 'tiny'", "small, xl"],
        ),
        (
            ["gpt2-sms-spam", "--set", "train.learning_rate=1"],
            ["unknown key 'learning_rate' in train"],
        ),
        (["gpt2-sms-spam", "--set", "train.ephocs=1"], ["did you mean 'epochs'?"]),
        (["gpt2-sms-spam", "--set", "train.epochs=0"], ["train.epochs = '0': expected int >= 1"]),
        (["gpt2-sms-spam", "--set", "train.lr"], ["'train.lr' is not KEY=VALUE"]),
        (["gpt2-sms-spam", "--set", "name="], ["name = '': an experiment's name cannot be empty"]),
        (["gpt2-sms-spam", "--set", "seed.x=1"], ["seed.x cannot be set"]),
        (
            ["gpt2-sms-spam", "--set", "data.split={train=1"],
            ["data.split.name = '{train=1'", "is not a valid TOML value"],
        ),
        (["gpt2-sms-spam", "--set", "trian.epochs=[1,2"], ["did you mean 'train'?"]),
        (
            ["gpt2-sms-spam", "--freezing", "all", "--set", "freezing=head-only"],
            ["freezing is set twice: to 'all' and to 'head-only'"],
        ),
        (
            [
                "gpt2-sms-spam",
                "--set",
                "data.split.train=0.9",
                "--set",
                "data.split.validation=0.2",
            ],
            ["must be less than 1"],
        ),
        (["gpt2-sms-spam", "--set", "data.padding=none"], ["requires train.batch_size=1"]),
        (["gpt2-sms-spam", "--set", "data.split=b\udcffook"], ["is not text in UTF-8"]),
        (["nowhere.toml"], ["the experiment file nowhere.toml cannot be read"]),
        (["gpt2-sms-spam", "--frezing", "all"], ["--frezing", "--freezing"]),
        ([], ["Missing argument", "see clsbench"]),
    ],
    ids=lambda value: ascii(" ".join(value))[:60] if isinstance(value, list) else None,
)
def test_run_and_show_invalid_arguments_are_refused(
    in_process: Command, command: str, arguments: list[str], texts: list[str]
) -> None:
    refused(in_process(command, *arguments), *texts)


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--device", "gpu"], ["'gpu' is not valid; expected auto", "cuda:1"]),
        (["--precision", "fp16"], ["'fp16'", "fp32"]),
        (["--threads", "0"], ["0 is not in the range x>=1"]),
        (
            ["--out", ""],
            ["Invalid value for '--out'", "'' is not a folder (use '.' for the current one)"],
        ),
        (["--assets", " "], ["' ' is not a folder"]),
        (["--threads", "two"], ["'two' is not a valid integer"]),
        (["--seeds", "1,2,x"], ["'1,2,x' is not a list of integers; example: --seeds 123,124,125"]),
        (["--seeds", "1,2,1"], ["'1,2,1' names a seed twice"]),
        (["--seeds", "1,-2"], ["seed = -2: expected int >= 0"]),
        (["--seeds", "1,2", "--set", "seed=3"], ["--seeds and --set seed=… cannot be combined"]),
        (["extra"], ["unexpected extra argument (extra)", "see clsbench run --help"]),
    ],
    ids=" ".join,
)
def test_run_invalid_options_are_refused(
    in_process: Command, arguments: list[str], texts: list[str]
) -> None:
    refused(in_process("run", "gpt2-sms-spam", *arguments), *texts)


def test_run_toml_syntax_error_shows_the_line(in_process: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('dataset = "sms-spam"\nbackbone = gpt2\n')
    refused(
        in_process("run", file),
        f"{file} is not valid TOML: ",
        "\n  line 2: backbone = gpt2\n",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('dataset = "sms-spam"\n', "backbone is required and was not given"),
        ('dataset = "a"\nbackbone = "b"\npoolings = "c"\n', "did you mean 'pooling'?"),
        ('dataset = "a"\nbackbone = "b"\n[train]\nepochs = "many"\n', "train.epochs = 'many'"),
        ('dataset = "a"\nbackbone = "gpt2"\n', "unknown dataset 'a'"),
        ('dataset = "sms-spam"\nbackbone = {size = "small"}\n', "requires a name"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_run_toml_with_wrong_content_is_refused(
    in_process: Command, tmp_path: Path, text: str | bytes, message: str
) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(in_process("run", file), str(file), message)


def test_run_command_line_error_does_not_name_the_file(in_process: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('dataset = "synthetic-sms"\nbackbone = "gpt2-nano"\n')
    done = in_process("run", file, "--pooling", "sum")
    refused(done, "unknown pooling 'sum'")
    assert str(file) not in done.stderr


def test_run_wrong_file_in_assets_folder_exits_with_3(in_process: Command, tmp_path: Path) -> None:
    wrong = tmp_path / "assets" / "sms-spam" / "SMSSpamCollection"
    wrong.parent.mkdir(parents=True)
    wrong.write_text("ham\tnot the corpus\n")
    arguments = ["--offline", "--assets", tmp_path / "assets"]
    done = in_process("--quiet", "run", "gpt2-sms-spam", *arguments)
    refused(done, str(wrong), "expected 477,907", code=3)


def test_run_missing_user_file_gets_no_stand_in(in_process: Command) -> None:
    done = in_process(
        "--quiet", "run", "gpt2-sms-spam", "--offline", "--dataset", "csv:path=nowhere.csv"
    )
    refused(done, "nowhere.csv")


# --- plugins --------------------------------------------------------------------------------------


@pytest.mark.parametrize("through", ["option", "environment"])
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "file not found"),
        ("import nothing_of_that_name\n", "cannot be imported: ModuleNotFoundError"),
        ("x = (\n", "cannot be imported: SyntaxError"),
        ("", "has no hooks"),
        (
            "import clsbench\n@clsbench.hookimpl\ndef clsbench_register_backbone(): return {}\n",
            "did you mean 'clsbench_register_backbones'?",
        ),
        (
            "import clsbench\n@clsbench.hookimpl\ndef clsbench_register_heads(): return {'x': 1}\n",
            "expected a class derived from clsbench.Head",
        ),
        (
            "import clsbench\nclass H(clsbench.Head):\n    'A head.'\n"
            "@clsbench.hookimpl\ndef clsbench_register_heads(): return {'linear': H}\n",
            "the head name 'linear' is already taken by clsbench",
        ),
    ],
)
def test_named_plugin_that_fails_is_refused(
    in_process: Command, tmp_path: Path, through: str, source: str | None, message: str
) -> None:
    file = tmp_path / "mine.py"
    if source is not None:
        file.write_text(source)
    if through == "option":
        done = in_process("--plugin", file, "list")
    else:
        done = in_process("list", env={"CLSBENCH_PLUGINS": f"{os.pathsep}{file}"})
    refused(done, f"plugin {file}", message)


def commands(group: click.Group, path: str = "clsbench") -> Iterator[tuple[str, click.Command]]:
    """Every command below ``group``, with the words that name it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        _, command, _ = group.resolve_command(context, [name])
        assert command is not None
        yield f"{path} {name}", command
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")


# --- the group ------------------------------------------------------------------------------------


def test_unknown_command_is_refused_with_close_match(in_process: Command) -> None:
    refused(in_process("rum"), "unknown command 'rum'; did you mean 'run'?")


@pytest.mark.parametrize(
    "words", ["--verbose --quiet list", "-v list -q", "list -v -q", "cache -v list -q"]
)
def test_verbose_with_quiet_before_or_after_the_command_is_refused(
    words: str, in_process: Command
) -> None:
    refused(in_process(*words.split()), "cannot be combined")


def test_commands_all_accept_the_global_options() -> None:
    missing = {
        path: names
        for path, command in commands(app)
        if (names := {"plugins", "verbose", "quiet"} - {each.name for each in command.params})
    }
    assert not missing


def test_commands_use_the_same_option_names() -> None:
    options = {
        path: {option for each in command.params for option in each.opts}
        for path, command in commands(app)
        if not isinstance(command, click.Group)
    }
    assert not [path for path, names in options.items() if "--json" not in names]
    assert not [path for path, names in options.items() if ("-o" in names) != ("--output" in names)]
    forms = {
        path: each.type.choices
        for path, command in commands(app)
        for each in command.params
        if "--format" in each.opts and isinstance(each.type, click.Choice)
    }
    assert not [path for path, choices in forms.items() if "json" in choices]


def test_plugin_option_before_and_after_the_command_loads_both(
    clsbench: Command, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(
            "import clsbench\n"
            "class Mine(clsbench.Head):\n    'A head.'\n"
            f"@clsbench.hookimpl\ndef clsbench_register_heads(): return {{'{name}': Mine}}\n"
        )
    done = clsbench(
        "--plugin", tmp_path / "one.py", "list", "heads", "--plugin", tmp_path / "two.py"
    )
    assert done.returncode == 0, done.stderr
    assert "one  " in done.stdout
    assert "two  " in done.stdout


def test_list_with_closed_pipe_prints_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m clsbench list | head -n 1",
        shell=True,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.stdout.startswith("datasets")
    assert done.stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_command_with_closed_streams_exits_normally(closed: str, tmp_path: Path) -> None:
    def ran(arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            f"{sys.executable} -m clsbench {arguments} {closed}",
            shell=True,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )

    listed, refusing = ran("list heads"), ran("list nothing")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert listed.stdout.startswith("heads") == (closed == "2>&-")
    assert refusing.returncode == 2
    assert refusing.stderr.startswith("error: unknown axis") == (closed == ">&-")
    assert not list(tmp_path.iterdir())  # no traceback is stored there


# --- unexpected errors ----------------------------------------------------------------------------

BUGGY = """
import clsbench

class Buggy(clsbench.Dataset):
    "Fails unexpectedly."

    def __post_init__(self):
        raise RuntimeError("the plugin's own\\nfault")

@clsbench.hookimpl
def clsbench_register_datasets():
    return {"buggy": Buggy}
"""


def test_unexpected_error_is_one_line_and_a_stored_traceback(
    clsbench: Command, tmp_path: Path
) -> None:
    plugin = tmp_path / "buggy.py"
    plugin.write_text(BUGGY)
    done = clsbench(
        "--plugin",
        plugin,
        "show",
        "gpt2-sms-spam",
        "--dataset",
        "buggy",
        env={"TMPDIR": str(tmp_path)},
    )
    refused(done, "RuntimeError: the plugin's own fault (", f"{plugin}, line 8", "bug", code=1)
    assert done.stderr.count("\n") == 1
    kept = Path(done.stderr.strip().rpartition(" is in ")[2])
    assert kept.parent == tmp_path
    assert "Traceback" in kept.read_text()


def test_unexpected_error_with_verbose_shows_the_traceback(
    clsbench: Command, tmp_path: Path
) -> None:
    plugin = tmp_path / "buggy.py"
    plugin.write_text(BUGGY)
    done = clsbench("--verbose", "--plugin", plugin, "show", "gpt2-sms-spam", "--dataset", "buggy")
    assert done.returncode == 1
    assert "Traceback (most recent call last)" in done.stderr
    assert "traceback is above" in done.stderr


def test_plugin_error_with_verbose_shows_the_traceback(clsbench: Command, tmp_path: Path) -> None:
    plugin = tmp_path / "failing.py"
    plugin.write_text("raise ValueError('by itself')\n")
    done = clsbench("--verbose", "--plugin", plugin, "list")
    assert done.returncode == 2
    assert f'File "{plugin}", line 1' in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: plugin {plugin} cannot be imported")
    assert "Traceback" not in clsbench("--plugin", plugin, "list").stderr


def test_report_unexpected_os_error_is_shown_as_plain_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    report_unexpected(OSError(28, "No space left on device", "runs/x"), verbose=False)
    assert capsys.readouterr().err == "error: [Errno 28] No space left on device: 'runs/x'\n"


def test_report_error_does_not_wrap_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report_error("word " * 100 + "end\n  line 2: x = [", "see clsbench --help")
    assert capsys.readouterr().err.splitlines() == [
        "error: " + "word " * 100 + "end",
        "  line 2: x = [",
        "see clsbench --help",
    ]


def test_report_error_long_message_keeps_start_and_end(capsys: pytest.CaptureFixture[str]) -> None:
    report_error("begin" + "x" * 800_000 + "end")
    (line,) = capsys.readouterr().err.splitlines()
    assert len(line) <= LONGEST_MESSAGE
    assert line.startswith("error: beginx")
    assert line.endswith("xend")
    assert "798,0" in line
