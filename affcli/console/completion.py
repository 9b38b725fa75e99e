"""Shell completion of file names: every parameter whose metavar names a file or folder completes paths."""

from __future__ import annotations

import re
from typing import Final

import click
from click.shell_completion import CompletionItem

FOLDER: Final = "DIR"
FILES: Final = frozenset({"FILE", "INPUT", "LIST", "SAMPLE", "TABLE", "VIDEO"})


class PathName(click.types.StringParamType):
    """The name of a file or folder, passed on as it is given: commands report what is wrong with it themselves.

    `click.Path` would check the name while it parses, and end with status 2 where a missing file is status 1.
    """

    def __init__(self, *, folders_only: bool) -> None:
        self.folders_only = folders_only

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """One item that tells the shell to complete folder names, or names of files and folders."""
        return [CompletionItem(incomplete, type="dir" if self.folders_only else "file")]


def complete_paths(command: click.Command) -> click.Command:
    """Give the command's text parameters that name files or folders the type PathName; returns the command."""
    for parameter in command.params:
        words = set(re.findall(r"[A-Za-z]+", parameter.metavar or "")) - {"NAME", "mini"}
        if parameter.type is click.STRING and "=" not in (parameter.metavar or "") and words & {FOLDER, *FILES}:
            parameter.type = PathName(folders_only=words == {FOLDER})
    return command
