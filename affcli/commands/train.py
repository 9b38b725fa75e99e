"""`affcli train`: trains the fusion network on feature tables and labels."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from affcli.commands.shared.epoch_lines import EpochLines, already_made, figures, log_option
from affcli.console import options, terminal
from affcli.errors import UsageError, counted, listed
from affcli.files.outputs import refuse_existing, refuse_inputs
from affcli.jobs.shares import Share

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from affcli.features.joined import JoinedFeatures
    from affcli.labels.reader import VideoLabels

Options = TypeVar("Options", bound="DataclassInstance")

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
@click.option(
    "--visual",
    "visuals",
    required=True,
    multiple=True,
    metavar="TABLE|DIR",
    help="Visual features of the training videos, or logits. Repeatable: each table gets its own projection.",
)
@click.option(
    "--audio",
    "audios",
    required=True,
    multiple=True,
    metavar="TABLE|DIR",
    help="Audio features of the same videos, or logits. Repeatable.",
)
@click.option(
    "--join",
    type=click.Choice(["concat", "gate"]),
    default="concat",
    show_default=True,
    help="How several tables of a stream are joined: concatenated, or by a learned weight per table and frame.",
)
@click.option("--labels", required=True, metavar="DIR", help="Folder with the label files (.txt), or a table.")
@click.option("--val-labels", metavar="DIR", help="Labels of the validation videos, which choose the best epoch.")
@click.option(
    "--fold",
    metavar="K/N",
    callback=_fold,
    help="Hold out part K of N class-balanced parts of the labelled videos (see predict --held-out).",
)
@options.output(required=True, what="model.safetensors")
@click.option("--dim", type=click.IntRange(1), default=256, show_default=True, help="Width of the network.")
@click.option(
    "--layers", type=click.IntRange(0), default=3, show_default=True, help="Self-attention layers per branch."
)
@click.option(
    "--heads", type=click.IntRange(1), default=8, show_default=True, help="Attention heads; must divide --dim."
)
@click.option(
    "--cross-attention/--no-cross-attention",
    default=True,
    show_default=True,
    help="Let each stream attend to the other; otherwise they meet only in the classifier.",
)
@click.option(
    "--gates/--no-gates",
    default=True,
    show_default=True,
    help="Learn how much cross-attention counts, per frame; otherwise it is one half.",
)
@click.option("--dropout", type=RATE, default=0.1, show_default=True, help="Dropout rate inside the layers.")
@click.option(
    "--modality-dropout",
    type=RATE,
    default=0.1,
    show_default=True,
    help="Probability of hiding the images of a window.",
)
@click.option(
    "--audio-dropout", type=RATE, default=0.0, show_default=True, help="Probability of hiding the audio of a window."
)
@click.option(
    "--loss",
    type=click.Choice(["focal", "cross-entropy", "logit-adjusted"]),
    default="focal",
    show_default=True,
    help="Loss; logit-adjusted is cross-entropy after adding the log frequency of each class to its logit.",
)
@click.option(
    "--gamma",
    type=click.FloatRange(0),
    default=2.0,
    show_default=True,
    help="Gamma of the focal loss; 0 is cross-entropy.",
)
@click.option(
    "--label-smoothing",
    type=RATE,
    default=0.0,
    show_default=True,
    help="Share of a label spread over all classes.",
)
@click.option(
    "--class-weights",
    type=click.Choice(["none", "balanced"]),
    default="none",
    show_default=True,
    help="Weights of the classes in the loss.",
)
@click.option(
    "--frame-weights",
    metavar="COLUMN",
    help="Column of the --labels table with each frame's weight in the loss, such as the confidence of its label.",
)
@click.option("--window", type=click.IntRange(1), default=64, show_default=True, help="Window length in frames.")
@click.option("--stride", type=click.IntRange(1), default=8, show_default=True, help="Frames between window starts.")
@click.option("--epochs", type=click.IntRange(1), default=30, show_default=True, help="Passes over the training data.")
@click.option(
    "--lr", type=click.FloatRange(0, min_open=True), default=1e-4, show_default=True, help="Peak learning rate."
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Stop after this many epochs without a better validation score; 0 for never.",
)
@click.option(
    "--weight-decay", type=click.FloatRange(0), default=0.01, show_default=True, help="Weight decay of AdamW."
)
@click.option(
    "--ema",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    show_default=True,
    help="Decay of the moving average of the weights; 0 for none.",
)
@options.batch_size(32, "Windows")
@options.seed
@click.option(
    "--storage",
    type=click.Choice(("auto", "memory", "disk")),
    default="auto",
    show_default=True,
    help="Where to keep the features during training; auto: in memory, or in a temporary file if they need more than "
    "half of the free memory.",
)
@log_option
@options.allow_unmatched
@options.device
@options.precision
@options.force
@options.common
def command(
    visuals: tuple[str, ...],
    audios: tuple[str, ...],
    labels: str,
    val_labels: str | None,
    fold: tuple[int, int] | None,
    output: str,
    log_file: str | None,
    **given: Any,
) -> None:
    """Train the fusion network on feature tables and Aff-Wild2 labels.

    The tables are joined by video and frame and cut into overlapping windows. The output is one file with the weights
    and a model card. Each epoch is scored on --val-labels with the whole chain (predict, vote, smooth), and the best
    one is kept. Running the same command again continues interrupted training after the last finished epoch and ends
    with the same bytes.

    \b
      affcli train --visual V.parquet --audio A.parquet \\
        --labels Train_Set/ --val-labels Validation_Set/ -o model.safetensors
      affcli train --visual V.parquet --visual V2.parquet --join gate --audio A.parquet \\
        --labels Train_Set/ --loss logit-adjusted -o model.safetensors
      torchrun --nproc-per-node 4 -m affcli -- train --visual V.parquet --audio A.parquet \\
        --labels Train_Set/ --val-labels Validation_Set/ -o model.safetensors
    """
    from affcli.features.joined import JoinedFeatures
    from affcli.features.side_by_side import shapes
    from affcli.labels.folds import Fold
    from affcli.labels.reader import LabelOptions, read_labels
    from affcli.predictions.logit_features import open_tables
    from affcli.schema import AUDIO, VISUAL

    _check(given, max(len(visuals), len(audios)))
    terminal.watch("reading labels and features", shown=Share.given_by().rank == 0)
    refuse_inputs((output, log_file), (*visuals, *audios, labels, val_labels))
    for written in (output, log_file):
        if written is not None:
            refuse_existing(written, force=True)
    weighed = LabelOptions(weights=given["frame_weights"])
    annotations = read_labels(labels, weighed), read_labels(val_labels) if val_labels else {}
    tables = open_tables(visuals, kind=VISUAL), open_tables(audios, kind=AUDIO)

    from affcli.models.fusion.network import FusionConfig
    from affcli.models.fusion.task import TrainingTask, made_before
    from affcli.models.fusion.trainer import TrainingOptions
    from affcli.models.runtime import devices
    from affcli.models.runtime.ranks import joined_ranks

    before = made_before(output, force=given["force"])
    run = devices.choose_for_training(given["device"], given["precision"])
    with JoinedFeatures(*tables, sizes=(0, 0)) as joined, joined_ranks(run.device) as ranks:
        if not ranks.first:
            terminal.set_verbosity(-1)
        joined.check_matches(allow_unmatched=given["allow_unmatched"])
        _note_strangers(joined, *annotations)
        visual_size, audio_size = joined.sizes
        visual_tables, audio_tables = (shapes(joined.encoders[stream]) for stream in ("visual", "audio"))
        sizes = {"visual_size": visual_size, "visual_tables": visual_tables}
        sizes |= {"audio_size": audio_size, "audio_tables": audio_tables}
        config = _taken(FusionConfig, given, **sizes)
        chosen = _taken(TrainingOptions, given)
        how = {"fold": Fold(*fold) if fold else None, "storage": given["storage"]}
        task = TrainingTask.load(output, joined, annotations, config, chosen, run, **how)
        joined.note_incomplete()
        if already_made(output, before, task.made_from):
            return
        with EpochLines(log_file if ranks.first else None, chosen.epochs, title="train", what="windows") as lines:
            trained = task.train(lines, ranks, tell=lines.went_on)
    counts_of = {"video": task.data.videos, "window": len(task.data.windows), "epoch": len(trained.reports)}
    counts = ", ".join(counted(number, what) for what, number in counts_of.items())
    terminal.say(f"{counts}; kept epoch {trained.kept.epoch} ({figures(trained.kept)}) → {output}")


def _taken(kind: type[Options], given: Mapping[str, Any], **known: Any) -> Options:
    """An instance of the dataclass, its fields filled from the options of the same names."""
    named = {field.name: given[field.name] for field in fields(kind) if field.name in given}
    return kind(**named, **known)


def _is_given(option: str) -> bool:
    return click.get_current_context().get_parameter_source(option) is not ParameterSource.DEFAULT


def _check(given: dict[str, Any], tables: int) -> None:
    """`tables` is the most that are given for a stream."""
    if given["join"] != "concat" and tables < 2:
        raise UsageError(f"--join {given['join']} joins several tables of a stream; give --visual or --audio twice.")
    if given["dim"] % given["heads"]:
        raise UsageError(f"--heads {given['heads']} does not divide --dim {given['dim']}.")
    if given["loss"] != "focal" and _is_given("gamma") and given["gamma"]:
        raise UsageError(f"--gamma is of the focal loss; --loss {given['loss']} has none.")
    if given["stride"] > given["window"]:
        raise UsageError(
            f"--stride {given['stride']} is larger than --window {given['window']}: frames would be left out."
        )


def _note_strangers(
    joined: JoinedFeatures, labels: Mapping[str, VideoLabels], val_labels: Mapping[str, VideoLabels]
) -> None:
    """Says which videos are left out, and what the choice of an epoch rests on."""
    from affcli.schema import recording_of

    known = set(labels) | set(val_labels)
    if strangers := [video for video in joined.videos if video not in known]:
        log.warning("left out %s without labels: %s", counted(len(strangers), "video"), listed(strangers, limit=3))
    if absent := sorted(known - set(joined.videos)):
        log.warning("left out %s without features: %s", counted(len(absent), "labelled video"), listed(absent, limit=3))
    if not val_labels:
        log.warning("without --val-labels nothing tells which epoch is best: the last one is kept.")
    trained = set(map(recording_of, labels))
    if shared := sorted(video for video in val_labels if recording_of(video) in trained):
        log.warning(
            "both trained on and validated on are the recordings of %s: %s",
            counted(len(shared), "video"),
            listed(shared, limit=3),
        )
