"""`affcli plot`: figures of frame tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affcli.console import options
from affcli.errors import AffcliError, UsageError, listed

if TYPE_CHECKING:
    from affcli.labels.reader import VideoLabels
    from affcli.predictions.columns import ColumnNames
    from affcli.views.labelled_video import LabelledTable
    from affcli.views.sheet import Look

_LARGEST_MM = 2000


class _Size(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.3 on
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = re.fullmatch(r"(\d+(?:\.\d+)?)(?:[x×](\d+(?:\.\d+)?))?", str(value).removesuffix("mm").strip())
        sides = [float(side) for side in found.groups() if side] if found else []
        if not sides or not all(0 < side <= _LARGEST_MM for side in sides):
            self.fail(f"'{value}' is not WIDTH or WIDTHxHEIGHT in millimetres, up to {_LARGEST_MM}.", param, ctx)
        return sides[0], sides[1] if len(sides) > 1 else None


@click.command("plot")
@click.argument("source", metavar="[INPUT]", default="-")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE|DIR",
    help="Output file, .png, .svg or .pdf, or a folder for one file per video.",
)
@click.option("--labels", metavar="DIR|FILE", help="True labels, as for affcli score; drawn below the predictions.")
@click.option("--confusion", is_flag=True, help="Plot the confusion matrix of all videos instead; needs --labels.")
@click.option("--video", "chosen", metavar="NAME", help="Plot this video only.")
@click.option(
    "--format",
    "picture",
    type=click.Choice(["png", "svg", "pdf"]),
    default="png",
    show_default=True,
    help="Format of the files in a folder.",
)
@click.option(
    "--size",
    type=_Size(),
    metavar="WIDTH[xHEIGHT]",
    help="Size of the picture in millimetres, such as 85 or 180x100.  [default: 180, as high as needed]",
)
@click.option(
    "--title",
    metavar="TEXT",
    help="Title, before the video's name in a folder; '' for none.  [default: the video; for --confusion the table]",
)
@options.frame_rate
@options.label_column
@options.label_frame_offset
@options.logit_columns
@options.force
@options.common
def command(
    source: str,
    *,
    output: str,
    labels: str | None,
    confusion: bool,
    chosen: str | None,
    picture: str,
    size: tuple[float, float | None] | None,
    title: str | None,
    fps: float | None,
    label_column: str | None,
    label_frame_offset: int,
    columns: ColumnNames,
    force: bool,
) -> None:
    """Plot one timeline per video, or the confusion matrix.

    INPUT is a frame table, as affcli vote, smooth and label write it, or a folder of such tables; standard input by
    default. A timeline shows the labels as a band, the true labels below it (with --labels), the stretches without a
    face or audio, and the probability of each class over time. Where one pixel column covers several frames, the dark
    area is their mean and the light area their maximum. Needs matplotlib: pip install 'affcli[plot]'.

    Texts keep their size at every --size. PDF and SVG hold lines and text, for print and for editing.

    \b
      affcli plot S.parquet --video clip -o clip.png
      affcli plot S.parquet --labels Validation_Set -o timelines/ --format svg
      affcli plot S.parquet --labels Validation_Set --confusion -o confusion.pdf
    """
    from affcli.files.outputs import refuse_existing, refuse_full_folder, refuse_other_suffix, write_bytes, write_folder
    from affcli.labels.reader import read_labels, words_in
    from affcli.predictions.columns import label_options
    from affcli.views.sheet import SUFFIXES, WIDTH_MM, Look

    suffix = Path(output).suffix.lower()
    if confusion and labels is None:
        raise UsageError("--confusion needs --labels.")
    if confusion and suffix not in SUFFIXES:
        raise UsageError(f"{output}: --confusion writes one picture; end its name in {' or '.join(SUFFIXES)}.")
    look = Look(*(size or (WIDTH_MM, None)), title)
    if suffix in SUFFIXES:
        refuse_existing(output, force=force)
    else:
        refuse_other_suffix(output, SUFFIXES)
        refuse_full_folder(output, force=force)
    truth = None if labels is None else read_labels(labels, label_options(columns, label_frame_offset))
    columns = columns if truth is None else replace(columns, words=words_in(truth))
    if confusion and truth is not None:
        write_bytes(output, _confusion(source, columns, label_column, truth, suffix, look))
        return
    from affcli.views.labelled_video import LabelledTable

    with LabelledTable(source, columns=columns, label_column=label_column, fps=fps) as table:
        videos = _chosen(table, chosen)
        if suffix not in SUFFIXES:
            write_folder(output, _pictures(table, videos, truth, f".{picture}", look, named=True), force=force)
        elif len(videos) > 1:
            raise UsageError(f"{table.name}: has {len(videos):,} videos; name one with --video, or a folder with -o.")
        else:
            write_bytes(output, next(content for _, content in _pictures(table, videos, truth, suffix, look)))


def _chosen(table: LabelledTable, chosen: str | None) -> tuple[str, ...]:
    if not table.ids:
        raise AffcliError(f"{table.name}: has no rows, so there is nothing to plot.")
    if chosen is None:
        return table.ids
    from affcli.video_ids import one_spelling

    if (video := one_spelling(chosen)) not in table.ids:
        raise AffcliError(f"{table.name}: has no video '{chosen}' (videos: {listed(table.ids)}).")
    return (video,)


def _pictures(
    table: LabelledTable,
    videos: tuple[str, ...],
    truth: Mapping[str, VideoLabels] | None,
    suffix: str,
    look: Look,
    *,
    named: bool = False,
) -> Iterator[tuple[str, bytes]]:
    """Names and contents of files. `named`: a title does not replace the video's name."""
    from affcli.console.terminal import counting
    from affcli.labels.matching import truth_of
    from affcli.views.plot import columns_of, timeline_picture
    from affcli.views.timeline import timeline

    with counting("plot", len(videos), shown=len(videos) > 1) as progress:
        for name in videos:
            video = table.video(name)
            own = None if truth is None else truth_of(truth, name, video.frame)
            titled = replace(look, title=f"{look.title}: {name}") if named and look.title else look
            found = timeline(video, columns_of(suffix, look), own)
            yield f"{name}{suffix}", timeline_picture(found, suffix, titled)
            progress.advance(1, frames=len(video.frame))


def _confusion(
    source: str,
    columns: ColumnNames,
    label_column: str | None,
    truth: Mapping[str, VideoLabels],
    suffix: str,
    look: Look,
) -> bytes:
    from affcli.predictions.logit_table import LogitTable
    from affcli.scoring.metrics import compare
    from affcli.scoring.tally import Rules, tally
    from affcli.views.plot import confusion_picture

    columns = replace(columns, label=label_column or columns.label, label_named=label_column is not None)
    with LogitTable(source, columns=columns, carry={columns.label}, labels_suffice=True) as table:
        found = tally(table, truth, Rules(allow_missing=True, label_column=label_column))
    return confusion_picture(compare([found], bootstrap=0)[0].score, Path(source).name, suffix, look)
