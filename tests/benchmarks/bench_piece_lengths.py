"""Pieces of 10 to 30 s with 1 and 2 s of context: speed, memory, and distance from the sound encoded whole.

python tests/benchmarks/bench_piece_lengths.py CLIPS
python tests/benchmarks/bench_piece_lengths.py CLIPS --mini

With --mini: the frames to which `affcli label` gives another label than with the pieces that mini uses (6 s with 2 s:
its encoder takes 10 s at most) when it hears the same sound in others, and the distance of their probabilities.

CLIPS and the distances are as in `bench_pieces.py`; the encoder is WavLM of base size with random weights, on one core.
Prints a Markdown table. Speed is that of 30 s with 2 s, in processor time, the best of three turns.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import bench_pieces
import numpy as np
import soundfile
import torch

import affcli
from affcli.media import audio, hearing
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.extract.audio_features import _proper_steps
from affcli.models.runtime import devices
from affcli.schema import CLASSES

MINI_GRID = [(6, 2), (6, 1), (8, 1), (4, 2), (2, 2), (2, 1)]
GRID = [(piece_s, context_s) for piece_s in (10, 15, 20, 30) for context_s in (1, 2)]
TURNS = 3


def pieces(file: Path, piece_s: int, context_s: int) -> list[audio.SoundPiece]:
    audio.CONTEXT_S = context_s  # type: ignore[misc]  # a constant of the definition everywhere else
    with audio.open_sound(file, sample_rate_hz=bench_pieces.RATE, piece_s=piece_s) as sound:
        return list(sound)


def distances(got: np.ndarray, whole: np.ndarray, piece_s: int) -> list[str]:
    centres_s = bench_pieces.CENTRES_S
    near = np.abs((centres_s + piece_s / 2) % piece_s - piece_s / 2) < bench_pieces.NEAR_S
    near &= (centres_s > bench_pieces.NEAR_S) & (centres_s < bench_pieces.SECONDS - bench_pieces.NEAR_S)
    told = []
    for chosen in (~near, near):
        apart, length, spread = (
            np.sqrt(np.square(vectors[chosen], dtype=np.float64).sum(1).mean())
            for vectors in (got - whole, whole, whole - whole.mean(0))
        )
        told.append(f"{apart / length:.1%} ({apart / spread:.0%})")
    return told


def memory(file: str, model: str, piece_s: int, context_s: int) -> None:
    """What encoding one piece adds to the peak of this process, in MB."""
    encoder = AudioEncoder(model, devices.choose("cpu", "fp32"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _proper_steps(encoder, pieces(Path(file), piece_s, context_s)[1])
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)


def main(clips: Path) -> None:
    """Prints the table."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        samples = bench_pieces.speech(clips)
        soundfile.write(file, samples, bench_pieces.RATE, subtype="FLOAT")
        model = str(bench_pieces.checkpoint(Path(folder), "wavlm-base-random"))
        encoder = AudioEncoder(model, devices.choose("cpu", "fp32"))
        steps = encoder.encode(samples)
        whole = bench_pieces.frames(encoder, [(encoder.steps.centres_s(len(steps)), steps)])
        cut = {chosen: pieces(file, *chosen) for chosen in GRID}
        spent_s: dict[tuple[int, int], list[float]] = {chosen: [] for chosen in GRID}
        made = {}
        for _ in range(TURNS):
            for chosen in GRID:
                began_s = time.process_time()
                made[chosen] = [_proper_steps(encoder, piece) for piece in cut[chosen]]
                spent_s[chosen].append(time.process_time() - began_s)
        print("| piece, context | speed | memory | away from borders | within 1 s of one |\n|---|---|---|---|---|")
        for chosen in GRID:
            own = [sys.executable, __file__, "--memory", str(file), model, *map(str, chosen)]
            used = subprocess.run(own, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
            speed = min(spent_s[30, 2]) / min(spent_s[chosen])
            told = distances(bench_pieces.frames(encoder, made[chosen]), whole, chosen[0])
            print(f"| {chosen[0]} s, {chosen[1]} s | {speed:.2f} | {used} MB | {' | '.join(told)} |", flush=True)


def labelled(file: Path, folder: Path, piece_s: int, context_s: int) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class of each frame [n], and the probabilities [n, 8]."""
    audio.CONTEXT_S = context_s  # type: ignore[misc]
    hearing.open_sound = partial(_in_pieces, length_s=piece_s)  # type: ignore[attr-defined]
    affcli.label(file, folder, min_confidence=0, force=True)
    table = affcli.read(folder)
    logits = np.stack([table[name].to_numpy() for name in CLASSES], axis=1).astype(np.float64)
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return logits.argmax(1), exponent / exponent.sum(1, keepdims=True)


def _in_pieces(path: Path, *, length_s: int, piece_s: int, **how: Any) -> audio.SoundPieces:
    return audio.open_sound(path, piece_s=length_s, **how)


def with_mini(clips: Path) -> None:
    """Prints how many labels change."""
    with tempfile.TemporaryDirectory() as made:
        file = Path(made) / "speech.wav"
        soundfile.write(file, bench_pieces.speech(clips), bench_pieces.RATE)
        found = {chosen: labelled(file, Path(made) / "out", *chosen) for chosen in MINI_GRID}
    labels, probabilities = found[MINI_GRID[0]]
    print("| piece, context | other labels | mean distance of a probability |\n|---|---|---|")
    for (piece_s, context_s), (other, changed) in found.items():
        apart = np.abs(changed - probabilities).mean()
        print(f"| {piece_s} s, {context_s} s | {np.mean(other != labels):.1%} of {len(labels):,} | {apart:.4f} |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        memory(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))
    elif sys.argv[2:] == ["--mini"]:
        with_mini(Path(sys.argv[1]))
    elif len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        sys.exit(__doc__)
