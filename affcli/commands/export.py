"""`affcli export`: frame tables in the forms that others read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from affcli import options
from affcli.errors import AffcliError, UsageError

if TYPE_CHECKING:
    from affcli.annotations import VideoLabels
    from affcli.columns import ColumnNames


@click.command("export")
@click.argument("source", metavar="[INPUT]", default="-")
@click.option("--to", "form", type=click.Choice(["abaw", "labels", "csv"]), required=True, help="The form to write.")
@click.option("-o", "--output", default="-", metavar="FILE|DIR", show_default=True, help="A folder for --to labels.")
@click.option("--like", metavar="SAMPLE", help="With --to abaw: the official list of frames, in its order.")
@click.option("--label-column", metavar="NAME", help="Take the prediction from this column of labels.")
@options.logit_columns
@options.force
@options.common
def command(
    source: str,
    *,
    form: str,
    output: str,
    like: str | None,
    label_column: str | None,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Writes a frame table as an ABAW submission, as Aff-Wild2 label files, or as CSV.

    \b
    abaw    `<video>/00001.jpg,<class number>` for every frame of the sample list --like, else of every video. A frame
            without a prediction gets that of the nearest frame of its video; a video without any, Neutral.
    labels  a folder with a text a video: the class names, then a class number a frame, -1 without a prediction.
    csv     all columns as they are.

    \b
    Examples:
      affcli export S.parquet --to abaw --like CVPR_EXPR_test_set_sample.txt -o predictions.txt
      affcli export S.parquet --to labels -o labels/
    """
    from affcli.exports import all_locations, submission_text, write_label_folder
    from affcli.outputs import STANDARD_STREAM, refuse_existing, write_text
    from affcli.submissions import read_locations

    if like is not None and form != "abaw":
        raise UsageError("--like SAMPLE goes with --to abaw.")
    if form == "labels":
        if output == STANDARD_STREAM:
            raise UsageError("--to labels writes a folder: name it with -o DIR.")
        write_label_folder(output, _predictions(source, columns, label_column), force=force)
        return
    refuse_existing(output, force=force)
    if form == "csv":
        _copy_as_csv(source, output, force=force)
        return
    listed = None if like is None else read_locations(Path(like))
    predictions = _predictions(source, columns, label_column)
    write_text(output, submission_text(listed or all_locations(predictions), predictions), force=force)


def _predictions(source: str, columns: ColumnNames, label_column: str | None) -> dict[str, VideoLabels]:
    from affcli.exports import predicted_labels
    from affcli.logits import LogitTable

    columns = replace(columns, label=label_column or columns.label)
    with LogitTable(source, columns=columns, carry={columns.label}, labels_suffice=True) as table:
        found = predicted_labels(table, label_column)
        if not found:
            raise AffcliError(f"{table.name}: has no rows, so there is nothing to export.")
        return found


def _copy_as_csv(source: str, output: str, *, force: bool) -> None:
    from affcli.tables import TableReader
    from affcli.writing import TableWriter

    with (
        TableReader(source) as table,
        TableWriter(output, table.schema_of(table.columns), table_format="csv", force=force) as writer,
    ):
        for index in range(len(table.row_groups)):
            writer.write(table.read_group(index))
