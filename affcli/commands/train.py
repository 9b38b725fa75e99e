"""affcli train: feature tables and labels → model.safetensors."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affcli import options, terminal
from affcli.annotations import VideoLabels, read_labels
from affcli.commands.epochs import EpochLines, already_made, figures, log_option
from affcli.errors import AffcliError, UsageError, counted, listed
from affcli.features import open_stream
from affcli.folds import Fold
from affcli.joins import JoinedFeatures
from affcli.outputs import refuse_existing
from affcli.schema import AUDIO, VISUAL, recording_of

if TYPE_CHECKING:
    pass

RATE = click.FloatRange(0, 1)

log = logging.getLogger(__name__)


def _fold(ctx: click.Context, param: click.Parameter, given: str | None) -> tuple[int, int] | None:
    if given is None:
        return None
    number, slash, parts = given.partition("/")
    if not (slash and number.isdigit() and parts.isdigit() and 1 <= int(number) <= int(parts) > 1):
        raise click.BadParameter(f"'{given}' is not K/N, such as 2/5.")
    return int(number), int(parts)


@click.command("train")
@click.option("--visual", required=True, metavar="TABLE|DIR", help="Visual features of the training videos.")
@click.option("--audio", required=True, metavar="TABLE|DIR", help="Audio features of the same videos.")
@click.option("--labels", required=True, metavar="DIR", help="The folder that holds the label .txt files, or a table.")
@click.option(
    "--val-labels", metavar="DIR", help="Labels of other videos of the tables: choose the best epoch by them."
)
@click.option(
    "--fold",
    metavar="K/N",
    callback=_fold,
    help="Hold the Kth of N class-balanced parts of the labelled videos out; predict --held-out is for them.",
)
@options.output(required=True, what="model.safetensors")
@click.option("--dim", type=click.IntRange(1), default=256, show_default=True, help="Width d of the network.")
@click.option("--layers", type=click.IntRange(0), default=3, show_default=True, help="Self-attention layers a branch.")
@click.option("--heads", type=click.IntRange(1), default=8, show_default=True, help="Attention heads; they divide d.")
@click.option("--dropout", type=RATE, default=0.1, show_default=True, help="Inside the layers.")
@click.option("--modality-dropout", type=RATE, default=0.1, show_default=True, help="Rate p of hiding the picture.")
@click.option("--audio-dropout", type=RATE, default=0.0, show_default=True, help="Rate q of hiding the sound.")
@click.option("--gamma", type=click.FloatRange(0), default=2.0, show_default=True, help="Focal loss; 0: cross-entropy.")
@click.option("--class-weights", type=click.Choice(["none", "balanced"]), default="none", show_default=True)
@click.option("--window", type=click.IntRange(1), default=64, show_default=True, help="Frames in a window.")
@click.option("--stride", type=click.IntRange(1), default=8, show_default=True, help="Frames from window to window.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True)
@click.option("--lr", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="Peak rate.")
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="End after this many epochs without a better validation score; 0: never.",
)
@click.option("--weight-decay", type=click.FloatRange(0), default=0.01, show_default=True)
@options.batch_size(32, "Windows")
@options.seed
@log_option
@options.device
@options.precision
@options.force
@options.common
def command(
    visual: str,
    audio: str,
    labels: str,
    val_labels: str | None,
    fold: tuple[int, int] | None,
    output: str,
    log_file: str | None,
    **given: Any,
) -> None:
    """Trains the fusion network on feature tables and Aff-Wild2 labels.

    Joins the tables by video and frame, cuts them into overlapping windows, and writes one file that holds the weights
    and a card. Each epoch is scored on --val-labels as the model will be used, and the best one is kept. The same
    command again continues interrupted training after its last finished epoch, and ends with the same bytes.

    \b
      affcli train --visual V.parquet --audio A.parquet \\
        --labels Train_Set/ --val-labels Validation_Set/ -o model.safetensors
      torchrun --nproc-per-node 4 -m affcli -- train …    (the same in four processes, on as many GPUs if there are any)
    """
    _check(given)
    refuse_existing(output, force=True)
    if log_file is not None:
        refuse_existing(log_file, force=True)
    annotations = read_labels(labels)
    val_annotations = read_labels(val_labels) if val_labels else {}
    tables = open_stream(visual, kind=VISUAL), open_stream(audio, kind=AUDIO)

    from affcli.models import epochs, runtime, training
    from affcli.models.dataset import TrainingSet, ValidationSet
    from affcli.models.fusion import FusionConfig
    from affcli.models.model_file import ModelCard, save_model
    from affcli.models.progress import Progress
    from affcli.models.ranks import joined_ranks

    existing = _existing_fingerprint(output, force=given["force"])
    run = runtime.choose_for_training(given["device"], given["precision"])
    chosen = training.TrainingOptions(**{field.name: given[field.name] for field in fields(training.TrainingOptions)})
    network = {name: given[name] for name in ("window", "dim", "layers", "heads", "dropout")}
    with JoinedFeatures(*tables, sizes=(0, 0)) as joined, joined_ranks(run.device) as ranks:
        if not ranks.first:
            terminal.set_verbosity(-1)
        _note_strangers(joined, annotations, val_annotations)
        held_out = Fold(*fold).held_out(annotations, seed=chosen.seed) if fold else []
        config = FusionConfig(*joined.sizes, **network)
        data = TrainingSet.load(joined, annotations, window=config.window, stride=chosen.stride, without=held_out)
        validation = ValidationSet.load(joined, val_annotations) if val_annotations else None
        made_from = training.made_from(config, chosen, data, validation, run)
        if already_made(output, existing, made_from):
            return
        progress = Progress(output, made_from)
        trainer = training.Trainer(config, chosen, data.fitted(run.device), validation, run, ranks)
        with EpochLines(log_file if ranks.first else None, chosen.epochs) as lines:
            limits = {"epochs": chosen.epochs, "patience": chosen.patience}
            trained = epochs.run(trainer, progress, **limits, report=lines, ranks=ranks)
        if not ranks.first:
            return
        facts = {**asdict(chosen), "fold": fold, "held_out": held_out, "made_from": made_from}
        card = ModelCard(config, chosen.stride, joined.encoders, joined.alignment, facts, trained.validation)
        save_model(output, trained.weights, card)
        progress.remove()
    sizes = {"video": data.videos, "window": len(data.windows), "epoch": len(trained.reports)}
    counts = ", ".join(counted(number, what) for what, number in sizes.items())
    terminal.say(f"{counts}; kept epoch {trained.kept.epoch} ({figures(trained.kept)}) → {output}")


def _check(given: dict[str, Any]) -> None:
    if given["dim"] % given["heads"]:
        raise UsageError(f"--heads {given['heads']} does not divide --dim {given['dim']}.")
    if given["stride"] > given["window"]:
        raise UsageError(
            f"--stride {given['stride']} is larger than --window {given['window']}: frames would be left out."
        )


def _existing_fingerprint(output: str, *, force: bool) -> str | None:
    """What a model that is there already was made from, None where there is none; raises for any other file."""
    from affcli.models.model_file import load_model

    if force or not Path(output).is_file():
        return None
    try:
        _, card = load_model(output)
    except AffcliError:
        refuse_existing(output, force=False)
        raise
    return str(card.training.get("made_from"))


def _note_strangers(
    joined: JoinedFeatures, labels: Mapping[str, VideoLabels], val_labels: Mapping[str, VideoLabels]
) -> None:
    """Says which videos are left out, and what the choice of an epoch rests on."""
    known = set(labels) | set(val_labels)
    if strangers := [video for video in joined.videos if video not in known]:
        log.warning("%d videos have no labels and are left out: %s", len(strangers), listed(strangers, limit=3))
    if absent := sorted(known - set(joined.videos)):
        log.warning("%d labelled videos have no features and are left out: %s", len(absent), listed(absent, limit=3))
    if not val_labels:
        log.warning("without --val-labels nothing tells which epoch is best: the last one is kept.")
    trained = set(map(recording_of, labels))
    if shared := sorted(video for video in val_labels if recording_of(video) in trained):
        log.warning("%d recordings are both trained on and validated on: %s", len(shared), listed(shared, limit=3))
