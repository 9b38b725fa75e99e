"""`affcli label`: labels every frame of videos, and writes a folder of frame tables and a summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from affcli.commands.shared import extracting
from affcli.commands.smooth import METHODS
from affcli.console import options


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
@click.option(
    "--visual-model",
    multiple=True,
    metavar="NAME|DIR|mini",
    help="Image encoder; repeat for a model of several, in its order.  [default: those the model names]",
)
@click.option(
    "--audio-model",
    multiple=True,
    metavar="NAME|DIR|mini",
    help="Speech encoder, like --visual-model.  [default: those the model names]",
)
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
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    metavar="P",
    help="Lowest probability of a label; frames below it are unsure and get none.  [default: the one the model states]",
)
@click.option("--any-sound", is_flag=True, help="Also use audio without speech, such as music and noise.")
@options.batch_size(32, "Faces")
@extracting.work
@options.device
@options.precision
@options.force
@options.common
def command(folder: str, kernel: int, method: str, force: bool, update: bool, fail_fast: bool, **given: Any) -> None:
    """Label the expression in every frame of videos: extract, predict, vote and smooth in one process.

    INPUT: video files; audio files; or folders, which are searched for videos and for folders of numbered images.
    DIR/frames receives one frame table per video (VIDEO.parquet; with --face all one per person, VIDEO#1.parquet), and
    DIR summary.parquet and summary.csv with one row per video: seconds per class, longest segments, shares of frames
    with a face, with audio and with speech, mean confidence. The tables equal those of the separate commands, with the
    face box and the probability of speech added, under --any-sound and --min-confidence 0.

    A frame without a face and without speech gets no label, nor does one below --min-confidence; its logits are kept.
    Sound without speech is ignored.

    A video without audio is labelled from its images alone, and one without any face from its audio alone. Running the
    same command again continues interrupted work; --update adds new videos. Other commands read DIR like a table:

    \b
      affcli label videos/ -o out/
      affcli label videos/ --model model.safetensors -o out/
      affcli score out/ --labels Validation_Set/
    """
    from affcli.files.inputs import SOUND_SUFFIXES
    from affcli.predictions.smooth import Filter

    smoothing = Filter(kernel, method)
    inputs = extracting.find(given, by_name_only=SOUND_SUFFIXES)
    given["tracks"] = extracting.chosen_tracks(given, given["fps"])

    from affcli.jobs.label_folder import refuse_no_folder

    refuse_no_folder(folder)

    from affcli.models.label.chain import ChainOptions
    from affcli.models.label.job import label_job

    chosen = ChainOptions(smoothing=smoothing, **given)
    job, labelling = label_job(inputs, folder, chosen, force=force, update=update, fail_fast=fail_fast)
    result = f"{Path(folder) / 'summary.csv'} and {Path(folder) / 'frames'}/"
    extracting.run(job, inputs, labelling, command="label", result=result, rows="frame")
