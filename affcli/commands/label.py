"""`affcli label`: labels every frame of videos, and writes a folder of frame tables and a summary."""

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
@click.option("-o", "--output", "folder", required=True, metavar="DIR", help="Output folder; created if missing.")
@click.option(
    "--model",
    default="mini",
    show_default=True,
    metavar="FILE|mini",
    help="Fusion network: a file written by affcli train, or mini, which comes with affcli.",
)
@click.option("--visual-model", metavar="NAME|DIR|mini", help="Image encoder.  [default: the one the model names]")
@click.option("--audio-model", metavar="NAME|DIR|mini", help="Speech encoder.  [default: the one the model names]")
@options.face
@options.every
@click.option(
    "--fps",
    type=extracting.POSITIVE,
    help="Frame rate for image folders, raw video and audio files.  [default for audio and raw video: 25]",
)
@extracting.tracks()
@options.window
@options.stride
@options.kernel
@click.option("--method", type=click.Choice(METHODS), default="median", show_default=True, help="Smoothing filter.")
@options.batch_size(32, "Faces")
@extracting.work
@options.device
@options.precision
@options.force
@options.common
def command(folder: str, kernel: int, method: str, force: bool, update: bool, fail_fast: bool, **given: Any) -> None:
    """Label the expression in every frame of videos: extract, predict, vote and smooth in one process.

    INPUT: video files; audio files; or folders, which are searched for videos and for folders of numbered images. DIR
    receives one frame table per video (VIDEO.parquet; with --face all one per person, VIDEO#1.parquet), and
    summary.parquet and summary.csv with one row per video: seconds per class, longest segments, shares of frames with
    a face and with audio, mean confidence. The tables equal those of the separate commands, with the face box added.

    A video without audio is labelled from its images alone, and one without any face from its audio alone. Running the
    same command again continues interrupted work; --update adds new videos. Other commands read DIR like a table:

    \b
      affcli label videos/ -o out/
      affcli label videos/ --model model.safetensors -o out/
      affcli score out/ --labels Validation_Set/
    """
    smoothing = Filter(kernel, method)
    inputs = extracting.find(given)
    given["tracks"] = extracting.chosen_tracks(given, given["fps"])

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
        terminal.say(f"nothing to do: {folder} {'holds all readable inputs' if summary.failed else 'is complete'}.")
    else:
        speed = f"{seconds:.1f} s; {frames / seconds:.1f} frames/s" if frames else "no new frames"
        made = f"{counted(summary.videos, 'video')}, {counted(summary.rows, 'frame')}"
        terminal.say(f"{made} → {Path(folder) / 'summary.csv'} and the tables beside it ({speed})")
    if troubled := [*summary.failed, *summary.incomplete]:
        again = " Try them again with --update." if nothing else ""
        raise PartialError(f"{len(troubled)} of {counted(inputs, 'input')} failed or are incomplete.{again}")
