"""`affcli report`: one page to look through a labelled folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.errors import AffcliError, PartialError, UsageError, counted

if TYPE_CHECKING:
    from affcli.predictions.columns import ColumnNames
    from affcli.views.report_folder import VideoFiles

_log = logging.getLogger(__name__)


@click.command("report")
@click.argument("source", metavar="DIR|TABLE")
@click.option("-o", "--output", required=True, metavar="FILE", help="The page to write: .html.")
@click.option(
    "--videos",
    "folder",
    metavar="DIR",
    help="The folder of the videos, searched by name; linked relative to the page.  [default: that of the tables]",
)
@click.option("--title", metavar="TEXT", help="The page's title.  [default: the folder's name]")
@options.frame_rate
@options.label_column
@options.logit_columns
@options.force
@options.common
def command(
    source: str,
    *,
    output: str,
    folder: str | None,
    title: str | None,
    fps: float | None,
    label_column: str | None,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Makes one page of a folder of frame tables: a list of the videos, and each one's timeline beside its player.

    A click into the timeline moves the video; arrow keys, Page Up and Page Down do too. The page works from disk and
    fetches nothing but the videos, which stay where they are. Browsers play .mp4 and .webm, few play .avi or .flv:
    affcli overlay makes an .mp4 of those. A table named summary is no frame table and tells which videos lack one.

    \b
    Examples:
      affcli report labels/ --videos clips/ -o report.html
    """
    from affcli.console.terminal import counting
    from affcli.files.outputs import STANDARD_OUTPUT, refuse_existing, write_text
    from affcli.views.report_folder import Folder, Reading, page_video, sentences
    from affcli.views.report_page import page

    if source == "-":
        raise UsageError("a page is made of a folder or a file of tables, not of standard input.")
    refuse_existing(output, force=force)
    if not Path(source).exists():
        raise AffcliError(f"{source}: No such file or directory.")
    files = _video_files(source, folder)
    page_folder = Path.cwd() if output in STANDARD_OUTPUT else Path(output).resolve().parent
    tables = Folder(source, Reading(columns, label_column, fps))
    with counting("report", 0) as progress:
        videos = []
        for video in tables.videos():
            videos.append(page_video(video, files.of(video.video), page_folder))
            progress.advance(1, frames=len(video.frame))
    if not videos:
        raise AffcliError(f"{source}: no frame table could be read; make them with affcli vote or smooth.")
    named = title or Path(source).resolve().name
    write_text(output, page(named, videos, sentences(tables, videos)), force=force)
    if tables.failed:
        raise PartialError(f"{output}: without {counted(len(tables.failed), 'table')} that could not be read.")


def _video_files(source: str, folder: str | None) -> VideoFiles:
    """Those of the named folder; without one, those that lie beside the tables, if any do."""
    from affcli.views.report_folder import VideoFiles

    if folder is not None:
        return VideoFiles(folder)
    beside = source if Path(source).is_dir() else str(Path(source).absolute().parent)
    try:
        return VideoFiles(beside)
    except AffcliError:
        _log.warning("no videos beside the tables; name their folder with --videos.")
        return VideoFiles(None)
