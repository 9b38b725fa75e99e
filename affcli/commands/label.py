"""affcli label: videos → a folder of frame tables with labels, and their summary: the whole chain in one command."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from affcli.commands.shared import extracting
from affcli.console import options, terminal
from affcli.errors import PartialError, counted
from affcli.jobs.job import Summary
from affcli.predictions.smooth import METHODS, Filter


@click.command("label")
@extracting.media_inputs
@click.option("-o", "--output", "folder", required=True, metavar="DIR", help="The folder to write, made if missing.")
@click.option(
    "--model",
    default="mini",
    show_default=True,
    metavar="FILE|mini",
    help="The fusion network: model.safetensors, made by affcli train, or mini (comes with affcli).",
)
@click.option("--visual-model", metavar="NAME|DIR|mini", help="The image encoder.  [default: the one the model names]")
@click.option("--audio-model", metavar="NAME|DIR|mini", help="The speech encoder.  [default: the one the model names]")
@options.face
@options.every
@click.option(
    "--fps",
    type=extracting.POSITIVE,
    help="Frame rate of folders of pictures and of sound without a picture.  [default for sound: 25]",
)
@options.window
@options.stride
@options.kernel
@click.option("--method", type=click.Choice(METHODS), default="median", show_default=True, help="The filter over time.")
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Leave frames unsure whose likeliest label is less probable than this.  "
    "[default: the one the model states; mini: 0.45]",
)
@click.option("--any-sound", is_flag=True, help="Sound without speech (music, noise) counts, too.")
@options.batch_size(32, "Faces")
@extracting.work
@options.device
@options.precision
@options.force
@options.common
def command(folder: str, kernel: int, method: str, force: bool, update: bool, fail_fast: bool, **given: Any) -> None:
    """Names the expression in every frame of videos: extract, predict, vote and smooth in one process.

    INPUT: video files; sound files; folders, which are searched for videos and for folders of numbered pictures. DIR
    gets a frame table for each video (VIDEO.parquet; with --face all one for each person, VIDEO#1.parquet), and
    summary.parquet and summary.csv, a row a video: seconds per class, longest segments, shares of frames with a face
    and with sound, mean confidence. The tables are those that the separate commands give, with the face's box added.

    A video without sound is labelled by its picture alone, one without picture or face by its sound. The same command
    again continues interrupted work; --update adds new videos. Other commands take DIR for a table:

    \b
      affcli label videos/ -o out/
      affcli label videos/ --model model.safetensors -o out/
      affcli score out/ --labels Validation_Set/
    """
    smoothing = Filter(kernel, method)
    inputs = extracting.find(given)

    from affcli.jobs import labelling

    labelling.refuse_no_folder(folder)

    from affcli.models.label.chain import Chain, ChainOptions

    chain = Chain(ChainOptions(smoothing=smoothing, **given))
    chain.note_alignment(inputs)
    task = labelling.LabelTask(folder, force=force, update=update, fail_fast=fail_fast)
    began, frames = time.perf_counter(), 0
    with terminal.counting("label", len(inputs)) as counter:

        def advance(videos: int, more: int) -> None:
            nonlocal frames
            frames += more
            counter.advance(videos, frames=more)

        summary = labelling.run(task, inputs, chain, advance)
    _tell(summary, folder, len(inputs), frames, time.perf_counter() - began)


def _tell(summary: Summary, folder: str, inputs: int, frames: int, seconds: float) -> None:
    """The closing line; raises PartialError where some inputs failed."""
    nothing = summary.outcome == "nothing to do"
    if nothing:
        terminal.say(f"nothing to do: {folder} {'holds what could be made' if summary.failed else 'is complete'}.")
    else:
        speed = f"{seconds:.1f} s; {frames / seconds:.1f} frames/s" if frames else "no new frames"
        made = f"{counted(summary.videos, 'video')}, {counted(summary.rows, 'frame')}"
        terminal.say(f"{made} → {Path(folder) / 'summary.csv'} and the tables beside it ({speed})")
    if troubled := [*summary.failed, *summary.incomplete]:
        again = " Try them again with --update." if nothing else ""
        raise PartialError(f"{len(troubled)} of {counted(inputs, 'input')} failed or are incomplete.{again}")
