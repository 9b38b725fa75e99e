"""`affcli extract-visual`: visual features of faces, one row per frame."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from affcli.commands.shared import extracting
from affcli.console import options
from affcli.errors import UsageError
from affcli.files.inputs import MediaInput

if TYPE_CHECKING:
    from affcli.jobs.job import Ended
    from affcli.jobs.parts import Parts
    from affcli.jobs.progress import Progress
    from affcli.models.encoders.layer_choice import Layers

DEFAULT_MODEL = "microsoft/beit-base-patch16-224-pt22k-ft22k"


def _scales(ctx: click.Context, param: click.Parameter, given: str) -> tuple[float, ...]:
    try:
        scales = tuple(sorted({float(scale) for scale in given.split(",")}))
    except ValueError:
        raise click.BadParameter(f"'{given}' is not a list of numbers such as 0.9,1.2,1.5.") from None
    if not all(0.1 <= scale <= 10 for scale in scales):
        raise click.BadParameter(f"'{given}' has a scale that is not between 0.1 and 10.")
    return scales


def _refuse_more_than_is_shown(scales: Sequence[float], inputs: Sequence[MediaInput]) -> None:
    crops = next((item for item in inputs if item.kind == "pictures"), None)
    if crops is not None and scales[-1] > 1:
        what = "a folder of aligned face crops, which have no image around them"
        raise UsageError(f"--crop-scale {scales[-1]:g}: {crops.path} is {what}; give scales up to 1.")


@click.command("extract-visual")
@extracting.media_inputs
@options.feature_output("a visual feature table")
@extracting.encoder_options(DEFAULT_MODEL, "image encoder", mini="fine-tuned on faces")
@options.face
@click.option(
    "--fps", type=extracting.POSITIVE, help="Frame rate for image folders and raw video, which carry no timing."
)
@extracting.tracks(sound=False)
@click.option(
    "--videos", metavar="DIR", help="Videos that the image folders were cut from; gives frame counts and times."
)
@options.every
@click.option(
    "--crop-scale",
    "scales",
    metavar="S,S,…",
    default="1",
    show_default=True,
    callback=_scales,
    help="Average the features of several crops of each face; 1.2 takes 1.2 times the width and height.",
)
@click.option("--mirror", is_flag=True, help="Average over the mirror images of the crops too.")
@extracting.layers("the pooled vector")
@click.option("--logits", is_flag=True, help="Add the class logits of the encoder's own head (see train-visual).")
@click.option(
    "--debug-faces",
    metavar="DIR",
    help="Draw boxes, landmarks and crops of up to 8 evenly spaced frames of each video, to check detection.",
)
@options.batch_size(32, "Faces")
@extracting.work
@options.device
@options.precision
@options.force
@options.common
def command(
    output: str,
    model: str,
    face: Any,
    every: int,
    scales: tuple[float, ...],
    mirror: bool,
    layers: Layers,
    logits: bool,
    debug_faces: str | None,
    batch_size: int,
    device: str,
    precision: str,
    **given: Any,
) -> None:
    """Detect, track, align and encode a face in every frame: one row per frame, with or without a face.

    INPUT: video files; folders, which are searched for videos; or folders of numbered images of aligned faces
    (Aff-Wild2's cropped_aligned), where a missing number is a frame without a face. Running the same command again
    continues interrupted work.

    The feature is the encoder's pooled vector, or its class token, or the mean of its patch tokens, whichever it has
    first. Any image encoder that transformers can load works: BEiT, ViT, DINOv2, CLIP's vision tower and others,
    fine-tuned classifiers included. With --logits, the classification head that train-visual trained adds its logits,
    which smooth and score can read.

    \b
      affcli extract-visual clips/ -o V.parquet
      affcli extract-visual cropped_aligned/ --videos videos/ -o V.parquet
      affcli extract-visual clips/ --crop-scale 0.9,1.2,1.5 --debug-faces look/ -o V.parquet
      affcli extract-visual clips/ --model stage2/ --logits -o V.parquet
      find . -name '*.mp4' -print0 | affcli extract-visual --from-file - -0 --model mini -o V.parquet
    """
    if logits and layers is not None:
        raise UsageError("--logits goes with the encoder's own feature, not with --layers.")
    inputs = extracting.find(given)
    _refuse_more_than_is_shown(scales, inputs)

    from affcli.jobs.job import Job
    from affcli.jobs.table_output import STREAM, TableOutput
    from affcli.media.drawings import Drawings
    from affcli.media.showing import PictureTimes, Show
    from affcli.models.encoders.visual_encoder import VisualEncoder
    from affcli.models.extract import visual_features
    from affcli.models.runtime import devices
    from affcli.schema import VISUAL, visual_schema

    run = devices.choose(device, precision)
    encoder = VisualEncoder(model, run, batch_size=batch_size, logits=logits, layers=layers)
    extracting.note_size(encoder.card.size, encoder.card.layers)
    times = PictureTimes(given.pop("fps"), given.pop("videos"))
    choice = extracting.chosen_tracks(given, times.fps)
    drawings = None if debug_faces is None else Drawings(debug_faces)
    shown = encoder.preprocessing
    on_gpu = run.device.type == "cuda"
    threads = 1 if run.device.type == "cpu" else 0  # the encoder's cores, if it does not compute elsewhere
    show = Show(shown.fitted, shown.input_size, face, every, times, scales, mirror, drawings, threads, choice, on_gpu)
    made_by = {"encoder": encoder.card.as_json(), "precision": run.precision, "alignment": show.alignment(inputs)}
    kept = {"layers": encoder.card.layers} if encoder.card.layers else {}
    facts = {**made_by, **kept, "face": face, "every": every, **times.facts, **choice.facts}
    if logits:
        facts["logits"] = list(encoder.classes)
    table = TableOutput(output, VISUAL, visual_schema(encoder.card.size, encoder.classes), facts)

    def extract(items: Iterable[MediaInput], parts: Parts, progress: Progress) -> Generator[Ended]:
        return visual_features.extract(
            encoder, show, items, parts, stream=STREAM, tracks=face == "all", progress=progress
        )

    job = Job(table, beside=times.beside, **given)
    extracting.run(job, inputs, extract, command="extract-visual", result=output, rows="row")
