"""affcli extract-audio: sound → audio features, a row a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from affcli.commands.shared import extracting
from affcli.console import options
from affcli.files.inputs import SOUND_SUFFIXES, VIDEO_SUFFIXES, MediaInput
from affcli.jobs.job import Recorder, Task
from affcli.schema import AUDIO, audio_schema

DEFAULT_MODEL = "microsoft/wavlm-base-plus"


@click.command("extract-audio")
@extracting.media_inputs
@options.feature_output("an audio feature table")
@extracting.encoder_options(DEFAULT_MODEL, "speech encoder", mini="trained on acted speech")
@click.option(
    "--layers",
    type=click.IntRange(1),
    show_default="4, or all of an encoder that has fewer; mini: 1",
    help="Mean of the last N hidden layers.",
)
@click.option(
    "--context",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="A frame's vector is the mean over this many seconds before and after its centre.",
)
@click.option(
    "--frames-from", metavar="TABLE|DIR", help="Take the frames' times from a visual feature table: no decoding."
)
@click.option("--fps", type=extracting.POSITIVE, help="Frame rate to use for sound files without a picture.")
@extracting.work
@options.device
@options.precision
@options.force
@options.common
def command(
    output: str,
    model: str,
    layers: int | None,
    context: float,
    frames_from: str | None,
    fps: float | None,
    device: str,
    precision: str,
    **given: Any,
) -> None:
    """Encodes the sound of each input and gives every frame the mean around it: one row a frame, sound or not.

    INPUT: video files, sound files, or folders, which are searched for them. Rows follow the picture's frames; a sound
    file without a picture needs --fps or --frames-from. The same command again continues interrupted work.

    --model takes WavLM and its kind (wav2vec2, HuBERT, …), Whisper's encoder, and the Audio Spectrogram Transformer.

    Sound longer than 30 s is encoded in fixed pieces of 30 s, each with 2 s of its neighbours either side. Encoders
    with a length limit take shorter pieces: Whisper, limited to 30 s, 26 s with the same 2 s either side, and AST,
    limited to 10.24 s, 6 s. Encoders whose first layer normalises over its whole input, as WavLM-base does, give other
    vectors for the whole: by 4.5 % of their length, as much in the middle of a piece as at its ends (base size, random
    weights). Whisper clamps its log-mel spectrogram relative to the loudest moment of the piece.

    \b
      affcli extract-audio clips/ -o A.parquet
      affcli extract-audio clips/ --frames-from V.parquet -o A.parquet
      affcli extract-audio speech.wav --fps 30 --model mini -o A.parquet
    """
    inputs = extracting.find(given, pictures=False, suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES)

    from affcli.features.frame_times import FrameSource
    from affcli.models.encoders.audio_encoder import AudioEncoder
    from affcli.models.extract import audio_features
    from affcli.models.runtime import devices

    run = devices.choose(device, precision)
    encoder = AudioEncoder(model, run, layers=layers)
    source = FrameSource(fps=fps, table=frames_from)
    # A model trained with another context refuses the table.
    card = audio_features.named_with_context(encoder.card, context)
    facts = {"encoder": card, "precision": run.precision, "context_s": context, **source.facts}
    task = Task(output, AUDIO, audio_schema(encoder.card.size), facts, beside=source.beside, **given)

    def extract(todo: Sequence[MediaInput], recorder: Recorder, advance: Callable[[int, int], None]) -> None:
        audio_features.extract(encoder, source, todo, recorder, context_s=context, advance=advance)

    extracting.run(task, inputs, extract, command="extract-audio")
