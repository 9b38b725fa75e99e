"""`affcli export`: frame tables in formats that other programs read."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.errors import AffcliError, UsageError, listed

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from affcli.labels.reader import VideoLabels
    from affcli.predictions.columns import ColumnNames
    from affcli.views.export import Text
    from affcli.views.labelled_video import LabelledTable, LabelledVideo
    from affcli.views.segments import Segments
    from affcli.views.video_files import VideoFiles

_log = logging.getLogger(__name__)

FORMS = ("abaw", "labels", "csv", "segments", "vtt", "srt", "elan")
_CAPTIONS = ("vtt", "srt")
_OF_SEGMENTS = ("segments", *_CAPTIONS, "elan")


@click.command("export")
@click.argument("source", metavar="[INPUT]", default="-")
@click.option("--to", "form", type=click.Choice(FORMS), required=True, help="Format to write.")
@click.option(
    "-o",
    "--output",
    default="-",
    metavar="FILE|DIR",
    show_default=True,
    help="Output file; a folder for labels, for vtt, srt and elan with several videos, and for csv if it ends in /.",
)
@click.option(
    "--probabilities",
    is_flag=True,
    help="With --to csv: write probabilities instead of logits, and add the column confidence.",
)
@click.option("--like", metavar="SAMPLE", help="With --to abaw: the official frame list, whose order is kept.")
@click.option(
    "--min-seconds",
    type=click.FloatRange(0),
    default=0,
    show_default=True,
    help="With segments, vtt, srt, elan: merge shorter segments into a neighbour.",
)
@click.option(
    "--confidence", is_flag=True, help="With vtt, srt: write each segment's mean probability after its label."
)
@click.option(
    "--videos",
    "media",
    metavar="DIR",
    help="With elan: folder with the videos, which are found by name and linked.  [default: the folder of the tables]",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="With --to labels: lowest probability of a label; frames below it get -1, videos without any no file.",
)
@options.frame_rate
@options.label_column
@options.logit_columns
@options.force
@options.common
def command(
    source: str,
    *,
    form: str,
    output: str,
    probabilities: bool,
    like: str | None,
    min_seconds: float,
    min_confidence: float | None,
    confidence: bool,
    media: str | None,
    fps: float | None,
    label_column: str | None,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Convert a frame table to a format that other programs read.

    INPUT is a frame table, as affcli vote, smooth and label write it, or a folder of such tables; standard input by
    default.

    \b
    abaw      an ABAW submission: `VIDEO/00001.jpg,CLASS NUMBER` for each frame
              of the list --like, or of the table. A frame whose label is unsure
              gets its likeliest class, one without a prediction that of the
              nearest frame of its video; a video without any is Neutral.
    labels    a folder with one Aff-Wild2 label file per video: class names,
              then one class number per frame, -1 without a label.
    csv       all columns, unchanged; with --probabilities the classes as
              probabilities that sum to 1, and confidence, the probability of
              the label. -o FILE holds all videos, -o DIR/ one VIDEO.csv per
              video.
    segments  a table with one row per segment (a run of frames with the same
              label): video, start, end (frames, both included), start_s,
              end_s, label, confidence (mean probability of the label).
    vtt       WebVTT captions, one cue per segment: -o FILE.vtt for one video,
              -o DIR for one VIDEO.vtt per video.
    srt       The same as SubRip captions (.srt).
    elan      tiers for ELAN (expression, unsure, no face, no sound): text to
              import, tab-delimited, or an ELAN document with -o FILE.eaf; -o DIR
              writes one VIDEO.eaf per video. Documents link their videos, which
              ELAN finds as long as both keep their places.

    With --min-seconds, the shortest segment is merged into the longer of the adjacent segments (the earlier one if
    they are equally long) and takes its label, until no segment is too short. Frames without a label belong to no
    segment, and segments are never merged across them.

    \b
      affcli export F.parquet --to labels --min-confidence 0.9 -o pseudo/
      affcli export S.parquet --to abaw --like CVPR_EXPR_test_set_sample.txt -o predictions.txt
      affcli export S.parquet --to vtt --min-seconds 0.5 -o captions/
      affcli export S.parquet --to elan --videos clips/ -o elan/
    """
    from affcli.files.outputs import refuse_existing

    if like is not None and form != "abaw":
        raise UsageError("--like SAMPLE goes with --to abaw.")
    if probabilities and form != "csv":
        raise UsageError("--probabilities goes with --to csv.")
    if confidence and form not in _CAPTIONS:
        raise UsageError(
            "--confidence goes with --to vtt, srt; the segments table and --to csv have the probabilities."
        )
    if media is not None and (form != "elan" or _is_text(output)):
        raise UsageError("--videos goes with --to elan -o FILE.eaf or DIR: only ELAN documents link their videos.")
    if (min_seconds or fps) and form not in _OF_SEGMENTS:
        raise UsageError(f"--min-seconds and --fps go with --to {', '.join(_OF_SEGMENTS)}.")
    if min_confidence is not None and form != "labels":
        raise UsageError("--min-confidence goes with --to labels.")
    if form == "labels":
        _write_labels(source, columns, label_column, output, min_confidence, force=force)
    elif form == "csv":
        _write_csv(source, columns, label_column, output, probabilities=probabilities, force=force)
    elif form == "abaw":
        refuse_existing(output, force=force)
        _write_submission(source, columns, label_column, output, like, force=force)
    else:
        from affcli.views.labelled_video import LabelledTable

        with LabelledTable(source, columns=columns, label_column=label_column, fps=fps) as table:
            if form == "segments":
                _write_segments(table, output, min_seconds, force=force)
            elif form == "elan":
                _write_tiers(table, output, min_seconds, _media(source, media), force=force)
            else:
                _write_captions(table, form, output, min_seconds, force=force, confidence=confidence)


