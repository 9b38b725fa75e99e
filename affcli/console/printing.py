"""Prints reports on standard output: rich tables on a terminal, aligned plain text in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Grid:
    """A table of text cells: the first column holds row names, the others hold numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


Report = Sequence[str | Grid]


def show(report: Report) -> None:
    """Print the report, with rich (slow to import) only on a terminal. rich honours NO_COLOR."""
    if not sys.stdout.isatty():
        sys.stdout.write(as_text(report))
        return
    report = [harmless(part) if isinstance(part, str) else _harmless(part) for part in report]
    from rich.console import Console

    console = Console()
    for part in report:
        console.print(part if isinstance(part, str) else _table(part), markup=False, highlight=False)
        console.print()


def _table(grid: Grid) -> object:
    from rich import box
    from rich.table import Table

    # Narrow gaps and no edges: the confusion matrix of the eight classes then fits into 80 columns.
    table = Table(title=grid.title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.show_edge = table.pad_edge = False
    for i, name in enumerate(grid.header):
        table.add_column(name, justify="left" if i == 0 else "right", style="bold" if i == 0 else None)
    for row in grid.rows:
        table.add_row(*row)
    return table


def as_text(parts: Report) -> str:
    """The report as aligned plain text, ending in a newline."""
    return "\n\n".join(harmless(part) if isinstance(part, str) else _aligned(_harmless(part)) for part in parts) + "\n"


def harmless(text: str, *, lines: bool = True) -> str:
    """Text as a terminal may show it: what would move its cursor or change its title is written out (`\\x1b`).

    Names in tables come from anybody. With `lines`, line ends stay.
    """
    return "".join(c if c.isprintable() or (lines and c == "\n") else repr(c)[1:-1] for c in text)


def _harmless(grid: Grid) -> Grid:
    header, *rows = ([harmless(cell, lines=False) for cell in row] for row in (grid.header, *grid.rows))
    return Grid(harmless(grid.title, lines=False), tuple(header), tuple(map(tuple, rows)))


def _aligned(grid: Grid) -> str:
    rows = [grid.header, *grid.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    title = [grid.title] if grid.title else []
    return "\n".join([*title, *(_padded(row, widths) for row in rows)])


def _padded(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()
