"""The commands that the README and the manual show, and a shell for them that runs affcli in this process."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
from markdown_it import MarkdownIt

from affcli.cli import cli, run
from affcli.console import terminal

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / ".github" / "CONTRIBUTING.md", *sorted((ROOT / "man").glob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block: `remark` is the HTML comment right before it, such as `parsed only: needs Aff-Wild2`."""

    page: Path
    language: str
    text: str
    remark: str

    @property
    def runs(self) -> bool:
        return not self.remark.startswith(("parsed only", "installation", "shell start-up file"))


def blocks(page: Path, language: str) -> list[Block]:
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    found = []
    for before, token in zip([None, *tokens], tokens, strict=False):
        if token.type == "fence" and token.info == language:
            remark = before.content if before is not None and before.type == "html_block" else ""
            found.append(Block(page, language, token.content, remark.strip().removeprefix("<!--").strip()))
    return found


def pipelines(text: str) -> Iterator[list[list[str]]]:
    """Each command line as the words of its stages; `&&` and `;` separate lines, `> FILE` stays among the words."""
    for line in text.replace("\\\n", " ").replace("|\n", "| ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        stages: list[list[str]] = [[]]
        for word in lexer:
            if word in ("&&", ";"):
                yield stages
                stages = [[]]
            elif word == "|":
                stages.append([])
            else:
                stages[-1].append(word)
        if stages != [[]]:
            yield stages


def arguments_of_affcli(text: str) -> Iterator[list[str]]:
    """What follows `affcli` in every command, also behind torchrun and variables."""
    for stages in pipelines(text):
        for words in stages:
            if "affcli" in words:
                after = words[words.index("affcli") + 1 :]
                for end in (">", ":::"):  # a redirection, or the arguments of GNU parallel
                    after = after[: after.index(end)] if end in after else after
                yield after[1:] if after[:1] == ["--"] else after


def parse(arguments: list[str]) -> None:
    """Raises click.UsageError where the command, an option or a value does not exist."""
    name, *rest = arguments
    group = click.Context(cli, info_name="affcli", **cli.context_settings)
    command = cli.get_command(group, name)
    if command is None:
        raise click.UsageError(f"no command {name}")
    command.make_context(name, rest, parent=group)


def run_block(text: str, extra: dict[str, list[str]] | None = None) -> None:
    """Runs the lines one after the other in the current folder; any exit status but 0 fails.

    An output that is there already is removed first, unless --update says to go on with it. `extra` are options to add
    to a command of affcli, by its name.
    """
    for stages in pipelines(text):
        data = b""
        for words in stages:
            data = _stage(words, data, extra or {})


def _stage(words: list[str], data: bytes, extra: dict[str, list[str]]) -> bytes:
    target = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if target else words
    if words[0] != "affcli":
        return subprocess.run(words, input=data, stdout=subprocess.PIPE, check=True).stdout
    words = [*words[1:], *extra.get(words[1], [])]
    if "-o" in words and "--update" not in words:
        _remove(Path(words[words.index("-o") + 1]))
    printed = _affcli(words, data)
    if target is not None:
        Path(target).write_bytes(printed)
    return printed


def _affcli(words: list[str], data: bytes) -> bytes:
    """Runs affcli in this process, with its standard streams in files."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as printed:
        given.write(data)
        given.seek(0)
        kept, streams = [os.dup(0), os.dup(1)], (sys.stdin, sys.stdout)
        sys.stdin = open(os.dup(given.fileno()))  # noqa: PTH123, SIM115 - a descriptor, closed below
        sys.stdout = open(os.dup(printed.fileno()), "w")  # noqa: PTH123, SIM115
        try:
            os.dup2(given.fileno(), 0)
            os.dup2(printed.fileno(), 1)
            terminal.start("affcli")
            status = run(words)
        finally:
            sys.stdin.close()
            sys.stdout.close()
            sys.stdin, sys.stdout = streams
            for number, copy in enumerate(kept):
                os.dup2(copy, number)
                os.close(copy)
        assert status == 0, f"affcli {shlex.join(words)}: exit status {status}"
        printed.seek(0)
        return printed.read()


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
