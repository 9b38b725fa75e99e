"""`affcli train-audio`: trains a speech encoder with a classification head on labelled utterances."""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from affcli.commands.extract_audio import DEFAULT_MODEL
from affcli.commands.shared import encoder_training
from affcli.commands.shared.encoder_folder import EncoderFolder
from affcli.commands.shared.epoch_lines import EpochLines, figures
from affcli.console import options, terminal
from affcli.errors import UsageError, counted
from affcli.files.encoder_card import AUDIO_ENCODER
from affcli.files.outputs import refuse_existing, refuse_inputs
from affcli.jobs.shares import Share

if TYPE_CHECKING:
    from affcli.facesets.inventory import Inventory
    from affcli.models.speech_training.task import SpeechTask
    from affcli.models.speech_training.trainer import SpeechData
    from affcli.models.training.saved_state import EpochReport
    from affcli.speechsets.corpora import Speech

log = logging.getLogger(__name__)


@click.command("train-audio")
@click.option(
    "--data",
    metavar="DIR",
    multiple=True,
    required=True,
    help="A corpus: a folder of audio files with a labels.csv; NAME=DIR calls it NAME. Repeatable.",
)
@click.option("--leave-out", metavar="NAME", help="Do not train on this corpus; judge every epoch by it instead.")
@click.option(
    "--holdout",
    type=encoder_training.BELOW_1,
    default=0.1,
    show_default=True,
    help="Share of the speakers held out of corpora whose table has no column 'split'.",
)
@click.option(
    "--class-power",
    type=encoder_training.RATE,
    default=0.0,
    show_default=True,
    help="Class balance. 1: as in the data; 0: all classes equally often.",
)
@click.option(
    "--model", default=DEFAULT_MODEL, show_default=True, metavar="NAME|DIR|mini", help="Encoder to start from."
)
@options.output_folder
@click.option(
    "--cache", metavar="DIR", help="Keep the decoded audio here for other runs.  [default: removed when done]"
)
@click.option("--dry-run", is_flag=True, help="Print the number of utterances per class and exit.")
@encoder_training.epochs(10)
@encoder_training.rates(lr=1e-4, warmup=0.1, weight_decay=0.02, layer_decay=0.9)
@encoder_training.losses(label_smoothing=0.05)
@click.option(
    "--augment",
    type=click.FloatRange(0, 2),
    default=1.0,
    show_default=True,
    help="Strength of augmentation (rooms, noise, telephone bands, loudness); 0: none.",
)
@encoder_training.ending(ema=0.99, batch_size=24, noun="Utterances")
def command(
    output: str | None, model: str, dry_run: bool, cache: str | None, log_file: str | None, **given: Any
) -> None:
    """Train a speech encoder with a classification head on labelled utterances.

    Each corpus is a folder with audio files and a table labels.csv (or .tsv, .parquet). Its column 'file' names a file
    in the folder; 'label' holds an emotion word, or columns named by class hold votes, which become soft labels;
    'speaker' says who speaks, so that no speaker is both trained on and held out; 'split' (train, val, test), if there
    is one, decides instead. Corpora are drawn in proportion to the square root of their size.

    --model takes WavLM and its kind (wav2vec2, HuBERT, …), Whisper's encoder, and the Audio Spectrogram Transformer.
    The output is a Hugging Face folder that extract-audio --model and transformers can load. The epoch with the best
    macro F1 on held-out speakers is kept. --leave-out tells how well the encoder does on recordings of another kind.
    Running the same command again continues interrupted training after the last finished epoch and ends with the same
    bytes.

    \b
      affcli train-audio --data crema=CREMA-D/ --data EmoDB/ --dry-run
      affcli train-audio --data crema=CREMA-D/ --data EmoDB/ -o speech/
      affcli train-audio --data crema=CREMA-D/ --data EmoDB/ --leave-out EmoDB -o judged/ --log epochs.jsonl
      affcli extract-audio clips/ --model speech/ --logits -o A.parquet
    """
    if Share.given_by().size > 1:
        raise UsageError("train-audio runs in one process; start it without torchrun.")
    if output is None and not dry_run:
        raise UsageError("name the output folder with -o, or only count the utterances with --dry-run.")

    from affcli.speechsets.corpora import list_speech, name_of

    specs = [name_of(spec) for spec in given["data"]]
    refuse_inputs((output, log_file), [str(folder) for _, folder in specs])
    how = {name: given[name] for name in ("leave_out", "holdout", "seed")}
    speech = list_speech(specs, **how)
    if dry_run:
        from affcli.console.printing import show

        show([speech.listing.table()])
    elif output is not None:
        _train(str(Path(output)), model, speech, cache, log_file, given)


