"""The speech network that comes with affcli as `mini`: how it was trained, and how good it is.

    python examples/mini/speech.py train OUT_DIR --corpora DATA_DIR
    python examples/mini/speech.py judge OUT_DIR/encoder --corpora DATA_DIR

`train` downloads what DATA_DIR lacks (it asks first; `speech_data.py` lists the corpora and their terms) and writes
OUT_DIR/encoder, a Hugging Face folder for `affcli extract-audio --model`. It takes some 18 minutes of one processor
core; ended at any moment, the same command goes on with what is left.

1. A logistic regression over what Whisper's second layer makes of the utterances, clean and changed, begins the head.
2. All is trained together. A fifth of the weight of a target is what people heard in CREMA-D's utterance, without their
   inclination to say Neutral; four fifths are what the actor was asked for. Corpora and classes are drawn in fixed
   shares. Three batches in four hold single utterances or parts of them, each fourth holds 8 s of several one after the
   other, which teaches the network to hear the emotion of a moment. A quarter stay as they are, a fifth differ by a
   narrow band alone, as a telephone's, and the others are changed at random (speech_changes.py).

What ships is the running mean of the weights. CREMA-D's actors 1001 to 1010 are never heard: `judge` asks about them.
Actors 1011 to 1020 are left out too: recipes were compared on them. `--without emodb,urdu` leaves corpora out, and
`judge --corpus emodb` then tells what strangers to the network's corpora may expect.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import speech_network
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.signal import butter, resample_poly, sosfiltfilt
from speech_changes import Changes
from speech_data import CORPORA, FLOOR, RATE, Samples, Utterances, fetch, files, log_mel, read, samples_of
from speech_network import POSITIONS, begin_head, logits, normalised, steps
from transformers import WhisperForAudioClassification

from affcli.schema import CLASSES

Tensor = torch.Tensor

TEST: Final = tuple(str(actor) for actor in range(1001, 1011))
CHOICE: Final = tuple(str(actor) for actor in range(1011, 1021))
HEARD_SHARE: Final = 0.2  # of a target that people's votes make up
SMOOTHING: Final = 0.05
BATCH: Final = 24
LONGEST: Final = 450  # frames of a single utterance
PACK: Final = 800  # frames of several, one after the other
MOMENT: Final = 50  # steps of the 1 s that is to tell the class too
KEEP_EVERY: Final = 200  # steps
UTTERANCES: Final = 36_000
FOLDS: Final = 3  # fusion.py wants features of actors by encoders that have not heard them
UNCHANGED, TELEPHONE = 0.25, 0.2  # share of the spectrograms as they are, and of those that differ by a band alone


@dataclass(frozen=True)
class Batch:
    """`power` [n, frames, 80], `heard` [n, frames]; `spans`: where in which row an utterance's steps lie."""

    power: Tensor
    heard: Tensor
    spans: Sequence[tuple[int, int, int, int]]  # row, first step, step after the last, utterance


