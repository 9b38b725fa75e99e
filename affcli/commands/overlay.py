"""`affcli overlay`: draws labels into a video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.errors import AffcliError, PartialError, UsageError, failed_of

if TYPE_CHECKING:
    from affcli.predictions.columns import ColumnNames
    from affcli.views.labelled_video import LabelledTable


@click.command("overlay")
@click.argument("video", metavar="VIDEO|DIR")
@click.argument("table", metavar="[TABLE]", default="-")
@click.option(
    "-o", "--output", required=True, metavar="FILE|DIR", help="Output video (.mp4, .mov or .mkv), or output folder."
)
@click.option("--videos", metavar="DIR", help="Folder with the videos of the tables in DIR.")
@click.option("--faces", metavar="TABLE", help="Visual feature table with the face boxes, if TABLE has none.")
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
    videos: str | None,
    faces: str | None,
    named: str | None,
    label_column: str | None,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Draw the face box, the label and one probability bar per class into a video.

    TABLE is a frame table, as affcli vote, smooth and label write it; standard input by default. The new video keeps
    the frames, size and frame times of VIDEO, also at a variable frame rate. Its audio and subtitle tracks are copied
    if the new file can hold them (.mkv holds most kinds); a note names the others. If TABLE has several people of the
    video (clip_left, clip#2), all are drawn.

    With --videos, DIR is a folder of frame tables, as written by affcli label, and each of its videos is written to
    the output folder as NAME.mp4. Videos that are there already are kept, so running the same command again continues
    interrupted work.

    \b
      affcli overlay clips/clip.mp4 S.parquet --faces V.parquet -o clip-labelled.mp4
      affcli overlay out/ --videos videos/ -o drawn/
    """
    from affcli.views.labelled_video import LabelledTable

    if videos is None and Path(video).is_dir():
        raise UsageError(f"{video} is a folder: name the folder of its videos with --videos DIR.")
    if videos is not None and (table != "-" or named is not None):
        raise UsageError("--videos draws all videos of a folder of tables; leave TABLE and --video away.")
    with LabelledTable(table if videos is None else video, columns=columns, label_column=label_column) as labelled:
        if videos is None:
            _draw_one(Path(video), labelled, output, named, faces, force=force)
        else:
            _draw_all(videos, labelled, output, faces, force=force)


def _draw_one(
    video: Path, table: LabelledTable, output: str, named: str | None, faces: str | None, *, force: bool
) -> None:
    from affcli.console.terminal import counting
    from affcli.files.outputs import refuse_existing
    from affcli.views.overlay.run import check_output, overlay, people_in

    check_output(output)
    refuse_existing(output, force=force)
    people = people_in(table, video, named, faces)
    with counting("overlay", max(len(person.found.frame) for person in people), unit="frames") as progress:
        for _ in overlay(video, people, output):
            progress.advance(1, frames=1)


def _draw_all(videos: str, table: LabelledTable, output: str, faces: str | None, *, force: bool) -> None:
    from affcli.console import terminal
    from affcli.views.overlay.folder import draw_folder, planned

    plan = planned(table.ids, videos, output, force=force)
    with terminal.counting("overlay", len(plan)) as progress:
        failed = draw_folder(plan, table, faces, progress.advance)
    if failed == len(plan) > 0:
        raise AffcliError(f"{output}: no video could be drawn.")
    if failed:
        raise PartialError(f"{failed_of(failed, len(plan), 'video')}.")
