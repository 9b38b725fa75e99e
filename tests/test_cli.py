"""The group: exit statuses, one-line errors, what is imported when."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from helpers.runners import Affcli

from affcli import __version__, cli, errors
from affcli.console import terminal


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Makes `affcli vote` raise the error."""

    @click.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli.LazyGroup, "get_command", lambda self, ctx, name: terminal.name_command(name) or command)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (errors.AffcliError("x.csv: bad."), 1, "affcli vote: x.csv: bad.\n"),
        (errors.UsageError("no."), 2, "affcli vote: no.\n"),
        (errors.PartialError("1 of 2 failed."), 3, "affcli vote: 1 of 2 failed.\n"),
        (KeyboardInterrupt(), 130, "affcli vote: interrupted\n"),
        (BrokenPipeError(), 141, ""),
        (PermissionError(13, "Permission denied", "f.csv"), 1, "affcli vote: f.csv: Permission denied\n"),
    ],
)
def test_each_error_has_its_status_and_one_line(
    monkeypatch: pytest.MonkeyPatch, affcli: Affcli, error: BaseException, status: int, said: str
) -> None:
    failing(monkeypatch, error)
    done = affcli("vote", status=status)
    assert done.stderr == said
    assert done.stdout == ""


def test_a_bug_is_one_line_too_and_says_how_to_report_it(monkeypatch: pytest.MonkeyPatch, affcli: Affcli) -> None:
    failing(monkeypatch, ZeroDivisionError("division by zero"))
    [line] = affcli("vote", status=1).stderr.splitlines()
    assert "a bug in affcli: ZeroDivisionError: division by zero" in line
    assert "-vv" in line


def test_a_message_stays_one_harmless_line(monkeypatch: pytest.MonkeyPatch, affcli: Affcli) -> None:
    failing(monkeypatch, errors.AffcliError("a\nb\x1b[31m\udcff: no"))
    assert affcli("vote", status=1).stderr == "affcli vote: a\\nb\\x1b[31m\\udcff: no\n"


def test_tracebacks_are_for_vv_only(affcli: Affcli) -> None:
    assert "Traceback" not in affcli("score", "nothing.csv", "--labels", "nowhere", "-v", status=1).stderr
    assert "Traceback" in affcli("score", "nothing.csv", "--labels", "nowhere", "-vv", status=1).stderr


@pytest.mark.parametrize(("options", "said"), [([], []), (["-vv"], ["affcli vote: some.library: it is odd"])])
def test_what_libraries_log_and_warn_of_is_for_vv_only(tmp_path: Path, options: list[str], said: list[str]) -> None:
    (tmp_path / "t.csv").write_text("video,frame,Anger,Fear\na,1,0.5,0.25\n")
    program = (
        "import logging, sys, warnings, affcli.cli, affcli.predictions.vote as vote\n"
        "means = vote.means_of\n"
        "def odd(*a):\n"
        "    logging.getLogger('some.library').error('it is odd')\n"
        "    warnings.warn_explicit('it is odd', UserWarning, 'some/library.py', 1)\n"
        "    return means(*a)\n"
        "vote.means_of = odd\n"
        "affcli.cli.main(sys.argv[1:])\n"
    )
    command = [sys.executable, "-c", program, "vote", "t.csv", "-o", "out.csv", *options]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    assert [line for line in told.splitlines() if "it is odd" in line and "warn" not in line] == said
    assert ("UserWarning: it is odd" in told) is bool(options)


def test_wrong_calls_name_the_help(affcli: Affcli) -> None:
    assert affcli("nope", status=2).stderr == "affcli: No such command 'nope'. See: affcli --help\n"
    assert affcli("vote", "--nope", status=2).stderr.endswith("See: affcli vote --help\n")
    assert affcli(status=2).stderr.startswith("Usage: affcli")
    assert affcli("--version").stdout == f"affcli {__version__}\n"


def test_help_of_every_command_needs_none_of_the_heavy_libraries(tmp_path: Path) -> None:
    for package in ("torch", "transformers", "torchaudio", "numpy", "pyarrow", "scipy", "rich"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(f"raise SystemExit('{package} was imported')")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from affcli import cli
for command in [[], *([name] for name in cli.COMMANDS)]:
    assert cli.run([*command, "--help"]) == 0
try:
    import torch
except SystemExit as poison:
    print(poison)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("torch was imported\n")
    assert done.stdout.count("Usage: affcli") == len(cli.COMMANDS) + 1


def test_the_overview_imports_no_command(tmp_path: Path) -> None:
    code = "import sys; from affcli import cli; cli.run(['--help']); print(*sys.modules, sep='\\n')"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "affcli.cli" in modules
    assert not {"numpy", "pyarrow", "rich", "affcli.commands.vote"} & set(modules)


def test_threads_of_torch_that_wait_sleep_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import os; from affcli import cli\ntry: cli.main(['--version'])\nfinally: print(os.environ['OMP_WAIT_POLICY'])"
    )
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for expected in ("PASSIVE", "ACTIVE"):
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert ran.stdout.split()[-1] == expected
        monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")


_TABLE = "video,frame,Anger,Fear,label\na,1,2.0,1.0,Anger\na,2,1.0,2.0,Fear\n"


@pytest.mark.parametrize(
    "call", ["vote t.csv -o o.csv", "smooth t.csv -o o.csv", "score t.csv --labels t.csv -o o.txt"]
)
def test_what_starts_within_a_pipe_imports_no_library_that_it_does_not_use(call: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(_TABLE)
    code = f"import sys; from affcli import cli; assert not cli.run({call.split()}); print(*sys.modules, sep='\\n')"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    heavy = {"scipy", "scipy.optimize", "torch", "transformers", "pandas", "soundfile", "cv2", "PIL"}
    assert heavy & set(ran.stdout.split()) <= ({"scipy"} if "smooth" in call else set())


@pytest.mark.parametrize("command", ["extract-visual", "extract-audio"])
@pytest.mark.parametrize(("name", "suffix"), [("V.csv", ".csv"), ("V.parquet.gz", ".gz")])
def test_a_name_that_no_feature_table_has_is_refused_before_any_work(affcli, command, name, suffix):
    [line] = affcli(command, "nowhere.mp4", "-o", name, status=2).stderr.splitlines()
    assert f"'{suffix}' is not a feature table format affcli knows (.parquet, " in line
    for good in ("V", "V.pq", "V.Arrow", "V.feather"):
        assert "nowhere.mp4" in affcli(command, "nowhere.mp4", "-o", good, status=1).stderr
