"""affcli label: videos → a folder of frame tables with labels, and their summary: the whole chain in one command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from affcli.commands.shared import extracting
from affcli.console import options
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

    from affcli.jobs.job import Job
    from affcli.jobs.label_folder import LabelFolder, refuse_no_folder
    from affcli.jobs.labelling import Labelling

    refuse_no_folder(folder)

    from affcli.models.label.chain import Chain, ChainOptions

    chain = Chain(ChainOptions(smoothing=smoothing, **given))
    chain.note_alignment(inputs)
    tables = LabelFolder(folder, chain.settings)
    job = Job(tables, force=force, update=update, fail_fast=fail_fast)
    result = f"{Path(folder) / 'summary.csv'} and the tables beside it"
    extracting.run(job, inputs, Labelling(tables, chain), command="label", result=result, rows="frame")