def _write_labels(
    source: str,
    columns: ColumnNames,
    label_column: str | None,
    output: str,
    min_confidence: float | None,
    *,
    force: bool,
) -> None:
    from affcli.files.outputs import STANDARD_STREAM
    from affcli.views.export import write_label_folder

    if output == STANDARD_STREAM:
        raise UsageError("--to labels writes a folder: name it with -o DIR.")
    found = _predictions(source, columns, label_column, min_confidence=min_confidence)
    write_label_folder(output, found, force=force)


def _write_submission(
    source: str, columns: ColumnNames, label_column: str | None, output: str, like: str | None, *, force: bool
) -> None:
    from affcli.files.outputs import write_text
    from affcli.tables.abaw_submission import read_locations
    from affcli.views.export import all_locations, submission_text

    listed = None if like is None else read_locations(Path(like))
    predictions = _predictions(source, columns, label_column, guess=True)
    write_text(output, submission_text(listed or all_locations(predictions), predictions), force=force)


def _predictions(
    source: str,
    columns: ColumnNames,
    label_column: str | None,
    *,
    guess: bool = False,
    min_confidence: float | None = None,
) -> dict[str, VideoLabels]:
    from affcli.predictions.logit_table import LogitTable
    from affcli.views.export import confident_labels, predicted_labels

    columns = replace(columns, label=label_column or columns.label, label_named=label_column is not None)
    suffice = min_confidence is None
    with LogitTable(source, columns=columns, carry={columns.label}, labels_suffice=suffice) as table:
        if min_confidence is not None:
            return confident_labels(table, label_column, min_confidence=min_confidence)
        found = predicted_labels(table, label_column, guess=guess)
        if not found:
            raise AffcliError(f"{table.name}: has no rows, so there is nothing to export.")
        return found


def _write_csv(
    source: str, columns: ColumnNames, label_column: str | None, output: str, *, probabilities: bool, force: bool
) -> None:
    """One file, or, with `-o DIR/` or an existing folder, one file per video."""
    from affcli.files.outputs import refuse_existing, refuse_full_folder
    from affcli.views.csv_copies import CopiedRows

    into_folder = output.endswith("/") or Path(output).is_dir()
    refuse = refuse_full_folder if into_folder else refuse_existing
    refuse(output, force=force)
    if probabilities:
        _write_probabilities(source, columns, label_column, output, into_folder=into_folder, force=force)
        return
    with CopiedRows(source, columns.video, columns.reading) as rows:
        if into_folder:
            _write_csv_folder(output, rows.videos(), force=force)
        else:
            _write_csv_file(output, rows.schema, rows.pieces(), force=force)