def _train(
    output: str, model: str, speech: Speech, cache: str | None, log_file: str | None, given: dict[str, Any]
) -> None:
    from affcli.facesets.inventory import Inventory
    from affcli.models.encoders.audio_classifier import SpeechClassifier
    from affcli.models.runtime import devices
    from affcli.models.speech_training.data import VERSION, load
    from affcli.models.speech_training.task import SpeechTask
    from affcli.models.training.classifier_trainer import EncoderOptions

    if log_file is not None:
        refuse_existing(log_file, force=True)
    folder = EncoderFolder.named(output, force=given["force"], kind=AUDIO_ENCODER, examples="sound")
    told = {**given, "optimizer": "adamw"}
    chosen = EncoderOptions(**{field.name: told[field.name] for field in fields(EncoderOptions)})
    run = devices.choose_for_training(given["device"], given["precision"], small=False)
    task = SpeechTask(
        SpeechClassifier.load(model, seed=chosen.seed), chosen, run, speech.listing.sources, given["leave_out"]
    )
    inventory = Inventory.of(speech.listing)
    listed = task.made_from(inventory.digest, VERSION, given["class_power"])
    if not folder.has_listed(listed, inventory):
        front = task.classifier.front
        with terminal.counting(
            "speech", len(speech.listing), unit="utterances", counted="utterances", shown=True
        ) as counter:
            data = load(
                speech,
                front.steps.sample_rate_hz,
                cache=Path(cache) if cache else folder.decoded,
                class_power=given["class_power"],
                advance=lambda more: counter.advance(more, frames=more),
            )
        prints = {"made_from": task.made_from(data.fingerprint), "listed": listed}
        _train_on(data, task, folder, inventory, prints, log_file)
    folder.remove_parts(decoded=cache is None)


def _train_on(
    data: SpeechData,
    task: SpeechTask,
    folder: EncoderFolder,
    inventory: Inventory,
    prints: dict[str, str],
    log_file: str | None,
) -> None:
    from affcli.models.training.saved_state import Progress

    if folder.has(prints["made_from"]):
        return
    if data.held_out is None:
        log.warning("there are no held-out utterances to choose the best epoch by, so the last epoch is kept.")
    progress = Progress(folder.name, prints["made_from"])
    with EpochLines(log_file, task.options.epochs, title="train-audio", what="utterances") as lines:
        trained = task.train(data, progress, tell=lines.went_on, report=lines)
    with folder.filled(inventory) as made:
        task.save(made, trained, prints)
    counts = f"{counted(len(data.train), 'utterance')}, {counted(len(trained.reports), 'epoch')}"
    terminal.say(f"{counts}; kept epoch {trained.kept.epoch} ({_figures(trained.kept)}) → {folder.name}")


def _figures(report: EpochReport) -> str:
    """An epoch in words, with the figures of the corpus left out."""
    if not report.more:
        return figures(report)
    macro_f1, accuracy = (report.more[f"left_out_{name}"] for name in ("macro_f1", "accuracy"))
    return f"{figures(report)}; corpus left out: macro F1 {macro_f1:.4f}, accuracy {accuracy:.4f}"
