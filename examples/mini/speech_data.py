"""The labelled speech that the speech network of `mini` is made of: where it comes from, and as log-mel spectrograms.

| folder or file in DATA | home | terms |
|---|---|---|
| crema-d/ | github.com/j-lamadrid/speech-emotion-classification, a copy of CREMA-D as 16 kHz WAV | ODbL 1.0 |
| tabulatedVotes.csv | github.com/CheyneyComputerScience/CREMA-D, processedResults/ | ODbL 1.0 |
| nEMO/ | github.com/amu-cai/nEMO | CC BY-NC-SA 4.0 |
| URDU-Dataset/ | github.com/siddiquelatif/URDU-Dataset | research |
| emodb/ | emodb.bilderbar.info, by hand (SSTTTEv.wav) | research |
"""

from __future__ import annotations

import csv
import hashlib
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly
from transformers import WhisperFeatureExtractor

from affcli.schema import CLASSES

Samples = NDArray[np.float32]

RATE: Final = 16_000
FRAME, WINDOW, BINS = 160, 400, 80  # samples between frames of a spectrogram and in each; bins of the mel scale
FLOOR: Final = 1e-10  # the least power, as Whisper's

_CLONES: Final = {  # folder: (address, commit, what is downloaded)
    "crema-d": (
        "https://github.com/j-lamadrid/speech-emotion-classification",
        "8428ca0f0f9d80176a02f13a1542c4c9cb9ab073",
        "450 MB; of it only CREMA-D: Open Database License 1.0",
    ),
    "nEMO": ("https://github.com/amu-cai/nEMO", "66de9999a8f2f605eb5f64841790aa5cb0877782", "430 MB, CC BY-NC-SA 4.0"),
    "URDU-Dataset": (
        "https://github.com/siddiquelatif/URDU-Dataset",
        "4b546d4e0fa36d1c86c53a281631b2ab7ce2fdec",
        "70 MB, for research",
    ),
}
_VOTES: Final = (
    "https://raw.githubusercontent.com/CheyneyComputerScience/CREMA-D/master/processedResults/tabulatedVotes.csv"
)
_VOTES_SHA256: Final = "774d9d759cb5caf2542758a39eca8c0f1d2777f9987ff5d5adf8066d192f377b"

# Sentences that stand in CREMA-D twice, under two emotions.
_TWINS: Final = {"1006_TIE_HAP", "1006_TIE_NEU", "1013_WSI_DIS", "1013_WSI_SAD", "1017_IWW_ANG", "1017_IWW_FEA"}


# --- downloads -------------------------------------------------------------------------------------------------------


def fetch(data: Path, *, yes: bool) -> None:
    """Downloads into `data` what is not there, after asking; commits and digests are checked."""
    if not sounds(data / "emodb"):
        sys.exit(f"{data / 'emodb'}: no WAV file. Put the Berlin Database of Emotional Speech (Emo-DB) there by hand.")
    for name, (address, commit, what) in _CLONES.items():
        if not (data / name).exists():
            _ask(f"{address}, {what}", yes=yes)
            subprocess.run(["git", "clone", "--quiet", address, data / name], check=True)
            subprocess.run(["git", "-C", data / name, "checkout", "--quiet", commit], check=True)
    votes = data / "tabulatedVotes.csv"
    if not votes.exists():
        _ask(f"{_VOTES}, 2 MB, Open Database License 1.0", yes=yes)
        urllib.request.urlretrieve(_VOTES, votes)
    found = hashlib.sha256(votes.read_bytes()).hexdigest()
    if found != _VOTES_SHA256:
        sys.exit(f"{votes}: its SHA-256 is {found}, not {_VOTES_SHA256}. It is another version or damaged.")


def _ask(what: str, *, yes: bool) -> None:
    if not yes and input(f"Download {what}? [y/N] ").strip().lower() not in ("y", "yes"):
        sys.exit("Nothing was downloaded. Use --corpora DIR for a folder that has it already.")


# --- utterances ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """How a corpus names its files; `label` gives speaker and class of a file's stem, None for files to leave out."""

    folder: str
    label: Callable[[str], tuple[str, str] | None]
    share: float  # of the utterances that are drawn in training


def _crema(stem: str) -> tuple[str, str] | None:
    speaker, sentence, emotion, *_ = stem.split("_")
    names = {"NEU": "Neutral", "ANG": "Anger", "DIS": "Disgust", "FEA": "Fear", "HAP": "Happiness", "SAD": "Sadness"}
    return None if f"{speaker}_{sentence}_{emotion}" in _TWINS else (speaker, names[emotion])


def _nemo(stem: str) -> tuple[str, str]:
    speaker, emotion, _ = stem.split("_")
    names = {"neutral": "Neutral", "anger": "Anger", "fear": "Fear", "happiness": "Happiness", "sadness": "Sadness"}
    return speaker, {**names, "surprised": "Surprise"}[emotion]


def _urdu(stem: str) -> tuple[str, str]:
    speaker, _, emotion = stem.split("_")
    return speaker, {"N": "Neutral", "A": "Anger", "H": "Happiness", "S": "Sadness"}[emotion[0]]


