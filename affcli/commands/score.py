"""`affcli score`: how well predictions agree with labels."""

from __future__ import annotations

import dataclasses
import json
import logging

import click

from affcli import options
from affcli.annotations import read_labels
from affcli.columns import ColumnNames
from affcli.errors import UsageError
from affcli.logits import LogitTable
from affcli.metrics import Score, Tally, score
from affcli.printing import show
from affcli.reports import as_object, as_text, cautions, report, why_excluded
from affcli.scoring import Rules, tally
from affcli.tables import STANDARD_STREAM, refuse_existing
from affcli.textfiles import write_text

_log = logging.getLogger(__name__)


@click.command("score")
@click.argument("source", metavar="[INPUT]", default=STANDARD_STREAM)
@click.option("--labels", required=True, metavar="DIR|FILE", help="Label folder, label text, table or submission.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
@click.option("--faces-only", is_flag=True, help="Count only frames where a face was found.")
@click.option("--per-video", is_flag=True, help="Add each video's own figures.")
@click.option("--allow-missing", is_flag=True, help="Score the frames that have a prediction, and say how many.")
@click.option("--label-column", metavar="NAME", help="Take the prediction from this column of labels.")
@click.option(
    "--bootstrap", type=click.IntRange(0), default=1000, show_default=True, help="Resamplings of the videos; 0: none."
)
@options.seed
@options.logit_columns
@click.option("-o", "--output", default=STANDARD_STREAM, show_default=True, help="Where to write: .json, or text.")
@options.force
@options.common
def command(
    source: str,
    labels: str,
    *,
    as_json: bool,
    faces_only: bool,
    per_video: bool,
    allow_missing: bool,
    label_column: str | None,
    bootstrap: int,
    seed: int,
    columns: ColumnNames,
    output: str,
    force: bool,
) -> None:
    """Says how well predictions agree with labels: macro F1 over the eight classes, accuracy, confusion.

    INPUT is a table with a row a frame (Parquet, CSV, Arrow) or an ABAW submission text; standard input by default.
    Labels are a folder of Aff-Wild2 texts, one such text, a table with video, frame and label, or a submission.
    Frames are joined by number. Intervals are 95 % percentile intervals over resampled videos.

    \b
    Example:
      affcli smooth frames.parquet | affcli score --labels Validation_Set
    """
    refuse_existing(output, force=force)
    if source == labels == STANDARD_STREAM:
        raise UsageError("INPUT and --labels cannot both be standard input.")
    truth = read_labels(labels)
    rules = Rules(faces_only=faces_only, allow_missing=allow_missing, label_column=label_column)
    columns = dataclasses.replace(columns, label=label_column or columns.label)
    with LogitTable(source, columns=columns, carry={"face", columns.label}) as table:
        counted = tally(table, truth, rules)
    found = score(counted, bootstrap=bootstrap, seed=seed)
    as_json = as_json or output.lower().endswith(".json")
    _say_cautions(found, counted, as_json=as_json)
    if as_json:
        write_text(output, json.dumps(as_object(found, per_video=per_video)) + "\n", force=force)
    elif output == STANDARD_STREAM:
        show(report(found, per_video=per_video))
    else:
        write_text(output, as_text(report(found, per_video=per_video)), force=force)


def _say_cautions(found: Score, counted: Tally, *, as_json: bool) -> None:
    # The text report says under its figures why an interval excludes its own; JSON has no room for words.
    also = [why_excluded(found)] if as_json else []
    for caution in filter(None, [*cautions(found, counted), *also]):
        _log.warning("%s", caution)
