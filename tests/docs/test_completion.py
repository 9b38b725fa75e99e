"""The shells complete commands, options and file names."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import CompletionItem, ShellComplete

from affcli.cli import COMMANDS, cli
from affcli.console.completion import PathName


def completed(line: str, incomplete: str = "") -> list[CompletionItem]:
    return ShellComplete(cli, {}, "affcli", "_AFFCLI_COMPLETE").get_completions(line.split(), incomplete)


def kinds(line: str, incomplete: str = "") -> list[str]:
    return [item.type for item in completed(line, incomplete)]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("smooth", "file"),
        ("vote a.parquet", "file"),
        ("score x.parquet --labels", "file"),
        ("label", "file"),
        ("label videos/ -o", "dir"),
        ("label --model", "file"),
        ("extract-visual --from-file", "file"),
        ("extract-audio clips/ --frames-from", "file"),
        ("overlay clip.mp4", "file"),
        ("train --visual", "file"),
        ("train-visual --frames", "dir"),
        ("train-audio --data", "dir"),
        ("info", "file"),
    ],
)
def test_file_names_complete_where_a_file_is_meant(line: str, kind: str) -> None:
    assert kinds(line, "v") == [kind]


def test_commands_options_and_choices_complete() -> None:
    assert [item.value for item in completed("", "sm")] == ["smooth"]
    assert [item.value for item in completed("smooth", "--ker")] == ["--kernel"]
    assert [item.value for item in completed("smooth --method", "me")] == ["median", "mean"]
    assert kinds("smooth --video-column") == []


def test_every_parameter_that_names_a_place_completes() -> None:
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for parameter in command.params:
            if parameter.name in ("output", "folder", "labels", "inputs", "source", "sources", "table", "tables"):
                assert isinstance(parameter.type, PathName), f"{name}: {parameter.name}"


BASH = """
eval "$(_AFFCLI_COMPLETE=bash_source affcli)"
compopt() { echo "compopt $*"; }
COMP_WORDS=(affcli $1) COMP_CWORD=$2
_affcli_completion affcli; echo "${COMPREPLY[*]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_is_told_to_complete_file_names(tmp_path: Path) -> None:
    program = tmp_path / "affcli"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m affcli "$@"\n')
    program.chmod(0o755)
    script = f'PATH="{tmp_path}:$PATH"\n{BASH}'
    done = subprocess.run(["bash", "-c", script, "bash", "smooth pre", "2"], capture_output=True, text=True, check=True)
    assert "compopt -o default" in " ".join(done.stdout.split())
