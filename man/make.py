"""Writes the manual pages from the command tree: `python man/make.py`. A test compares them with what it would write.

A command's page is its --help in roff; what the pages share (tables, streams, exit statuses) stands in affcli.1, whose
text is in affcli.1.in.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import click

from affcli import __version__
from affcli.cli import COMMANDS, cli

HERE = Path(__file__).parent


def pages() -> dict[str, str]:
    """File name → text of every page."""
    found = {"affcli.1": _overview()}
    for name in COMMANDS:
        context = click.Context(cli, info_name="affcli")
        command = cli.get_command(context, name)
        assert command is not None
        found[f"affcli-{name}.1"] = _page(name, command)
    return found


def _page(name: str, command: click.Command) -> str:
    # The group's settings count, above all its -h: click keeps the help option that it makes first.
    context = click.Context(command, info_name=name, parent=click.Context(cli, **cli.context_settings))
    usage = " ".join(command.collect_usage_pieces(context))
    parts = [
        _header(f"affcli-{name}"),
        _section("NAME", f"affcli\\-{_escaped(name)} \\- {_escaped(COMMANDS[name].summary)}"),
        _section("SYNOPSIS", f".B affcli {_escaped(name)}\n{_escaped(usage)}"),
        _section("DESCRIPTION", _prose(command.help or "")),
        _section("OPTIONS", "\n".join(_option(o, context) for o in command.get_params(context) if _has_help(o))),
        _section("EXIT STATUS", "As all commands: see\n.BR affcli (1)."),
        _section("SEE ALSO", ".BR affcli (1)"),
    ]
    return "\n".join(parts) + "\n"


def _overview() -> str:
    commands = "\n".join(
        f".TP\n.BR affcli\\-{_escaped(name)} (1)\n{_escaped(entry.summary)}" for name, entry in COMMANDS.items()
    )
    text = (HERE / "affcli.1.in").read_text()
    return f"{_header('affcli')}\n{text.replace('@COMMANDS@', commands)}"


def _header(title: str) -> str:
    return f'.TH {title.upper().replace("-", chr(92) + "-")} 1 "" "affcli {__version__}" "affcli manual"'


def _section(title: str, text: str) -> str:
    return f".SH {title}\n{text}"


def _prose(text: str) -> str:
    """Paragraphs as click reads them: after a line `\\b` (a backspace in the string) a paragraph is kept as it is."""
    shown = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        lines = paragraph.split("\n")
        if lines[0].strip() == "\b":
            shown.append(".nf\n" + "\n".join(map(_escaped, lines[1:])) + "\n.fi")
        else:
            shown.append(_escaped(" ".join(line.strip() for line in lines)))
    return "\n.PP\n".join(shown)


def _has_help(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and not parameter.hidden


def _option(parameter: click.Parameter, context: click.Context) -> str:
    record = parameter.get_help_record(context)
    assert record is not None
    names, text = record
    return f".TP\n.B {_escaped(names)}\n{_escaped(' '.join(text.split())) or '.'}"


def _escaped(text: str) -> str:
    """Text that roff shows as it stands: hyphens can be copied, a leading dot is no request."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + escaped if escaped.startswith((".", "'")) else escaped


if __name__ == "__main__":
    for file, page in pages().items():
        (HERE / file).write_text(page)
        print(HERE / file, file=sys.stderr)