def _write_probabilities(
    source: str, columns: ColumnNames, label_column: str | None, output: str, *, into_folder: bool, force: bool
) -> None:
    from affcli.predictions.logit_table import LogitTable
    from affcli.views.probabilities import ProbabilityRows

    columns = replace(columns, label=label_column or columns.label, label_named=label_column is not None)
    with LogitTable(source, columns=columns) as table:
        rows = ProbabilityRows(table, label_column)
        if into_folder:
            _write_csv_folder(output, zip(table.ids, rows.videos(), strict=True), force=force)
        else:
            _write_csv_file(output, rows.schema, rows.videos(), force=force)
        table.note_missing()


def _write_csv_file(output: str, schema: pa.Schema, pieces: Iterable[pa.Table], *, force: bool) -> None:
    from affcli.tables.writer import TableWriter

    with TableWriter(output, schema, table_format="csv", force=force) as writer:
        for rows in pieces:
            writer.write(rows)


def _write_csv_folder(output: str, videos: Iterable[tuple[str, pa.Table]], *, force: bool) -> None:
    from affcli.files.outputs import write_folder
    from affcli.views.csv_copies import csv_text

    write_folder(output, ((f"{video}.csv", csv_text(rows)) for video, rows in videos), force=force)


def _write_segments(table: LabelledTable, output: str, min_seconds: float, *, force: bool) -> None:
    from affcli.files.outputs import STANDARD_OUTPUT
    from affcli.tables.writer import TableWriter
    from affcli.views.export import SEGMENTS, segment_rows, segmented

    table_format = "csv" if output in STANDARD_OUTPUT else None
    with TableWriter(output, SEGMENTS, table_format=table_format, force=force) as writer:
        for video, segments in segmented(table, min_seconds):
            writer.write(segment_rows(video, segments))


def _write_captions(
    table: LabelledTable, form: str, output: str, min_seconds: float, *, force: bool, confidence: bool
) -> None:
    from affcli.views.webvtt import captions, subrip

    text = partial(subrip if form == "srt" else captions, confidence=confidence)
    _write_file_or_folder(table, text, f".{form}", output, min_seconds, force=force)


def _media(source: str, folder: str | None) -> VideoFiles:
    """Those of the named folder; without one, those that lie beside the tables, if any do."""
    from affcli.files.outputs import STANDARD_STREAM
    from affcli.views.video_files import VideoFiles, files_beside

    if folder is not None:
        return VideoFiles(folder, sound=True)
    return VideoFiles(None) if source == STANDARD_STREAM else files_beside(source)


def _is_text(output: str) -> bool:
    """Whether tiers are written as tab-delimited text."""
    from affcli.files.outputs import STANDARD_OUTPUT

    return output in STANDARD_OUTPUT or Path(output).suffix.lower() in (".txt", ".tsv")


def _write_tiers(table: LabelledTable, output: str, min_seconds: float, media: VideoFiles, *, force: bool) -> None:
    from affcli.files.outputs import refuse_existing, write_text
    from affcli.views.elan import document, tab_delimited
    from affcli.views.export import segmented

    if not _is_text(output):
        missing: list[str] = []

        def linked(video: LabelledVideo, segments: Segments, source: str) -> str:
            place = Path(output) if Path(output).suffix.lower() == ".eaf" else Path(output) / f"{video.video}.eaf"
            found = media.of(video.video)
            if found is None:
                missing.append(video.video)
            return document(video, segments, source, media=found, folder=place.parent)

        _write_file_or_folder(table, linked, ".eaf", output, min_seconds, force=force)
        if media and missing:
            _log.warning("no video file was found for %s; ELAN asks for it.", listed(missing))
        return
    refuse_existing(output, force=force)
    write_text(output, tab_delimited(segmented(table, min_seconds), table.name), force=force)


def _write_file_or_folder(
    table: LabelledTable, text: Text, suffix: str, output: str, min_seconds: float, *, force: bool
) -> None:
    """`-o NAME.suffix` or standard output for a table of one video, else a folder with a file a video."""
    from affcli.files.outputs import STANDARD_OUTPUT, refuse_existing, refuse_other_suffix, write_folder, write_text
    from affcli.views.export import file_a_video, only_file

    if output in STANDARD_OUTPUT or Path(output).suffix.lower() == suffix:
        refuse_existing(output, force=force)
        write_text(output, only_file(table, text, suffix, min_seconds), force=force)
    else:
        refuse_other_suffix(output, [suffix])
        write_folder(output, file_a_video(table, text, suffix, min_seconds), force=force)
