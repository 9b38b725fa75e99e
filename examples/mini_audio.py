"""Trains the small WavLM that comes with affcli as `mini`, and judges it on speakers it has never heard.

    python examples/mini_audio.py EMODB_DIR OUT_DIR [--held-out 11,13] [--folds 8]

EMODB_DIR holds the Berlin Database of Emotional Speech (Burkhardt et al. 2005): `SSTTTEv.wav`, speaker, text, emotion.
Boredom is no class of affcli's: it is heard in the steps without labels only. A few minutes of speech are too little
for a transformer that begins at random, so that it is led there in three steps, each on stretches of speech that are
changed at random (speed, noise, tilt of the spectrum, place):

1. The convolutional front end learns to say the log-mel spectrum of what it hears.
2. The transformer learns to say what describes a second of speech: means and deviations of that spectrum, its changes,
   pitch and voicing. Its heads begin by looking at neighbours, and none looks further than 0.8 s.
3. With labels: it learns the emotion of each second.

Steps 1 and 2 never hear the held-out speakers. Step 3 is done once without them, which gives the encoder in OUT_DIR (a
Hugging Face folder for `affcli extract-audio --model`) and its figures: recalls by class and their mean. Then once for
each speaker left out, which gives the figures over all speakers. OUT_DIR/confusion.json counts what was heard as what
in the folds of all speakers but the held-out ones, for `mini_fusion.py`.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from mini_speech import (
    APART,
    BINS,
    JUDGED,
    NAMES,
    RATE,
    SECOND,
    UNKNOWN,
    Speech,
    changed,
    described,
    mel_filters,
    normalised,
    spectra,
)
from transformers import WavLMConfig, WavLMModel

Tensor = torch.Tensor

REACH = 40  # steps that a head looks back and ahead
SPREADS = [1.5, 4.0, 10.0, 20.0, 30.0, math.inf]  # steps; how far each head looks at the beginning
CHANNELS, WIDTH, LAYERS = 128, 192, 4  # `extract-audio --layers 4`, its default, takes the mean of all layers


def encoder() -> WavLMModel:
    """With heads that begin by looking at neighbours, each further than the one before; later steps are never seen."""
    config = WavLMConfig(
        conv_dim=[CHANNELS] * 7,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=len(SPREADS),
        num_conv_pos_embeddings=32,
        num_conv_pos_embedding_groups=16,
        mask_time_prob=0.0,
        layerdrop=0.0,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        feat_proj_dropout=0.0,
    )
    model = WavLMModel(config)
    table = model.encoder.layers[0].attention.rel_attn_embed.weight  # of all layers: [steps back, then ahead, heads]
    distance = torch.arange(len(table) // 2).float()  # exact up to 80 steps, which is further than REACH
    with torch.no_grad():
        for head, spread in enumerate(SPREADS):
            near = -((distance / spread) ** 2 / 2).clamp(max=6)
            table[:, head] = torch.where(distance > REACH, -10.0, near).repeat(2)
    return model


class Schedule:
    """Muon for the matrices of the transformer, AdamW for all else; a short warm-up, then a cosine to 0."""

    def __init__(self, modules: list[torch.nn.Module], *, lr: float, steps: int) -> None:
        named = [pair for module in modules for pair in module.named_parameters()]
        matrices = [p for name, p in named if p.ndim == 2 and "layers." in name and "rel_attn" not in name]
        known = {id(p) for p in matrices}
        others = [p for _, p in named if id(p) not in known]
        self._optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(others, lr=lr, weight_decay=0.02)]
        if matrices:
            self._optimizers.append(torch.optim.Muon(matrices, lr=lr, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"))
        self._parameters, self._lr, self._steps, self._step = [p for _, p in named], lr, steps, 0

    def step(self, loss: Tensor) -> None:
        self._step += 1
        share = self._step / self._steps
        rate = self._lr * min(1.0, share / 0.1) * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad()
        if self._step % 50 == 0:
            print(f"  step {self._step} of {self._steps}: loss {loss.item():.3f}", flush=True)


def learn_spectra(speech: Speech, *, steps: int = 400, batch: int = 24) -> torch.nn.Module:
    """Step 1: a front end whose channels say, through a matrix, the log-mel spectrum of every step."""
    random = torch.Generator().manual_seed(0)
    front, says, filters = encoder().feature_extractor, torch.nn.Linear(CHANNELS, BINS), mel_filters()
    some = spectra(changed(speech.samples, random), filters)
    mean, spread = some.mean((0, 1)), some.std((0, 1))
    schedule = Schedule([front, says], lr=2e-3, steps=steps)
    for _ in range(steps):
        samples = changed(speech.samples[torch.randint(len(speech.label), (batch,), generator=random)], random)
        with torch.autocast("cpu", torch.bfloat16):
            said = says(front(samples).transpose(1, 2))
        schedule.step(F.mse_loss(said.float(), (spectra(samples, filters) - mean) / spread))
    return front.requires_grad_(False)


@dataclass(frozen=True)
class Heard:
    """Changed stretches of each sound: `said` by the front end [n, views, CHANNELS, steps], half; `described`."""

    said: Tensor
    described: Tensor

    @classmethod
    def by(cls, front: torch.nn.Module, speech: Speech, *, views: int = 16) -> Heard:
        random, filters = torch.Generator().manual_seed(2), mel_filters()
        said, descriptions = [], []
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            for some in speech.samples.repeat_interleave(views, 0).split(32):
                samples = changed(some, random)
                said.append(front(samples).half())
                descriptions.append(described(samples, filters))
        count = (len(speech.label), views)
        return cls(torch.cat(said).unflatten(0, count), torch.cat(descriptions).unflatten(0, count))

    def views(self, rows: Tensor, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """One of each, drawn at random."""
        view = torch.randint(self.said.shape[1], (len(rows),), generator=random)
        return self.said[rows, view].float(), self.described[rows, view]


def seconds(model: WavLMModel, said: Tensor) -> Tensor:
    """[n, CHANNELS, steps] → [n, seconds, WIDTH]: what `extract-audio` gives frames with a context of half a second."""
    layers = model(said, output_hidden_states=True).hidden_states[-LAYERS:]
    mean = torch.stack(layers).mean(0).float().transpose(1, 2)
    return F.avg_pool1d(mean, SECOND, APART).transpose(1, 2)


def without_front() -> WavLMModel:
    """A model that is given what the front end says, which does not change any more."""
    model = encoder()
    model.feature_extractor = torch.nn.Identity()
    return model.train()


def learn_descriptions(heard: Heard, rows: Tensor, *, steps: int = 250, batch: int = 32) -> WavLMModel:
    """Step 2."""
    random = torch.Generator().manual_seed(3)
    mean, spread = (moment(heard.described[rows].flatten(0, 2), 0) for moment in (torch.mean, torch.std))
    model, says = without_front(), torch.nn.Linear(WIDTH, heard.described.shape[-1])
    schedule = Schedule([model, says], lr=1e-3, steps=steps)
    for _ in range(steps):
        said, truth = heard.views(rows[torch.randint(len(rows), (batch,), generator=random)], random)
        with torch.autocast("cpu", torch.bfloat16):
            guess = says(seconds(model, said))
        schedule.step(F.mse_loss(guess.float(), ((truth - mean) / spread).clamp(-4, 4)))
    return model


@dataclass(frozen=True)
class Listener:
    """Encoder and head after step 3."""

    model: WavLMModel
    head: torch.nn.Linear

    @classmethod
    def trained(
        cls, start: WavLMModel, heard: Heard, label: Tensor, rows: Tensor, *, epochs: int, batch: int = 32
    ) -> Listener:
        """Step 3: one view of each sound an epoch, classes drawn equally often."""
        torch.manual_seed(1)
        random = torch.Generator().manual_seed(1)
        model, head = without_front(), torch.nn.Linear(WIDTH, len(NAMES))
        model.load_state_dict(start.state_dict())
        shares = (1.0 / torch.bincount(label[rows], minlength=len(NAMES)))[label[rows]]
        steps = epochs * len(rows) // batch
        schedule = Schedule([model, head], lr=1e-3, steps=steps)
        for _ in range(steps):
            drawn = rows[torch.multinomial(shares, batch, replacement=True, generator=random)]
            said, _ = heard.views(drawn, random)
            with torch.autocast("cpu", torch.bfloat16):
                logits = head(F.dropout(seconds(model, said), 0.2))
            truth = label[drawn, None].expand(logits.shape[:2])
            schedule.step(F.cross_entropy(logits.float().flatten(0, 1), truth.flatten(), label_smoothing=0.1))
        return cls(model.eval(), head)

    def confusion(self, front: torch.nn.Module, speech: Speech) -> np.ndarray:
        """[true, heard] of whole sounds, nothing changed: the mean of the log-probabilities of their seconds."""
        counts = np.zeros((len(NAMES), len(NAMES)), int)
        with torch.inference_mode():
            for samples, label in zip(speech.samples[:, :JUDGED].split(16), speech.label.split(16), strict=True):
                logits = self.head(seconds(self.model, front(normalised(samples))))
                np.add.at(counts, (label, logits.log_softmax(2).mean(1).argmax(1)), 1)
        return counts


def figures(confusion: np.ndarray) -> str:
    spoken = confusion.sum(1) > 0
    recalls = np.diag(confusion)[spoken] / confusion.sum(1)[spoken]
    rows = zip(np.array(NAMES)[spoken], recalls, confusion[spoken], strict=True)
    lines = [f"  {name:10} {recall:6.1%} of {row.sum():3}   {row}" for name, recall, row in rows]
    accuracy = np.trace(confusion) / confusion.sum()
    return "\n".join([*lines, f"  unweighted average recall {recalls.mean():.1%}, accuracy {accuracy:.1%}"])


def save(model: WavLMModel, front: torch.nn.Module, folder: Path) -> None:
    """In half precision, with what the front end is to be given."""
    model.feature_extractor = copy.deepcopy(front)
    model.half().save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    facts = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": True, "feature_size": 1}
    facts |= {"padding_side": "right", "padding_value": 0.0, "return_attention_mask": False, "sampling_rate": RATE}
    (folder / "preprocessor_config.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters → {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emodb", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--held-out", default="11,13", help="speakers that the encoder in OUT_DIR never hears")
    parser.add_argument("--folds", type=int, default=8, help="speakers left out in turn; 0 for none")
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)  # the same sums in the same order everywhere
    torch.manual_seed(0)
    speech, held_out = Speech.read(given.emodb), given.held_out.split(",")
    if missing := set(held_out) - set(speech.speakers):
        parser.error(f"--held-out: {', '.join(sorted(missing))} is no speaker of {given.emodb}")
    known = [speaker for speaker in speech.speakers if speaker not in held_out]

    def rows(speakers: Sequence[str], *, labelled: bool) -> Tensor:
        chosen = np.isin(speech.speaker, speakers) & (~labelled | (speech.label.numpy() != UNKNOWN))
        return torch.from_numpy(np.flatnonzero(chosen))

    print(f"{len(speech.label)} sounds of {len(speech.speakers)} speakers\nstep 1: spectra", flush=True)
    front = learn_spectra(speech.of(known))
    heard = Heard.by(front, speech)
    print("step 2: descriptions", flush=True)
    start = learn_descriptions(heard, rows(known, labelled=False))

    def learnt(speakers: Sequence[str]) -> Listener:
        return Listener.trained(start, heard, speech.label, rows(speakers, labelled=True), epochs=given.epochs)

    given.out.mkdir(parents=True, exist_ok=True)
    print(f"step 3, without speakers {given.held_out}", flush=True)
    listener = learnt(known)
    print(figures(listener.confusion(front, speech.of(held_out, labelled=True))), flush=True)
    save(listener.model, front, given.out)
    folds = {}
    for speaker in speech.speakers[: given.folds]:
        print(f"step 3, without speaker {speaker}", flush=True)
        listener = learnt([other for other in speech.speakers if other != speaker])
        folds[speaker] = listener.confusion(front, speech.of([speaker], labelled=True))
        print(figures(folds[speaker]), flush=True)
    if folds:
        print(f"each of {len(folds)} speakers left out in turn\n{figures(sum(folds.values()))}", flush=True)
        others = sum(counts for speaker, counts in folds.items() if speaker in known)
        (given.out / "confusion.json").write_text(json.dumps(others.tolist()) + "\n")


if __name__ == "__main__":
    main()
