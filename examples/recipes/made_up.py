"""Made-up data on which the recipes run in a minute: they show that all steps work together, and nothing else.

python examples/recipes/made_up.py FOLDER

Writes what a recipe asks for, as Aff-Wild2 lays it out: cropped_aligned/ (a colour a class, no faces), sound/ (a tone a
class), labels/Train_Set and labels/Validation_Set, and encoders of two small layers whose weights are random: dinov2/,
beit/ and backbone/ (with a head of the eight classes), wav2vec2/.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from affcli.schema import CLASSES

SETS = {"Train_Set": 6, "Validation_Set": 3}  # videos
FRAMES, FPS, EDGE, RATE_HZ = 32, 25, 32, 16_000
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def write_video(folder: Path, name: str, classes: np.ndarray, random: np.random.Generator) -> None:
    """A picture a frame and a sound; every ninth frame has no face."""
    pictures = folder / "cropped_aligned" / name
    pictures.mkdir(parents=True)
    colours = np.random.default_rng(1).integers(0, 256, (len(CLASSES), 3))
    for frame, number in enumerate(classes, start=1):
        if frame % 9:
            pixels = colours[number] + 20 * random.normal(size=(EDGE, EDGE, 3))
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(pictures / f"{frame:05d}.jpg")
    time_s = np.arange(FRAMES * RATE_HZ // FPS) / RATE_HZ
    tone = np.sin(2 * np.pi * (200 + 150 * classes[(time_s * FPS).astype(int)]) * time_s)
    (folder / "sound").mkdir(exist_ok=True)
    soundfile.write(folder / "sound" / f"{name}.wav", 0.3 * tone + 0.01 * random.normal(size=len(tone)), RATE_HZ)


def write_videos(folder: Path) -> None:
    random = np.random.default_rng(0)
    for part, count in SETS.items():
        (folder / "labels" / part).mkdir(parents=True)
        for index in range(count):
            name = f"{part.split('_')[0].lower()}{index}"
            classes = np.repeat(random.integers(0, len(CLASSES), FRAMES // 8), 8)
            write_video(folder, name, classes, random)
            lines = [",".join(CLASSES), *map(str, classes)]
            (folder / "labels" / part / f"{name}.txt").write_text("\n".join(lines) + "\n")


def write_encoders(folder: Path) -> None:
    import torch
    import transformers as hf

    hf.utils.logging.disable_progress_bar()
    torch.manual_seed(0)
    picture = {"image_size": EDGE, "patch_size": 8}
    names = dict(enumerate(CLASSES))
    labels = {"id2label": names, "label2id": {name: number for number, name in names.items()}}
    beit = hf.BeitConfig(**SIZES, **picture, intermediate_size=32, use_relative_position_bias=True, **labels)
    convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2}
    made = {
        "dinov2": hf.Dinov2Model(hf.Dinov2Config(**SIZES, **picture, mlp_ratio=2)),
        "beit": hf.BeitModel(beit),
        "backbone": hf.BeitForImageClassification(beit),
        "wav2vec2": hf.Wav2Vec2Model(hf.Wav2Vec2Config(**SIZES, intermediate_size=32, **convolutions)),
    }
    square = {"height": EDGE, "width": EDGE}
    seen = {"image_processor_type": "ViTImageProcessor", "do_resize": True, "size": square, "resample": 2}
    seen |= {"do_normalize": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    heard = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": RATE_HZ, "do_normalize": True}
    for name, model in made.items():
        model.save_pretrained(folder / name)
        facts = heard if name == "wav2vec2" else seen
        (folder / name / "preprocessor_config.json").write_text(json.dumps(facts))


def main(folder: Path) -> None:
    if (folder / "labels").exists():
        return
    write_videos(folder)
    write_encoders(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
