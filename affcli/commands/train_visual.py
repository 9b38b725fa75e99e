"""`affcli train-visual`: trains an image encoder with a classification head on labelled face images."""

from __future__ import annotations

import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affcli.commands.extract_visual import DEFAULT_MODEL
from affcli.commands.shared import encoder_training
from affcli.commands.shared.encoder_folder import EncoderFolder
from affcli.commands.shared.epoch_lines import EpochLines, figures
from affcli.commands.shared.face_pictures import Faces, face_options
from affcli.console import options, terminal
from affcli.errors import UsageError, counted
from affcli.files.encoder_card import VISUAL_ENCODER
from affcli.files.outputs import refuse_existing, refuse_inputs
from affcli.jobs.shares import Share

if TYPE_CHECKING:
    from affcli.facesets.inventory import Inventory
    from affcli.facesets.pictures import FaceData
    from affcli.models.face_training.task import PictureTask

log = logging.getLogger(__name__)

_SHOWN = 60  # pictures on a contact sheet


@click.command("train-visual")
@face_options
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|DIR|mini", help="Encoder to start from."
)
@options.output_folder
@click.option(
    "--cache", metavar="DIR", help="Keep the decoded images here for other runs.  [default: removed when done]"
)
@click.option("--dry-run", is_flag=True, help="Print the number of images per class and exit.")
@click.option("--sheet", metavar="FILE", help="Write a contact sheet of augmented samples (.png).")
@encoder_training.epochs(30)
@click.option(
    "--optimizer",
    type=click.Choice(["adamw", "muon"]),
    default="adamw",
    show_default=True,
    help="muon (AdamW for all but the matrices of the blocks) needs fewer epochs from scratch.",
)
@encoder_training.rates(lr=2e-4, warmup=0.1, weight_decay=0.05, layer_decay=0.75)
@click.option(
    "--drop-path",
    type=encoder_training.BELOW_1,
    default=0.1,
    show_default=True,
    help="Drop-path rate of the last block; earlier blocks use less.",
)
@encoder_training.losses(label_smoothing=0.1)
@click.option(
    "--mixup",
    type=encoder_training.AT_LEAST_0,
    default=0.2,
    show_default=True,
    help="Mix images in pairs: alpha of the Beta distribution; 0 for none.",
)
@click.option(
    "--augment",
    type=click.FloatRange(0, 2),
    default=1.0,
    show_default=True,
    help="Strength of augmentation; 0: mirroring only.",
)
@encoder_training.ending(ema=0.999, batch_size=64, noun="Images")
def command(
    output: str | None,
    model: str,
    dry_run: bool,
    sheet: str | None,
    cache: str | None,
    log_file: str | None,
    **given: Any,
) -> None:
    """Train an image encoder with a classification head on labelled face images.

    Stage static trains on a mixture of face sets: RAF-DB, FERPlus (whose votes become soft labels), AffectNet, and
    folders named by class. Stage domain continues on frames of the target videos; frames that hardly differ from the
    one before are skipped, and videos are drawn in proportion to the square root of their length. The output is a
    Hugging Face folder that extract-visual --model and transformers can load. The epoch with the best macro F1 on
    held-out images is kept. Running the same command again continues interrupted training after the last finished epoch
    and ends with the same bytes.

    \b
      affcli train-visual --stage static --data ferplus=FERPlus/ --dry-run --sheet look.png
      affcli train-visual --stage static --data rafdb=RAF-DB/ --data ferplus=FERPlus/ -o stage1/
      affcli train-visual --stage domain --frames cropped_aligned/ --labels Train_Set/ \\
        --val-labels Validation_Set/ --model stage1/ -o stage2/
      affcli extract-visual clips/ --model stage2/ --logits -o V.parquet
      torchrun --nproc-per-node 4 -m affcli -- train-visual --stage static --data ferplus=FERPlus/ -o stage1/
    """
    if not Share.given_by().speaks:
        terminal.mute_notes()
    if output is None and not dry_run:
        raise UsageError("name the output folder with -o, or only count the images with --dry-run.")
    faces = Faces.listed(given)
    if dry_run:
        faces.show_counts()
    if sheet is not None:
        refuse_existing(sheet, force=True)
        _draw(sheet, model, faces, strength=given["augment"], seed=given["seed"])
    if output is not None and not dry_run:
        _train(str(Path(output)), model, faces, cache, log_file, given)