# --- training --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drawing:
    """Draws utterances: corpora by their shares, classes of a corpus equally often."""

    speech: Utterances
    rows: NDArray[np.int64]
    seed: int

    @property
    def chances(self) -> NDArray[np.float64]:
        corpus, label = self.speech.corpus[self.rows], self.speech.label[self.rows]
        chances = np.zeros(len(self.rows))
        for name in set(corpus.tolist()):
            classes = np.unique(label[corpus == name])
            for number in classes:
                these = (corpus == name) & (label == number)
                chances[these] = CORPORA[name].share / len(classes) / these.sum()
        return chances / chances.sum()

    def batches(self, first: int) -> Iterator[NDArray[np.int64]]:
        """From batch number `first` on; those of 16 batches are drawn together, so that lengths in one are alike."""
        chances, block = self.chances, first // 16
        while True:
            random = np.random.default_rng([self.seed, block])
            drawn = random.choice(self.rows, BATCH * 16, p=chances)
            drawn = drawn[np.argsort(self.speech.frames[drawn] + random.uniform(0, 15, len(drawn)))].reshape(16, BATCH)
            yield from drawn[random.permutation(16)][first % 16 if block == first // 16 else 0 :]
            block += 1


def single(speech: Utterances, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
    """Utterances, in two batches of five only parts of them; the shorter ones end as they began to end, backwards."""
    most = int(random.integers(100, 250)) if random.random() < 0.4 else LONGEST
    lengths = np.minimum(speech.frames[rows], most)
    frames = int(-(-lengths.max() // 2) * 2)
    power, heard = np.full((len(rows), frames, 80), FLOOR, np.float32), np.zeros((len(rows), frames), np.bool_)
    for row, (i, length) in enumerate(zip(rows, lengths, strict=True)):
        begin = int(random.integers(0, speech.frames[i] - length + 1))
        part = 10 ** speech.spectrum(i)[begin : begin + length]
        power[row, :length], heard[row, :length] = part, True
        rest = min(frames - length, length)
        power[row, length : length + rest] = part[::-1][:rest]
    spans = [(row, 0, length // 2, i) for row, (i, length) in enumerate(zip(rows, lengths, strict=True))]
    return Batch(torch.from_numpy(power), torch.from_numpy(heard), spans)


def packed(speech: Utterances, rows: NDArray[np.int64], random: np.random.Generator) -> Batch:
    """Several utterances one after the other, with pauses of up to 0.8 s."""
    count = max(1, int(speech.frames[rows].sum() // (PACK + 80)))
    power, heard = np.full((count, PACK, 80), 10 * FLOOR, np.float32), np.zeros((count, PACK), np.bool_)
    left, spans = random.permutation(rows).tolist(), []
    for row in range(count):
        at = int(random.integers(0, 60)) * 2
        while left and at < PACK - 60:
            i = left.pop()
            part = speech.spectrum(i)[: PACK - at]
            power[row, at : at + len(part)], heard[row, at : at + len(part)] = 10**part, True
            spans.append((row, at // 2, (at + len(part)) // 2, i))
            at += (len(part) // 2 + int(random.integers(0, 40))) * 2
    return Batch(torch.from_numpy(power), torch.from_numpy(heard), spans)


def targets(speech: Utterances) -> Tensor:
    """[n, 8]: what was asked for and what was heard; each class is heard equally often once it is divided by how often
    people say it."""
    asked = np.eye(len(CLASSES))[speech.label]
    voted = speech.corpus == "crema-d"
    often = speech.votes[voted].mean(0) if voted.any() else np.ones(len(CLASSES))
    heard = speech.votes / np.where(often > 0, often, 1)
    heard = np.where(voted[:, None], heard / heard.sum(1, keepdims=True), asked)
    both = (1 - HEARD_SHARE) * asked + HEARD_SHARE * heard
    return torch.from_numpy((1 - SMOOTHING) * both + SMOOTHING / len(CLASSES)).float()


def loss_of(model: Any, spectra: Tensor, batch: Batch, truth: Tensor, random: np.random.Generator) -> Tensor:
    """Of each utterance's mean over its steps, and with less weight of 1 s of it: what affcli takes for a frame."""
    with torch.autocast("cpu", torch.bfloat16):
        hidden = steps(model, spectra)
    said = logits(model, F.dropout(hidden.float(), 0.1))
    whole = torch.stack([said[row, first:last].mean(0) for row, first, last, _ in batch.spans])
    moments = []
    for row, first, last, _ in batch.spans:
        length = min(MOMENT, last - first)
        begin = int(random.integers(first, last - length + 1))
        moments.append(said[row, begin : begin + length].mean(0))
    truth = truth[[i for *_, i in batch.spans]]
    return 0.7 * F.cross_entropy(whole, truth) + 0.3 * F.cross_entropy(torch.stack(moments), truth)


class Training:
    """Model, its running mean and the optimiser, after `step` steps; kept in a file."""

    def __init__(self, model: Any, *, total: int, lr: float) -> None:
        self.model, self.mean, self.total, self.step = model, copy.deepcopy(model), total, 0
        convolutions = [p for name, p in model.named_parameters() if "conv" in name]
        known = {id(p) for p in convolutions}
        others = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
        groups = [{"params": others, "most": lr}, {"params": convolutions, "most": 0.3 * lr}]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=0.02, betas=(0.9, 0.98))

    def take(self, loss: Tensor) -> None:
        share = self.step / self.total
        for group in self._optimizer.param_groups:
            group["lr"] = group["most"] * min(1, share / 0.08) * 0.5 * (1 + math.cos(math.pi * share))
        self._optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self._optimizer.step()
        self.step += 1
        with torch.no_grad():
            for mean, now in zip(self.mean.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(now, 1 - min(0.99, self.step / (self.step + 9)))

    def save(self, file: Path) -> None:
        partial = file.with_suffix(".part")
        states = {"model": self.model.state_dict(), "mean": self.mean.state_dict()}
        torch.save({**states, "optimizer": self._optimizer.state_dict(), "step": self.step}, partial)
        partial.replace(file)

    def load(self, file: Path) -> None:
        kept = torch.load(file, weights_only=True)
        self.model.load_state_dict(kept["model"])
        self.mean.load_state_dict(kept["mean"])
        self._optimizer.load_state_dict(kept["optimizer"])
        self.step = kept["step"]


def begin(model: Any, drawing: Drawing, truth: Tensor, *, count: int = 4000) -> None:
    """Step 1: the head."""
    random = np.random.default_rng([drawing.seed, 1 << 20])
    rows = np.unique(random.choice(drawing.rows, count, p=drawing.chances))
    rows = rows[np.argsort(drawing.speech.frames[rows], kind="stable")]
    change, features, made_of = Changes(torch.Generator().manual_seed(drawing.seed)), [], []
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for some in np.array_split(rows, -(-len(rows) // BATCH)):
            shortest = int(drawing.speech.frames[some].min()) // 2 * 2
            spectra = torch.stack([torch.from_numpy(drawing.speech.spectrum(i)[:shortest]) for i in some])
            for view in (spectra, change(10**spectra, torch.ones(spectra.shape[:2], dtype=torch.bool))):
                features.append(steps(model, normalised(view[:, :LONGEST])).float().mean(1))
                made_of.append(some)
    chances = np.zeros(len(drawing.speech))
    chances[drawing.rows] = drawing.chances
    weights = torch.from_numpy(chances[np.concatenate(made_of)]).float()
    begin_head(model, torch.cat(features), truth[np.concatenate(made_of)], weights / weights.sum())


def train(given: argparse.Namespace) -> None:
    speech, state = spoken(given), given.out / "state.pt"
    known = ~np.isin(speech.speaker, (*TEST, *CHOICE)) & ~np.isin(speech.corpus, given.without)
    if given.fold is not None:
        known &= ~np.isin(speech.speaker, [str(actor) for actor in range(1001, 1092) if actor % FOLDS == given.fold])
    drawing, truth = Drawing(speech, np.flatnonzero(known), given.seed), targets(speech)
    print(f"{known.sum()} utterances of {len(set(speech.speaker[known]))} speakers to train on", flush=True)
    torch.manual_seed(given.seed)
    model = speech_network.network(speech_network.whisper(given.whisper))
    training = Training(model, total=given.utterances // BATCH, lr=given.lr)
    if state.exists():
        training.load(state)
    else:
        begin(model, drawing, truth)
        training.mean.load_state_dict(model.state_dict())
    for rows in drawing.batches(training.step):
        if training.step >= training.total:
            break
        one_step(training, drawing, rows, truth)
        if training.step % KEEP_EVERY == 0:
            training.save(state)
    training.save(state)
    speech_network.save(training.mean.eval(), given.out / "encoder")


def one_step(training: Training, drawing: Drawing, rows: NDArray[np.int64], truth: Tensor) -> None:
    """Random numbers are those of the step, so that interrupted training goes on with the same ones."""
    random = np.random.default_rng([drawing.seed, 2, training.step])
    generator = torch.Generator().manual_seed(int(random.integers(1 << 60)))
    torch.manual_seed(int(random.integers(1 << 60)))
    batch = (packed if random.random() < 0.25 else single)(drawing.speech, rows, random)
    change = Changes(generator)
    spectra = change(batch.power, batch.heard)
    plain = batch.power.clamp(min=FLOOR).log10() + 0.4 * torch.randn(len(spectra), 1, 1, generator=generator)
    place = torch.rand(len(spectra), 1, 1, generator=generator)
    spectra = torch.where(place < UNCHANGED, plain, spectra)
    spectra = torch.where(place > 1 - TELEPHONE, change.through_a_telephone(batch.power), spectra)
    training.model.train()
    loss = loss_of(training.model, change.masked(normalised(spectra)), batch, truth, random)
    training.take(loss)
    if training.step % 50 == 0:
        print(f"  step {training.step} of {training.total}: loss {loss.item():.3f}", flush=True)


# --- judging ---------------------------------------------------------------------------------------------------------


def pink(samples: int, random: np.random.Generator) -> NDArray[np.float64]:
    spectrum = np.fft.rfft(random.standard_normal(samples))
    return np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), samples)


def noisy(sound: Samples, noise: NDArray[np.float64], decibels: float) -> Samples:
    """Signal to noise over the whole sound."""
    level = np.sqrt((sound**2).mean() / (noise**2).mean()) * 10 ** (-decibels / 20)
    return (sound + level * noise).astype(np.float32)


def telephone(sound: Samples, *, mu_law: bool = False) -> Samples:
    """300 to 3400 Hz, by a Butterworth filter of fourth order there and back; and 8 bits at 8 kHz."""
    band = butter(4, [300, 3400], "bandpass", fs=RATE, output="sos")
    heard = sosfiltfilt(band, sound)
    if mu_law:
        narrow = resample_poly(heard, 1, 2).clip(-1, 1)
        coded = np.round((np.sign(narrow) * np.log1p(255 * abs(narrow)) / np.log(256) + 1) * 127.5) / 127.5 - 1
        heard = resample_poly(np.sign(coded) * (256 ** abs(coded) - 1) / 255, 2, 1)
    return heard.astype(np.float32)


def conditions(sound: Samples, number: int) -> dict[str, Samples]:
    random = np.random.default_rng(number)
    return {
        "as recorded": sound,
        "telephone band": telephone(sound),
        "telephone band, mu-law": telephone(sound, mu_law=True),
        "white noise, 10 dB": noisy(sound, random.standard_normal(len(sound)), 10),
        "pink noise, 10 dB": noisy(sound, pink(len(sound), random), 10),
        "20 dB quieter": sound * np.float32(0.1),
    }


def judge(given: argparse.Namespace) -> None:
    """Prints what the folder that ships makes of whole utterances: the class of the mean over steps of the logits."""
    model = WhisperForAudioClassification.from_pretrained(given.encoder, dtype=torch.float32).eval()
    label, said = [], defaultdict(list)
    for number, (file, speaker, truth) in enumerate(files(given.corpora, CORPORA[given.corpus])):
        if given.corpus == "crema-d" and speaker not in given.actors:
            continue
        label.append(truth)
        for name, sound in conditions(samples_of(file), number).items():
            said[name].append(answer(model, sound))
    for name, answers in said.items():
        print(figures(name, np.array(label), np.array(answers), whole=name == "as recorded"), flush=True)


def answer(model: Any, sound: Samples) -> int:
    spectra = torch.from_numpy(log_mel(sound))[None]
    with torch.no_grad():
        hidden = steps(model, normalised(spectra[:, : len(spectra[0]) // 2 * 2][:, : 2 * POSITIONS]))
        return int(logits(model, hidden).mean(1).argmax())


def figures(name: str, label: NDArray[np.int64], said: NDArray[np.int64], *, whole: bool) -> str:
    """Mean recall over the classes there are, accuracy with its 95 % Wilson interval, and how often Anger is said."""
    spoken = np.unique(label)
    recalls = [float((said[label == number] == number).mean()) for number in spoken]
    low, high = wilson(int((said == label).sum()), len(label))
    anger = (said == 1).sum() / max((label == 1).sum(), 1)
    line = (
        f"{name}: mean recall {np.mean(recalls):.1%}, accuracy {(said == label).mean():.1%} ({low:.1%} to {high:.1%})"
    )
    line += f" of {len(label)}; Anger said {anger:.2f} times as often as it is true"
    if not whole:
        return line
    rows = [f"  {CLASSES[number]:10} {recall:6.1%} {Counter(CLASSES[s] for s in said[label == number]).most_common()}"
            for number, recall in zip(spoken, recalls, strict=True)]  # fmt: skip
    return "\n".join([line, *rows])


def wilson(right: int, total: int, z: float = 1.96) -> tuple[float, float]:
    share = right / total
    middle = (share + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total) * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2)
    return middle - reach, middle + reach


# --- the command -----------------------------------------------------------------------------------------------------


def spoken(given: argparse.Namespace) -> Utterances:
    """The corpora as spectrograms, kept in OUT_DIR."""
    file = given.out / "speech.npz"
    if not file.exists():
        fetch(given.corpora, yes=given.yes)
        given.out.mkdir(parents=True, exist_ok=True)
        read(given.corpora).save(file)
    return Utterances.load(file)


def actors(text: str) -> tuple[str, ...]:
    first, _, last = text.partition("-")
    return tuple(str(actor) for actor in range(int(first), int(last or first) + 1))


def names(text: str) -> list[str]:
    return text.split(",")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train")
    training.add_argument("out", type=Path)
    training.add_argument("--whisper", default="openai/whisper-tiny.en", help="hub name or folder")
    training.add_argument("--without", type=names, default=[], help="corpora to leave out: emodb,urdu")
    training.add_argument(
        "--fold", type=int, choices=range(FOLDS), help="not to hear CREMA-D's actors 3n + FOLD either"
    )
    training.add_argument("--utterances", type=int, default=UTTERANCES, help="to be drawn in all")
    training.add_argument("--lr", type=float, default=7e-5)
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--yes", action="store_true", help="download without asking")
    training.set_defaults(run=train)
    judging = commands.add_parser("judge")
    judging.add_argument("encoder", type=Path)
    judging.add_argument("--corpus", choices=CORPORA, default="crema-d")
    judging.add_argument("--actors", type=actors, default=TEST, help="of CREMA-D: 1001-1010")
    judging.set_defaults(run=judge)
    for command in (training, judging):
        command.add_argument("--corpora", type=Path, required=True, metavar="DATA_DIR")
    torch.set_num_threads(1)  # the same sums in the same order everywhere
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
