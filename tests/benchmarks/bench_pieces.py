"""How far sound encoded in pieces of 30 s differs from the same sound encoded whole.

python tests/benchmarks/bench_pieces.py CLIPS [MODEL ...]

CLIPS is a folder with speech, such as the quickstart's; 90 s are made of its clips in random order (they repeat).
MODEL is as in `extract-audio`; by default WavLM of base size, a tiny one, and a tiny one whose first layer normalises
each step by itself (as "large" ones do), all with random weights. Each line says, for the vectors of frames at 25
frames/s (mean of the last layers over ±0.5 s): the length of the difference over the length of the vector, and over its
distance from the sound's mean vector, each as root mean square over the frames away from the borders between pieces and
over those within 1 s of one.

Seen with six CREMA-D clips and two others: base size 4.5 % of the vector (12 % of its spread) away from borders, 3.9 %
(12 %) near one; tiny 1.7 % (7 %) and 2.0 % (10 %); tiny with a norm for each step 0.05 % (0.2 %) anywhere. So it is not
the cut that one hears but the first layer of base-sized WavLM, which normalises over all of its input.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from transformers import WavLMConfig, WavLMModel

from affcli.files.inputs import SOUND_SUFFIXES, VIDEO_SUFFIXES, find_inputs
from affcli.media.audio import PIECE_S, open_sound
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.extract.audio_features import StepMeans, _proper_steps
from affcli.models.runtime import devices

SECONDS, RATE, NEAR_S = 90, 16_000, 1.0
CENTRES_S = (np.arange(SECONDS * 25) + 0.5) / 25
TINY = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
TINY |= {"conv_dim": (8,) * 7, "num_conv_pos_embedding_groups": 2}
CONFIGS = {
    "wavlm-base-random": {},
    "wavlm-tiny-random": TINY,
    "wavlm-tiny-random-layer-norm": {**TINY, "feat_extract_norm": "layer"},
}


def speech(clips: Path) -> NDArray[np.float32]:
    """90 s of the clips' sound, in random order."""
    found = []
    for item in find_inputs([clips], pictures=False, suffixes=VIDEO_SUFFIXES | SOUND_SUFFIXES):
        with open_sound(item.path, sample_rate_hz=RATE) as sound:
            found += [piece.samples for piece in sound if np.abs(piece.samples).max() > 0.01]
    random = np.random.default_rng(0)
    order = np.concatenate([random.permutation(len(found)) for _ in range(200)])
    return np.concatenate([found[index] for index in order])[: SECONDS * RATE]


def checkpoint(folder: Path, name: str) -> Path:
    devices.transformers()  # makes it quiet
    torch.manual_seed(0)
    WavLMModel(WavLMConfig(**CONFIGS[name])).save_pretrained(folder / name)
    facts = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": RATE, "do_normalize": False}
    (folder / name / "preprocessor_config.json").write_text(json.dumps(facts))
    return folder / name


def frames(encoder: AudioEncoder, pieces: list[tuple[NDArray[np.float64], NDArray[np.float32]]]) -> NDArray[np.float32]:
    """The vectors of the frames, from the steps' times and vectors."""
    means = StepMeans(encoder.card.size, 0.5)
    for times_s, steps in pieces:
        means.add(times_s, steps)
    return means.means(CENTRES_S)[0]


def report(model: str, samples: NDArray[np.float32], file: Path) -> None:
    encoder = AudioEncoder(model, devices.choose("cpu", "fp32"))
    with open_sound(file, sample_rate_hz=RATE) as sound:
        in_pieces = frames(encoder, [_proper_steps(encoder, piece) for piece in sound])
    steps = encoder.encode(samples)
    whole = frames(encoder, [(encoder.steps.centres_s(len(steps)), steps)])
    near = np.abs((CENTRES_S + PIECE_S / 2) % PIECE_S - PIECE_S / 2) < NEAR_S
    near &= (CENTRES_S > NEAR_S) & (CENTRES_S < SECONDS - NEAR_S)  # the sound's own ends are no borders
    for where, chosen in (("away from borders", ~near), ("within 1 s of one", near)):
        apart, length, spread = (
            np.sqrt(np.square(vectors[chosen], dtype=np.float64).sum(1).mean())
            for vectors in (in_pieces - whole, whole, whole - whole.mean(0))
        )
        print(f"{encoder.card.name}, {where}: {apart / length:.2%} of the vector, {apart / spread:.1%} of its spread")


def main(clips: Path, models: list[str]) -> None:
    """Prints two lines for each model."""
    samples = speech(clips)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        soundfile.write(file, samples, RATE, subtype="FLOAT")
        for model in models or [str(checkpoint(Path(folder), name)) for name in CONFIGS]:
            report(model, samples, file)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
