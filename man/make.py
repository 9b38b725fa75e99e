"""Writes the manual: `python man/make.py`. A test finds out where the pages are stale.

The sources are the Markdown files of this folder, which are also readable as they are. In a command's page everything
above the marker is written from the command tree, so it says what --help says; below it stand the examples and notes.
From the Markdown the roff pages are made, which the wheel installs.
"""

from __future__ import annotations

import inspect
import re
import runpy
import sys
from pathlib import Path

import click

from affcli import __version__
from affcli.cli import COMMANDS, cli

HERE = Path(__file__).parent
ROFF = runpy.run_path(str(HERE / "roff.py"))
MARKER = "<!-- Above: written by man/make.py from the command itself. Below: written by hand. -->"
_COMMANDS = re.compile(r"(?<=<!-- commands -->\n)(.*?)(?=<!-- end of commands -->)", re.DOTALL)


def pages() -> dict[str, str]:
    """File → text of everything that is written here: the commands' Markdown, then the roff of all Markdown."""
    sources = {path.name: path.read_text(encoding="utf-8") for path in sorted(HERE.glob("affcli*.md"))}
    for name in COMMANDS:
        file = f"affcli-{name}.1.md"
        by_hand = sources.get(file, f"{MARKER}\n\n## EXAMPLES\n").split(MARKER)[1]
        sources[file] = f"{_generated(name)}\n{MARKER}{by_hand}"
    sources["affcli.1.md"] = _COMMANDS.sub(lambda _: _summaries(), sources["affcli.1.md"])
    roff = {_roff_file(name): ROFF["page"](text, _header(name)) for name, text in sources.items()}
    return {**sources, **roff}


def _roff_file(source: str) -> str:
    """`affcli-vote.1.md` → `man1/affcli-vote.1`, where man(1) looks for it."""
    return f"man{source[-4]}/{source.removesuffix('.md')}"


def _generated(name: str) -> str:
    """The Markdown of a command's NAME, SYNOPSIS, DESCRIPTION and OPTIONS."""
    command = cli.get_command(click.Context(cli, info_name="affcli"), name)
    assert command is not None
    # The group's settings count, above all its -h: click keeps the help option that it makes first.
    context = click.Context(command, info_name=name, parent=click.Context(cli, **cli.context_settings))
    usage = " ".join(command.collect_usage_pieces(context))
    options = [_option(option, context) for option in command.get_params(context) if _has_help(option)]
    summary = COMMANDS[name].summary.removesuffix(".")
    parts = [
        f"# affcli-{name}(1)",
        f"## NAME\n\naffcli-{name} - {summary[0].lower()}{summary[1:]}",
        f"## SYNOPSIS\n\n**affcli {name}** {_escaped(usage)}",
        f"## DESCRIPTION\n\n{_prose(command.help or '')}",
        "## OPTIONS\n\n" + "\n".join(options),
    ]
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """Paragraphs as click reads them; after `\\b` (a backspace) lines are kept. Examples are left to EXAMPLES."""
    shown = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].strip() != "\b":
            shown.append(_escaped("\n".join(line.strip() for line in lines)))
        elif not any(line.startswith("  affcli ") for line in lines):
            shown.append("```\n" + "\n".join(lines[1:]) + "\n```")
    return "\n\n".join(shown)


def _has_help(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and not parameter.hidden


def _option(parameter: click.Parameter, context: click.Context) -> str:
    record = parameter.get_help_record(context)
    assert record is not None
    names, text = record
    return f"- `{names}`\\\n  {_escaped(' '.join(text.split()))}"


def _summaries() -> str:
    lines = [
        f"- `affcli {name}`\\\n  {entry.summary} See [affcli-{name}(1)](affcli-{name}.1.md)."
        for name, entry in COMMANDS.items()
    ]
    return "\n" + "\n".join(lines) + "\n\n"


def _escaped(text: str) -> str:
    """Text in which Markdown finds no markup."""
    return re.sub(r"([\\`*_\[\]<>#|])", r"\\\1", text)


def _header(file: str) -> str:
    title, section, _ = file.rsplit(".", 2)
    released = re.search(r"^date-released: (\S+)", (HERE.parent / "CITATION.cff").read_text(), re.MULTILINE)
    assert released is not None
    title = title.upper().replace("-", "\\-")
    return f'.TH {title} {section} {released[1]} "affcli {__version__}" "affcli manual"'


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text, encoding="utf-8")
        print(HERE / file, file=sys.stderr)
