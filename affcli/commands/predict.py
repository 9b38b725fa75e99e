"""`affcli predict`: runs a trained network over feature tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from affcli.console import options, terminal
from affcli.errors import AffcliError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

    from affcli.features.joined import JoinedFeatures, VideoFeatures
    from affcli.models.fusion.inference import WindowedLogits
    from affcli.models.fusion.model_file import ModelCard


@click.command("predict")
@click.option(
    "--model",
    required=True,
    metavar="FILE|mini",
    help="Network: a file written by affcli train, or mini, which comes with affcli.",
)
@click.option(
    "--visual",
    "visuals",
    multiple=True,
    metavar="TABLE|DIR",
    help="Visual features; without them, audio alone is used. Repeatable, in any order.",
)
@click.option(
    "--audio",
    "audios",
    multiple=True,
    metavar="TABLE|DIR",
    help="Audio features; without them, images alone are used. Repeatable, in any order.",
)
@options.output()
@options.table_format
@options.window
@options.stride
@click.option("--held-out", is_flag=True, help="Only the videos that train --fold held out.")
@options.allow_unmatched
@options.batch_size(64, "Windows")
@options.device
@options.precision
@options.force
@options.common
def command(
    model: str,
    visuals: tuple[str, ...],
    audios: tuple[str, ...],
    output: str,
    table_format: str | None,
    window: int | None,
    stride: int | None,
    held_out: bool,
    allow_unmatched: bool,
    batch_size: int,
    device: str,
    precision: str,
    force: bool,
) -> None:
    """Run a trained network over feature tables: one row of class logits per frame of each window.

    Windows overlap, so a frame has several rows; affcli vote averages them. Give --visual, --audio or both. Each is a
    table or a folder of tables. The model's card tells which of several tables is which, by encoder and alignment; a
    table that is not given counts as missing.

    \b
      affcli predict --model model.safetensors --visual V.parquet --audio A.parquet |
        affcli vote | affcli smooth > labels.parquet
    """
    if not (visuals or audios):
        raise UsageError("give --visual, --audio or both.")

    from affcli.models.fusion import inference
    from affcli.models.fusion.model_file import find_model, load_model
    from affcli.models.runtime import devices
    from affcli.schema import WINDOWED, windowed_schema, with_metadata
    from affcli.tables.writer import TableWriter

    run = devices.choose(device, precision, small=True)
    network, card = load_model(find_model(model))
    network.to(run.device)
    sliding = card.sliding(window, stride)
    facts = {"classes": card.classes, **sliding, "encoders": card.encoders}
    with _joined(card, visuals, audios) as joined:
        joined.check_matches(allow_unmatched=allow_unmatched)
        schema = with_metadata(windowed_schema(card.classes), kind=WINDOWED, **facts, **joined.starts)
        with (
            TableWriter(output, schema, table_format=table_format, force=force) as writer,
            terminal.counting("predict", len(joined.videos)) as counter,
        ):
            for video in map(joined.read, _chosen(joined, card.training, held_out=held_out)):
                logits = inference.windowed_logits(network, video, run, **sliding, batch_size=batch_size)
                writer.write(_rows(video, logits, schema))
                counter.advance(1, frames=video.frames)
            joined.note_incomplete()


def _joined(card: ModelCard, visuals: Sequence[str], audios: Sequence[str]) -> JoinedFeatures:
    """The tables as one; raises AffcliError where they are not from the encoders that the model was trained with."""
    from affcli.features.joined import JoinedFeatures, note_other_alignment
    from affcli.features.side_by_side import as_trained
    from affcli.predictions.logit_features import open_table
    from affcli.schema import AUDIO, VISUAL

    given = {"visual": (visuals, VISUAL), "audio": (audios, AUDIO)}
    tables = [
        as_trained([open_table(name, kind=kind) for name in names], card.encoders[stream], f"--{stream}")
        for stream, (names, kind) in given.items()
    ]
    joined = JoinedFeatures(*tables, sizes=(card.config.visual_size, card.config.audio_size))
    if "tables" not in card.encoders["visual"]:  # else each table's is compared with its own
        note_other_alignment(joined, card.alignment)
    return joined


def _chosen(joined: JoinedFeatures, training: Mapping[str, Any], *, held_out: bool) -> list[str]:
    """All videos, or those of the tables that the model's training held out."""
    if not held_out:
        return joined.videos
    known = set(training.get("held_out", ()))
    chosen = [video for video in joined.videos if video in known]
    if not chosen:
        raise AffcliError("--held-out: the model's training held none of these videos out (train with --fold K/N).")
    return chosen


def _rows(video: VideoFeatures, logits: WindowedLogits, schema: pa.Schema) -> pa.Table:
    """One row for each frame of each window, in the order of the table's columns."""
    import numpy as np
    import pyarrow as pa

    at = logits.frame - 1
    columns = [
        pa.repeat(pa.scalar(video.video, pa.string()), len(at)),
        pa.array(logits.window),
        pa.array(logits.frame),
        pa.array(video.time_s[at], mask=np.isnan(video.time_s[at])),
        pa.array(video.visual.valid[at]),
        pa.array(video.audio.valid[at]),
        *(pa.array(np.ascontiguousarray(column)) for column in logits.logits.T),
    ]
    return pa.Table.from_arrays(columns, schema=schema)
