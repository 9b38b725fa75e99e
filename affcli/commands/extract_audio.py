"""`affcli extract-audio`: audio features, one row per frame."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import click

from affcli.commands.shared import extracting
from affcli.console import options
from affcli.files.inputs import SOUND_SUFFIXES, VIDEO_SUFFIXES, MediaInput

if TYPE_CHECKING:
    from affcli.jobs.job import Ended
    from affcli.jobs.parts import Parts
    from affcli.jobs.progress import Progress
    from affcli.models.encoders.layer_choice import Layers

DEFAULT_MODEL = "microsoft/wavlm-base-plus"


@click.command("extract-audio")
@extracting.media_inputs
@options.feature_output("an audio feature table")
@extracting.encoder_options(DEFAULT_MODEL, "speech encoder", mini="trained on acted speech")
@extracting.layers("4, or all of an encoder that has fewer; mini: 1")
@click.option(
    "--context",
    type=click.FloatRange(0),
    default=0.5,
    show_default=True,
    help="Seconds before and after a frame's centre that its vector averages.",
)
@click.option(
    "--frames-from",
    metavar="TABLE|DIR",
    help="Reuse the frame times of a visual feature table, so the video is not decoded twice.",
)
@click.option(
    "--fps", type=extracting.POSITIVE, help="Frame rate for audio files and raw video, which carry no frame times."
)
@extracting.tracks()
@click.option("--logits", is_flag=True, help="Add the class logits of the encoder's own head (see train-audio).")
@extracting.work
@options.device
@options.precision
@options.force
@options.common
def command(
    output: str,
    model: str,
    layers: Layers,
    context: float,
    frames_from: str | None,
    fps: float | None,
    logits: bool,
    device: str,
    precision: str,
    **given: Any,
) -> None:
    """Encode the audio of each input into one vector per frame, with or without audio there.

    INPUT: video files, audio files, or folders, which are searched for both. Rows follow the frames of the video; audio
    files need --fps or --frames-from. A frame's vector is the mean of the encoder's output around it. Running the same
    command again continues interrupted work.

    --model takes WavLM and its kind (wav2vec2, HuBERT, …), Whisper's encoder, w2v-BERT, and the Audio Spectrogram
    Transformer.

    Audio longer than 30 s is encoded in fixed pieces of 30 s, each with 2 s of the audio on either side as context.
    Encoders with a length limit use shorter pieces with the same context: 26 s for Whisper (limit 30 s), 6 s for AST
    (limit 10.24 s) and mini (limit 10 s). Whisper clamps its log-mel spectrogram relative to the loudest moment of the
    piece.

    With --logits, the classification head that train-audio trained, or that a public checkpoint of the wav2vec2 family
    or Whisper has, adds its logits, averaged like the vector, which vote, smooth and score can read.

    \b
      affcli extract-audio clips/ -o A.parquet
      affcli extract-audio clips/ --frames-from V.parquet -o A.parquet
      affcli extract-audio speech.wav --fps 30 --model mini -o A.parquet
      affcli extract-audio clips/ --model mini --logits -o A.parquet
    """
    inputs = extracting.find(given, pictures=False, suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES)

    from affcli.features.frame_times import FrameSource
    from affcli.jobs.job import Job
    from affcli.jobs.table_output import STREAM, TableOutput
    from affcli.models.encoders.audio_encoder import AudioEncoder
    from affcli.models.extract import audio_features
    from affcli.models.runtime import devices
    from affcli.schema import AUDIO, audio_schema

    run = devices.choose(device, precision)
    encoder = AudioEncoder(model, run, layers=layers, logits=logits)
    choice = extracting.chosen_tracks(given, fps)
    source = FrameSource(fps=fps, table=frames_from, choice=choice)
    # A model trained with another context refuses the table.
    card = audio_features.named_with_context(encoder.card, context)
    extracting.note_size(encoder.card.size, encoder.card.layers)
    kept = {"layers": encoder.card.layers} if encoder.card.layers else {}
    facts = {"encoder": card, **kept, "precision": run.precision, "context_s": context, **source.facts, **choice.facts}
    if logits:
        facts["logits"] = list(encoder.classes)
    table = TableOutput(output, AUDIO, audio_schema(encoder.card.size, encoder.classes), facts)

    def extract(items: Iterable[MediaInput], parts: Parts, progress: Progress) -> Generator[Ended]:
        return audio_features.extract(
            encoder, source, items, parts, stream=STREAM, context_s=context, progress=progress, choice=choice
        )

    job = Job(table, beside=source.beside, **given)
    extracting.run(job, inputs, extract, command="extract-audio", result=output, rows="row")