def _draw(sheet: str, model: str, faces: Faces, *, strength: float, seed: int) -> None:
    """A contact sheet of training pictures as they are drawn, aligned and augmented."""
    from affcli.facesets.loading import sampled
    from affcli.facesets.preparing import Preparation
    from affcli.facesets.sheet import write_sheet
    from affcli.models.encoders import find_checkpoint
    from affcli.models.encoders.preprocessing import PicturePreprocessing
    from affcli.models.face_training.augmentation import samples
    from affcli.schema import CLASSES

    preprocessing = PicturePreprocessing.of(find_checkpoint.find(model, mini="visual", bare=True))
    how = Preparation(preprocessing.input_size, faces.align, preprocessing.resample)
    pictures = sampled(faces.listing, _SHOWN, how, class_power=faces.class_power, seed=seed)
    names = [
        f"{CLASSES[label]}, {pictures.sources[source]}"
        for label, source in zip(pictures.labels, pictures.source, strict=True)
    ]
    write_sheet(Path(sheet), samples(pictures.pixels, strength=strength, seed=seed), names)
    terminal.say(f"{counted(len(names), 'picture')} → {sheet}")


def _train(
    output: str, model: str, faces: Faces, cache: str | None, log_file: str | None, given: dict[str, Any]
) -> None:
    from affcli.models.encoders.classifier import Classifier
    from affcli.models.face_training.task import PictureTask
    from affcli.models.face_training.trainer import PictureOptions
    from affcli.models.runtime import devices

    refuse_inputs((output, log_file), (given["labels"], given["val_labels"]))
    terminal.watch("loading networks", shown=Share.given_by().rank == 0)
    if log_file is not None:
        refuse_existing(log_file, force=True)
    folder = EncoderFolder.named(output, force=given["force"], kind=VISUAL_ENCODER, examples="pictures")
    chosen = PictureOptions(**{field.name: given[field.name] for field in fields(PictureOptions)})
    folder.refuse_other({"stage": given["stage"], **asdict(chosen)})
    run = devices.choose_for_training(given["device"], given["precision"], small=False)
    classifier = Classifier.load(model, drop_path=chosen.drop_path, seed=chosen.seed)
    task = PictureTask(classifier, chosen, run, given["stage"], faces.listing.sources, faces.align)
    inventory = faces.inventory()
    listed = task.made_from(inventory.digest, *faces.choices(task.how))
    if folder.has_listed(listed, inventory):
        folder.remove_parts(decoded=cache is None)
        return
    # Before the processes are connected: a connection does not wait for hours.
    data = faces.loaded(task.how, Path(cache) if cache else folder.decoded)
    prints = {"made_from": task.made_from(data.fingerprint), "listed": listed}
    _train_on(data, task, folder, inventory, prints, log_file)
    if Share.given_by().rank == 0:
        folder.remove_parts(decoded=cache is None)


def _train_on(
    data: FaceData,
    task: PictureTask,
    folder: EncoderFolder,
    inventory: Inventory,
    prints: dict[str, str],
    log_file: str | None,
) -> None:
    from affcli.models.runtime.ranks import joined_ranks
    from affcli.models.training.saved_state import Progress

    with joined_ranks(task.run.device) as ranks:
        if not ranks.first:
            terminal.set_verbosity(-1)
        if folder.has(prints["made_from"]):
            return
        if data.held_out is None:
            log.warning("there are no held-out images to choose the best epoch by, so the last epoch is kept.")
        progress = Progress(folder.name, prints["made_from"])
        log_file = log_file if ranks.first else None
        with EpochLines(log_file, task.options.epochs, title="train-visual", what="pictures") as lines:
            trained = task.train(data, progress, ranks, tell=lines.went_on, report=lines)
        if not ranks.first:
            return
        with folder.filled(inventory) as made:
            task.save(made, trained, prints)
    counts = f"{counted(len(data.train), 'picture')}, {counted(len(trained.reports), 'epoch')}"
    terminal.say(f"{counts}; kept epoch {trained.kept.epoch} ({figures(trained.kept)}) → {folder.name}")