def _emodb(stem: str) -> tuple[str, str] | None:
    names = {"N": "Neutral", "W": "Anger", "E": "Disgust", "A": "Fear", "F": "Happiness", "T": "Sadness"}
    return (stem[:2], names[stem[5]]) if stem[5] in names else None  # L, boredom, is no class here


CORPORA: Final = {
    "crema-d": Corpus("crema-d/speech-emotion-recognition-en/Crema", _crema, 0.62),
    "nemo": Corpus("nEMO/samples", _nemo, 0.22),
    "urdu": Corpus("URDU-Dataset", _urdu, 0.07),
    "emodb": Corpus("emodb", _emodb, 0.09),
}


@dataclass(frozen=True, eq=False)
class Utterances:
    """n utterances: `spectra` float16 [frames of all, 80], log10 of the power; utterance i is frames [begins[i],
    begins[i + 1]). `corpus`, `speaker` [n] names, `label` [n] class numbers, `votes` [n, 8] shares of what people heard
    (one-hot where nobody was asked)."""

    spectra: NDArray[np.float16]
    begins: NDArray[np.int64]
    corpus: NDArray[np.str_]
    speaker: NDArray[np.str_]
    label: NDArray[np.int64]
    votes: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def frames(self) -> NDArray[np.int64]:
        return np.diff(self.begins)

    def spectrum(self, i: int) -> NDArray[np.float32]:
        """[frames, 80]: log10 of the power."""
        return self.spectra[self.begins[i] : self.begins[i + 1]].astype(np.float32)

    def save(self, file: Path) -> None:
        partial = file.with_suffix(".part.npz")
        np.savez(partial, **vars(self))
        partial.replace(file)

    @classmethod
    def load(cls, file: Path) -> Utterances:
        with np.load(file) as stored:
            return cls(**{name: stored[name] for name in stored})


def read(data: Path) -> Utterances:
    """All corpora; says how many utterances each has."""
    spectra, rows = [], []
    asked = _asked(data / "tabulatedVotes.csv")
    for name, corpus in CORPORA.items():
        before = len(rows)
        for file, speaker, label in files(data, corpus):
            spectrum = log_mel(samples_of(file))
            if spectrum.max() < -6:  # digital silence: 1076_MTI_SAD_XX
                continue
            votes = asked.get(file.stem) if name == "crema-d" else None
            spectra.append(spectrum.astype(np.float16))
            rows.append((name, speaker, label, np.eye(8)[label] if votes is None else votes / votes.sum()))
        print(f"{name}: {len(rows) - before} utterances", flush=True)
    corpus_of, speakers, labels, votes_of = map(np.array, zip(*rows, strict=True))
    begins = np.cumsum([0, *map(len, spectra)])
    return Utterances(np.concatenate(spectra), begins, corpus_of, speakers, labels, votes_of.astype(np.float32))


def sounds(folder: Path) -> list[Path]:
    """WAV and FLAC files in a folder and below, by name."""
    found = (file for file in folder.rglob("*") if file.suffix in (".wav", ".flac"))
    return sorted(found, key=lambda file: file.stem)


def files(data: Path, corpus: Corpus) -> Iterator[tuple[Path, str, int]]:
    """File, speaker and class number of each utterance."""
    found_files = sounds(data / corpus.folder)
    if not found_files:
        sys.exit(f"{data / corpus.folder}: no WAV file in it")
    for file in found_files:
        if (found := corpus.label(file.stem)) is not None:
            yield file, found[0], CLASSES.index(found[1])


def _asked(file: Path) -> dict[str, NDArray[np.float64]]:
    """How often each of CREMA-D's utterances was given each class by ear alone (rows numbered 1xxxxx)."""
    found: dict[str, NDArray[np.float64]] = {}
    with file.open() as lines:
        for row in csv.DictReader(lines):
            if len(row[""]) == 6 and row[""].startswith("1"):
                counts = np.array([*(float(row[letter]) for letter in "NADFHS"), 0, 0])
                found[row["fileName"]] = found.get(row["fileName"], 0) + counts
    return {name: counts for name, counts in found.items() if counts.sum()}


def samples_of(file: Path) -> Samples:
    """Mono, 16 kHz."""
    samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
    factor = gcd(rate, RATE)
    return np.asarray(resample_poly(samples.mean(1), RATE // factor, rate // factor), np.float32)


# --- spectrograms ----------------------------------------------------------------------------------------------------

_FILTERS: Final = WhisperFeatureExtractor().mel_filters.astype(np.float32)  # [201, 80]


def log_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """log10 of the power [frames, 80] as WhisperFeatureExtractor computes it, before its clamp and scaling."""
    padded, frames = np.pad(samples, WINDOW // 2, mode="reflect"), len(samples) // FRAME
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::FRAME][:frames]
    power = np.abs(np.fft.rfft(windows * np.hanning(WINDOW + 1)[:-1], axis=1)) ** 2
    return np.log10(np.maximum(power.astype(np.float32) @ _FILTERS, FLOOR))


def facts() -> dict[str, Any]:
    """preprocessor_config.json: the feature extractor of the network."""
    return json.loads(WhisperFeatureExtractor(chunk_length=10).to_json_string())  # type: ignore[no-any-return]
