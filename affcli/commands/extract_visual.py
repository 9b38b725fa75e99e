"""affcli extract-visual: videos → faces → visual features, a row a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from affcli import options
from affcli.commands import extracting
from affcli.extraction import Recorder, Task
from affcli.inputs import MediaInput
from affcli.schema import VISUAL, visual_schema

DEFAULT_MODEL = "microsoft/beit-base-patch16-224-pt22k-ft22k"


@click.command("extract-visual")
@extracting.media_inputs
@options.output(required=True, what="a visual feature table")
@extracting.encoder_options(DEFAULT_MODEL, "image encoder")
@click.option(
    "--face",
    type=click.Choice(["largest", "left", "right", "all"]),
    default="largest",
    show_default=True,
    help="Whose face; largest stays with the person it starts with, all gives each person rows of their own, NAME#1 ….",
)
@click.option("--fps", type=extracting.POSITIVE, help="Frame rate of folders of pictures, which do not know theirs.")
@click.option("--videos", metavar="DIR", help="The videos that folders of pictures were cut from: their frames' times.")
@click.option("--every", type=click.IntRange(1), default=1, show_default=True, help="Encode each Nth frame only.")
@options.batch_size(32, "Faces")
@extracting.work
@options.device
@options.precision
@options.force
@options.common
def command(
    output: str, model: str, face: Any, every: int, batch_size: int, device: str, precision: str, **given: Any
) -> None:
    """Finds, follows and aligns a face in every frame, and encodes it: one row a frame, face or not.

    INPUT: video files; folders, which are searched for them; folders of numbered pictures of aligned faces
    (Aff-Wild2's cropped_aligned), where a missing number is a frame without a face. With --every, features between two
    encoded faces are interpolated. The same command again continues interrupted work.

    \b
      affcli extract-visual clips/ -o V.parquet
      affcli extract-visual cropped_aligned/ --videos videos/ -o V.parquet
      find . -name '*.mp4' -print0 | affcli extract-visual --from-file - -0 --model mini -o V.parquet
    """
    inputs = extracting.find(given)

    from affcli.media.showing import PictureTimes, Show
    from affcli.models import runtime, visual_features
    from affcli.models.encoders import VisualEncoder

    run = runtime.choose(device, precision)
    encoder = VisualEncoder(model, run, batch_size=batch_size)
    times = PictureTimes(given.pop("fps"), given.pop("videos"))
    show = Show(encoder.preprocessing.fitted, encoder.preprocessing.input_size, face, every, times)
    made_by = {"encoder": encoder.card.as_json(), "precision": run.precision, "alignment": show.alignment(inputs)}
    facts = {**made_by, "face": face, "every": every, **times.facts}
    task = Task(output, VISUAL, visual_schema(encoder.card.size), facts, beside=times.beside, **given)

    def extract(todo: Sequence[MediaInput], recorder: Recorder, advance: Callable[[int, int], None]) -> None:
        visual_features.extract(encoder, show, todo, recorder, tracks=face == "all", advance=advance)

    extracting.run(task, inputs, extract, command="extract-visual")
