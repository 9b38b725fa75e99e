"""`affcli calibrate`: fits per-class logit offsets that raise macro F1, and a temperature."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from affcli.console import options
from affcli.errors import UsageError

if TYPE_CHECKING:
    from affcli.console.printing import Grid
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
    "--temperature", is_flag=True, help="Fit a temperature, so that probabilities are right as often as they say."
)
@click.option(
    "--thresholds",
    is_flag=True,
    help="Fit the offset per class, its decision threshold.  [default: unless --temperature is given]",
)
@click.option(
    "--folds", type=click.IntRange(2), default=5, show_default=True, help="Folds of the cross-validation over videos."
)
@click.option("--faces-only", is_flag=True, help="Use only frames with a face.")
@click.option("--allow-missing", is_flag=True, help="Skip labelled frames that have no prediction.")
@options.bootstrap
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
    temperature: bool,
    thresholds: bool,
    folds: int,
    faces_only: bool,
    allow_missing: bool,
    bootstrap: int,
    seed: int,
    label_frame_offset: int,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Fit one offset per class that raises macro F1 on labelled data, or a temperature, or both.

    INPUT is a table of logits or probabilities with one row per frame; standard input by default. The offsets apply to
    numbers of the same kind only. All labelled frames are held in memory. The gain that is printed is cross-validated:
    each video is scored with offsets fitted on other videos. The offsets that are written are fitted on all videos.
    affcli vote --calibration adds them after averaging, so fit them on the output of vote, before smoothing.

    --temperature divides the logits by the number that makes the labels likeliest. It changes no label, but what
    confidence means: see affcli export --min-confidence. Printed are the expected calibration error (15 bins of
    confidence) and the log-loss of each video, as it is and at the temperature fitted on other videos.

    \b
      affcli vote W_val.parquet | affcli calibrate --labels Validation_Set -o calibration.json
      affcli vote W_test.parquet --calibration calibration.json | affcli smooth -o S.parquet
      affcli calibrate S.parquet --labels Validation_Set --temperature -o temperature.json
    """
    from affcli.console.printing import show
    from affcli.files.outputs import STANDARD_STREAM, refuse_existing, write_text
    from affcli.labels.reader import read_labels, words_in
    from affcli.predictions.calibration import Calibration
    from affcli.predictions.columns import label_options
    from affcli.predictions.logit_table import LogitTable
    from affcli.scoring.fit_calibration import as_object, fit, judged_frames
    from affcli.scoring.fit_temperature import at_temperature, facts_of, fit_temperature, judged_temperature
    from affcli.scoring.predictor import class_numbers_of
    from affcli.scoring.report import calibration_report, cautions, temperature_report
    from affcli.scoring.tally import Rules

    refuse_existing(output, force=force)
    if source == labels == STANDARD_STREAM:
        raise UsageError("only one of INPUT and --labels can be standard input.")
    truth = read_labels(labels, label_options(columns, label_frame_offset))
    columns = replace(columns, words=words_in(truth))
    with LogitTable(source, columns=columns, carry={"face"}) as table:
        judged = judged_frames(table, truth, Rules(faces_only=faces_only, allow_missing=allow_missing))
        space = table.space
    kind = Calibration(table.classes, (0.0,) * len(table.classes), space)
    split: dict[str, Any] = {"folds": folds, "seed": seed}
    facts: dict[str, Any] = {"folds": min(folds, len(judged.videos)), "seed": seed}
    shown: list[str | Grid] = []
    if temperature:
        kind = replace(kind, temperature=fit_temperature(judged, space))
        sureness = judged_temperature(judged, space, **split)
        facts |= facts_of(kind.temperature, sureness)
        shown += temperature_report(kind.temperature, sureness)
        judged = at_temperature(judged, space, kind.temperature)
    found = _compared(judged, bootstrap=bootstrap, **split)
    if thresholds or not temperature:
        for caution in cautions(found):
            _log.warning("%s", caution)
        kind = replace(kind, offsets=tuple(fit(judged)[class_numbers_of(table)].tolist()))
        shown += calibration_report(found, kind.by_class)
    write_text(output, json.dumps(as_object(kind, found, facts), indent=1) + "\n", force=force)
    if output != STANDARD_STREAM:
        show(shown)


def _compared(judged: Judged, *, folds: int, bootstrap: int, seed: int) -> list[Compared]:
    import numpy as np

    from affcli.scoring.fit_calibration import classified, counted_by_video, cross_validated
    from affcli.scoring.metrics import compare

    plain = classified(judged.logits, np.zeros(len(judged.logits)))
    calibrated = cross_validated(judged, folds=folds, seed=seed)
    tallies = [counted_by_video(judged, plain, "as it is"), counted_by_video(judged, calibrated, "cross-validated")]
    return compare(tallies, bootstrap=bootstrap, seed=seed)
