"""`affcli smooth`: frame logits filtered over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.console.terminal import counting

if TYPE_CHECKING:
    from affcli.predictions.columns import ColumnNames

METHODS = ("median", "mean", "gaussian", "mode")


@click.command()
@click.argument("table", default="-", metavar="[INPUT]")
@options.output()
@options.kernel
@click.option(
    "--method",
    type=click.Choice(METHODS),
    help="The filter; gaussian: sigma = kernel / 6; mode: the most frequent label, shares as logits.  "
    "[default: median, mode where there are only labels]",
)
@click.option(
    "--missing",
    type=click.Choice(["keep", "exclude"]),
    default="keep",
    show_default=True,
    help="exclude: frames without a face take no part, and get their value from their neighbours.",
)
@options.logit_columns
@options.table_format
@options.force
@options.common
def command(
    table: str,
    output: str,
    kernel: int,
    method: str | None,
    missing: str,
    columns: ColumnNames,
    table_format: str | None,
    force: bool,
) -> None:
    """Filters frame logits over time, each video and class by itself, and labels the frames anew.

    INPUT is a table with one row for each frame: the columns video, frame and one column of logits for each class
    (Parquet, CSV or Arrow), a folder of such tables, or - for standard input, the default. At the edges of a video the
    end value is repeated. Other columns are carried through. Probabilities stay probabilities: medians are divided by
    their sum. A table with only labels gets the most frequent label of each window.

    \b
      affcli vote W.parquet | affcli smooth -k 101 --missing exclude -o S.parquet
      affcli smooth predictions.csv -o smooth.csv
    """
    from affcli.files.outputs import refuse_existing
    from affcli.predictions.logit_table import LogitTable
    from affcli.predictions.smooth import Filter, Smooth
    from affcli.tables.writer import TableWriter

    chosen = Filter(kernel, method, exclude_faceless=missing == "exclude")
    refuse_existing(output, force=force)
    with LogitTable(table, columns=columns) as logits:
        smooth = Smooth(logits, chosen)
        with (
            TableWriter(output, smooth.schema, table_format=table_format, force=force) as writer,
            counting("smooth", len(logits.ids)) as progress,
        ):
            for rows in smooth.frames():
                writer.write(rows)
                progress.advance(1, frames=rows.num_rows)
            logits.note_missing()
