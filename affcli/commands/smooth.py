"""`affcli smooth`: filters frame logits over time."""

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
    help="Filter. gaussian: sigma = kernel / 6; mode: the most frequent label, its shares as class values.  "
    "[default: median; mode for tables with labels only]",
)
@click.option(
    "--missing",
    type=click.Choice(["keep", "exclude"]),
    default="keep",
    show_default=True,
    help="exclude: leave frames without a face out of the filter and fill them from their neighbours.",
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
    """Filter frame logits over time, separately for each video and class, and derive new labels from them.

    INPUT is a table with one row per frame: the columns video, frame and one column of logits per class (Parquet, CSV
    or Arrow); a folder of such tables; or - for standard input, the default. At the ends of a video the last value is
    repeated. Other columns are kept. Probabilities stay probabilities: the medians of a frame are divided by their sum.
    In a table that has labels but no logits, each frame takes the most frequent label
    around it.

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
