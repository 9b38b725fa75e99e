"""`affcli report`: an HTML page for browsing a labelled folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import click

from affcli.console import options
from affcli.errors import AffcliError, PartialError, UsageError, counted

if TYPE_CHECKING:
    from affcli.predictions.columns import ColumnNames
    from affcli.views.video_files import VideoFiles

_log = logging.getLogger(__name__)

_LARGE = 500_000_000  # bytes: Chromium 147 opened a page of 221 MB in 2.4 s, and one of 1.5 GB not in half a minute


@click.command("report")
@click.argument("source", metavar="DIR|TABLE")
@click.option("-o", "--output", required=True, metavar="FILE", help="Output page, .html.")
@click.option(
    "--videos",
    "folder",
    metavar="DIR",
    help="Folder with the videos, which are found by name and linked.  [default: the folder of the tables]",
)
@click.option("--title", metavar="TEXT", help="Title of the page.  [default: the name of DIR]")
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
    """Build one HTML page from a folder of frame tables: the list of videos, and a player with a timeline for each.

    Clicking the timeline moves the video, and so do the arrow keys, Page Up and Page Down. The page opens from disk,
    needs no network, and links to the videos where they are, relative to the page. Browsers play .mp4 and .webm; for
    .avi, .flv and others, affcli overlay writes an .mp4. If DIR has a summary, the page also lists the videos in it
    that have no frame table, and why.

    The list can be searched, and sorted by its headings. report.html#VIDEO opens the page at a video. On a dark screen
    the page is dark.

    \b
      affcli report out/ --videos videos/ -o report.html
    """
    from affcli.console.terminal import counting
    from affcli.files.outputs import STANDARD_OUTPUT, refuse_existing, write_text
    from affcli.views.report_folder import Folder, Reading, page_video, sentences
    from affcli.views.report_page import ReportPage

    if source == "-":
        raise UsageError("standard input cannot be used here; name a folder of tables or one table.")
    refuse_existing(output, force=force)
    if not Path(source).exists():
        raise AffcliError(f"{source}: No such file or directory.")
    files = _video_files(source, folder)
    page_folder = Path.cwd() if output in STANDARD_OUTPUT else Path(output).resolve().parent
    tables = Folder(source, Reading(columns, label_column, fps))
    with ReportPage() as page:
        with counting("report", 0) as progress:
            for video in tables.videos():
                problem = tables.problems.get(video.video)
                page.add(page_video(video, files.of(video.video), page_folder, problem=problem))
                progress.advance(1, frames=len(video.frame))
        if not page.videos:
            raise AffcliError(f"{source}: no frame table could be read; make them with affcli vote or smooth.")
        named = title or Path(source).resolve().name
        write_text(output, page.pieces(named, sentences(tables), tables.unlabelled), force=force)
    if output not in STANDARD_OUTPUT:
        _note_size(Path(output))
    if tables.failed:
        raise PartialError(f"{output}: without {counted(len(tables.failed), 'table')} that could not be read.")


def _note_size(page: Path) -> None:
    if (size := page.stat().st_size) > _LARGE:
        megabytes = round(size / 1e6)
        _log.warning("%s: has %d MB, more than browsers may open; make pages of parts of it.", page, megabytes)


def _video_files(source: str, folder: str | None) -> VideoFiles:
    """Those of the named folder; without one, those that lie beside the tables, if any do."""
    from affcli.views.video_files import VideoFiles, files_beside

    if folder is not None:
        return VideoFiles(folder, sound=True)
    found = files_beside(source)
    if not found:
        _log.warning("no videos found beside the tables; name their folder with --videos.")
    return found
