"""`affcli vote`: averages the logits of windows, or of several tables, into one row per frame."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.console.terminal import counting
from affcli.errors import UsageError

if TYPE_CHECKING:
    from affcli.predictions.calibration import Calibration
    from affcli.predictions.columns import ColumnNames


def _numbers(ctx: click.Context, param: click.Parameter, given: str | None) -> list[float] | None:
    try:
        return None if given is None else [float(number) for number in given.split(",")]
    except ValueError as error:
        raise click.BadParameter(f"'{given}' is not a list of numbers w1,w2,….") from error


def _read_calibration(source: str | None) -> Calibration | None:
    if source is None:
        return None
    from affcli.predictions.calibration import read_calibration

    return read_calibration(source)


@click.command()
@click.argument("tables", nargs=-1, metavar="[INPUT]...")
@options.output()
@click.option(
    "--space",
    type=click.Choice(["logits", "probabilities"]),
    help="Average logits or probabilities; inputs in another space are converted.  [default: the inputs' own space]",
)
@click.option(
    "--hard", is_flag=True, help="Each row votes for the class with its largest number; write the shares of votes."
)
@click.option(
    "--weights", metavar="w1,w2,…", callback=_numbers, help="Weights of the inputs, one each.  [default: equal]"
)
@click.option(
    "--trust",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Take the first input where its label has a probability above P, and the vote of the others elsewhere.",
)
@click.option("--calibration", metavar="FILE", help="After averaging, apply what affcli calibrate wrote.")
@options.logit_columns
@options.table_format
@options.force
@options.common
def command(
    tables: tuple[str, ...],
    output: str,
    space: str | None,
    hard: bool,
    weights: list[float] | None,
    trust: float | None,
    calibration: str | None,
    columns: ColumnNames,
    table_format: str | None,
    force: bool,
) -> None:
    """Average all logits of a frame: one row per frame, with its label.

    INPUT is a table with the columns video, frame and one column of logits per class (Parquet, CSV or Arrow); a folder
    of such tables; or - for standard input, the default. Rows with start and end in place of frame count for every
    frame of that span, both ends included. A row with a label and no logits is a vote for that label. Several inputs
    form an ensemble: each input is averaged by itself, and a frame takes the mean over the inputs that have it.

    Probabilities (rows that sum to 1, or to 100) are averaged as probabilities. Inputs in different spaces are an error
    unless --space or --hard says how to combine them.

    With --trust, the first input decides where it is sure, as a backbone's own head may. It takes part in the vote that
    decides elsewhere only if --weights gives it a weight.

    Tables sorted by video are read one video at a time; others are sorted in memory.

    \b
      affcli predict --model model.safetensors --visual V.parquet | affcli vote -o F.parquet
      affcli vote a.parquet b.parquet c.csv --weights 2,1,1 -o ensemble.parquet
      affcli vote a.parquet b.parquet --trust 0.9 -o F.parquet
    """
    from affcli.files.outputs import STANDARD_STREAM, refuse_existing
    from affcli.predictions.logit_table import LogitTable
    from affcli.predictions.space import SHARES
    from affcli.predictions.vote import PER_FRAME, Vote
    from affcli.tables.writer import TableWriter

    if tables.count(STANDARD_STREAM) > 1:
        raise UsageError("only one INPUT can be standard input.")
    refuse_existing(output, force=force)
    offsets = _read_calibration(calibration)
    with ExitStack() as files:
        sources = tables or (STANDARD_STREAM,)
        inputs = [files.enter_context(LogitTable(source, columns=columns, carry=PER_FRAME)) for source in sources]
        vote = Vote(inputs, space=SHARES if hard else space, weights=weights, calibration=offsets, trust=trust)
        writer = files.enter_context(TableWriter(output, vote.schema, table_format=table_format, force=force))
        progress = files.enter_context(counting("vote", len(vote.videos)))
        for rows in vote.frames():
            writer.write(rows)
            progress.advance(1, frames=rows.num_rows)
        for table in inputs:
            table.note_missing()
