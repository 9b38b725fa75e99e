"""`affcli overlay`: draws labels into a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from affcli.console import options

if TYPE_CHECKING:
    from affcli.predictions.columns import ColumnNames


@click.command("overlay")
@click.argument("video", metavar="VIDEO")
@click.argument("table", metavar="[TABLE]", default="-")
@click.option("-o", "--output", required=True, metavar="FILE", help="Output video: .mp4, .mov or .mkv.")
@click.option("--faces", metavar="V.parquet", help="Visual feature table with the face boxes, if TABLE has none.")
@click.option(
    "--video", "named", metavar="NAME", help="Id of the video in TABLE.  [default: the file name without suffix]"
)
@options.label_column
@options.logit_columns
@options.force
@options.common
def command(
    video: str,
    table: str,
    *,
    output: str,
    faces: str | None,
    named: str | None,
    label_column: str | None,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Draw the face box, the label and one probability bar per class into a video.

    TABLE is a frame table, as affcli vote, smooth and label write it; standard input by default. The new video keeps
    the frames, size and frame times of VIDEO, also at a variable frame rate, and its audio unchanged (.mkv holds any
    audio format, .mp4 and .mov most). If TABLE has several people of the video (clip_left, clip#2), all are drawn.

    \b
      affcli overlay clips/clip.mp4 S.parquet --faces V.parquet -o clip-labelled.mp4
    """
    from affcli.console.terminal import counting
    from affcli.files.outputs import refuse_existing
    from affcli.views.labelled_video import LabelledTable
    from affcli.views.overlay.run import check_output, overlay, people_in

    check_output(output)
    refuse_existing(output, force=force)
    with LabelledTable(table, columns=columns, label_column=label_column) as labelled:
        people = people_in(labelled, Path(video), named, faces)
    frames = max(len(person.found.frame) for person in people)
    with counting("overlay", frames, unit="frames") as progress:
        for _ in overlay(Path(video), people, output):
            progress.advance(1, frames=1)
