"""`affcli overlay`: a video with its labels drawn in."""

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
@click.option("-o", "--output", required=True, metavar="FILE", help="The video to write: .mp4, .mov or .mkv.")
@click.option("--faces", metavar="V.parquet", help="A visual feature table with boxes, where TABLE has none.")
@click.option(
    "--video", "named", metavar="NAME", help="The video's name in TABLE; by default its file's, without suffix."
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
    """Draws what a frame table says into its video: the face's box, its label, a bar for each class's probability.

    The new video has the source's frames, size and times, also at a variable frame rate, and its sound as it is (.mkv
    holds any kind of sound, .mp4 and .mov most). Several people of one video (clip_left, clip#2) are all drawn.

    \b
    Examples:
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
