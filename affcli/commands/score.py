"""`affcli score`: compares predictions with labels."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.errors import UsageError

if TYPE_CHECKING:
    from affcli.predictions.columns import ColumnNames
    from affcli.scoring.metrics import Compared

_log = logging.getLogger(__name__)


@click.command("score")
@click.argument("sources", metavar="[INPUT]...", nargs=-1)
@click.option(
    "--labels",
    required=True,
    metavar="DIR|FILE",
    help="True labels: an Aff-Wild2 label folder or file, a table, or a submission.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--faces-only", is_flag=True, help="Score only frames with a face.")
@click.option("--per-video", is_flag=True, help="Also print the score of each video.")
@click.option(
    "--allow-missing", is_flag=True, help="Skip labelled frames that have no prediction, and print the coverage."
)
@options.label_column
@options.label_frame_offset
@options.bootstrap
@options.seed
@options.logit_columns
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE",
    show_default=True,
    help="Output file: JSON if it ends in .json, else text.",
)
@options.force
@options.common
def command(
    sources: tuple[str, ...],
    labels: str,
    *,
    as_json: bool,
    faces_only: bool,
    per_video: bool,
    allow_missing: bool,
    label_column: str | None,
    label_frame_offset: int,
    bootstrap: int,
    seed: int,
    columns: ColumnNames,
    output: str,
    force: bool,
) -> None:
    """Compare predictions with labels: macro F1 over the eight classes, accuracy, confusion matrix.

    INPUT is a table with one row per frame or segment (Parquet, CSV, Arrow), a folder of such tables, Aff-Wild2 label
    files, or an ABAW submission; standard input by default. Labels are a folder of Aff-Wild2 label files, one such
    file, a table with the columns video, frame and label, or a submission; a label may be a class name, a number or a
    word such as happy. Predictions and labels are joined by frame number. A class that the model lacks counts as never
    predicted; macro F1 over the classes that it has is printed too. Intervals are 95 %
    percentile intervals over resampled videos. With several inputs, each gets a row and its difference from the first,
    computed on the same resampled videos.

    \b
      affcli smooth frames.parquet | affcli score --labels Validation_Set
      affcli score k1.parquet k11.parquet k101.parquet --labels Validation_Set
    """
    # Imported here, with numpy and pyarrow, so that --help does without them.
    from affcli.files.outputs import STANDARD_STREAM, refuse_existing
    from affcli.labels.reader import read_labels
    from affcli.predictions.columns import label_options
    from affcli.scoring.metrics import compare
    from affcli.scoring.tally import Rules, tally_of

    _refuse_tables(output)
    refuse_existing(output, force=force)
    sources = sources or (STANDARD_STREAM,)
    if [*sources, labels].count(STANDARD_STREAM) > 1:
        raise UsageError("only one of INPUT and --labels can be standard input.")
    truth = read_labels(labels, label_options(columns, label_frame_offset))
    rules = Rules(faces_only=faces_only, allow_missing=allow_missing, label_column=label_column)
    found = compare([tally_of(source, columns, truth, rules) for source in sources], bootstrap=bootstrap, seed=seed)
    as_json = as_json or output.lower().endswith(".json")
    _write(found, output, as_json=as_json, per_video=per_video, force=force)


def _refuse_tables(output: str) -> None:
    """Raises UsageError for a name that promises a table, which the report is not."""
    from affcli.tables.writer import FORMAT_OF_SUFFIX

    suffix = Path(output).suffix.lower()
    if suffix in FORMAT_OF_SUFFIX and suffix != ".txt":
        raise UsageError(f"{output}: the report is no table; end its name in .json (all figures) or .txt.")


def _write(found: Sequence[Compared], output: str, *, as_json: bool, per_video: bool, force: bool) -> None:
    """The report, as JSON or text; what speaks against trusting its figures goes to standard error."""
    from affcli.console.printing import as_text, show
    from affcli.files.outputs import STANDARD_STREAM, write_text
    from affcli.scoring.report import as_object, cautions, reasons, report

    for caution in [*cautions(found), *(reasons(found) if as_json else [])]:
        _log.warning("%s", caution)
    if as_json:
        write_text(output, json.dumps(as_object(found, per_video=per_video)) + "\n", force=force)
    elif output == STANDARD_STREAM:
        show(report(found, per_video=per_video))
    else:
        write_text(output, as_text(report(found, per_video=per_video)), force=force)
