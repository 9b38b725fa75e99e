"""Puts reports on standard output: rich tables for a person at a terminal, aligned plain text for a pipe."""

from __future__ import annotations

import sys

from affcli.reports import Grid, Report, as_text


def show(report: Report) -> None:
    """Prints the report; rich, which is slow to import, only where a person watches. NO_COLOR is honoured by rich."""
    if not sys.stdout.isatty():
        sys.stdout.write(as_text(report))
        return
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
