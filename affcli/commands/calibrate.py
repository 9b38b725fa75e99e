"""`affcli calibrate`: fits per-class logit offsets that raise macro F1."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.errors import UsageError

if TYPE_CHECKING:
    from affcli.predictions.columns import ColumnNames
    from affcli.scoring.fit_calibration import Judged
    from affcli.scoring.metrics import Compared

_log = logging.getLogger(__name__)


@click.command("calibrate")
@click.argument("source", metavar="[INPUT]", default="-")
@click.option(
    "--labels",
    required=True,
    metavar="DIR|FILE",
    help="True labels: an Aff-Wild2 label folder or file, a table, or a submission.",
)
@options.output(required=True, what="JSON")
@click.option(
    "--folds", type=click.IntRange(2), default=5, show_default=True, help="Folds of the cross-validation over videos."
)
@click.option("--faces-only", is_flag=True, help="Use only frames with a face.")
@click.option("--allow-missing", is_flag=True, help="Skip labelled frames that have no prediction.")
@click.option(
    "--bootstrap",
    type=click.IntRange(0),
    default=1000,
    show_default=True,
    help="Bootstrap samples of the videos; 0 for none.",
)
@options.seed
@options.label_frame_offset
@options.logit_columns
@options.force
@options.common
def command(
    source: str,
    labels: str,
    *,
    output: str,
    folds: int,
    faces_only: bool,
    allow_missing: bool,
    bootstrap: int,
    seed: int,
    label_frame_offset: int,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Fit one offset per class, added to the logits, that raises macro F1 on labelled data.

    INPUT is a table of logits or probabilities with one row per frame; standard input by default. The offsets apply to
    numbers of the same kind only. All labelled frames are held in memory. The gain that is printed is cross-validated:
    each video is scored with offsets fitted on other videos. The offsets that are written are fitted on all videos.
    affcli vote --calibration adds them after averaging, so fit them on the output of vote, before smoothing.

    \b
      affcli vote W_val.parquet | affcli calibrate --labels Validation_Set -o calibration.json
      affcli vote W_test.parquet --calibration calibration.json | affcli smooth -o S.parquet
    """
    from affcli.console.printing import show
    from affcli.files.outputs import STANDARD_STREAM, refuse_existing, write_text
    from affcli.labels.reader import read_labels, words_in
    from affcli.predictions.calibration import Calibration
    from affcli.predictions.columns import label_options
    from affcli.predictions.logit_table import LogitTable
    from affcli.scoring.fit_calibration import as_object, fit, judged_frames
    from affcli.scoring.predictor import class_numbers_of
    from affcli.scoring.report import calibration_report, cautions
    from affcli.scoring.tally import Rules

    refuse_existing(output, force=force)
    if source == labels == STANDARD_STREAM:
        raise UsageError("only one of INPUT and --labels can be standard input.")
    truth = read_labels(labels, label_options(columns, label_frame_offset))
    columns = replace(columns, words=words_in(truth))
    with LogitTable(source, columns=columns, carry={"face"}) as table:
        judged = judged_frames(table, truth, Rules(faces_only=faces_only, allow_missing=allow_missing))
        space = table.space
    found = _compared(judged, folds=folds, bootstrap=bootstrap, seed=seed)
    for caution in cautions(found):
        _log.warning("%s", caution)
    offsets = fit(judged)[class_numbers_of(table)]
    calibration = Calibration(table.classes, tuple(offsets.tolist()), space)
    facts = {"folds": min(folds, len(judged.videos)), "seed": seed}
    write_text(output, json.dumps(as_object(calibration, found, facts), indent=1) + "\n", force=force)
    if output != STANDARD_STREAM:
        show(calibration_report(found, calibration.by_class))


def _compared(judged: Judged, *, folds: int, bootstrap: int, seed: int) -> list[Compared]:
    import numpy as np

    from affcli.scoring.fit_calibration import classified, counted_by_video, cross_validated
    from affcli.scoring.metrics import compare

    plain = classified(judged.logits, np.zeros(len(judged.logits)))
    calibrated = cross_validated(judged, folds=folds, seed=seed)
    tallies = [counted_by_video(judged, plain, "as it is"), counted_by_video(judged, calibrated, "cross-validated")]
    return compare(tallies, bootstrap=bootstrap, seed=seed)
