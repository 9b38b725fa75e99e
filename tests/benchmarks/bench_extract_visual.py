"""`extract-visual` with a BEiT-base sized encoder, against the bare encoder and against the usual way.

python tests/benchmarks/bench_extract_visual.py [FOLDER]     (FOLDER keeps clips and checkpoint; else temporary ones)

The clips are a photograph with a face that drifts through the picture, H.264 at 480p and 1080p; the checkpoint has
random weights and the default BEiT-base configuration. All take turns in this process, at the same precision and batch.
The bare encoder gets random tensors, its weights cast beforehand as ours are; the usual way is transformers' model and
one frame at a time: decode, detect, crop, Pillow, fp32. Targets, in frames/s: at least 0.80 of the bare encoder at
480p, 0.70 at 1080p; at least 2 times the usual way with bf16.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import torch
from measure import in_folder, medians, verdict
from PIL import Image
from transformers import BeitConfig, BeitModel

from affcli.files.inputs import find_inputs
from affcli.jobs.job import Job, run
from affcli.jobs.table_output import STREAM, TableOutput
from affcli.media.faces import FaceDetector
from affcli.media.ffmpeg import executable
from affcli.media.showing import Show
from affcli.media.video import open_video
from affcli.models.encoders.visual_encoder import VisualEncoder
from affcli.models.extract import visual_features
from affcli.models.runtime import devices
from affcli.schema import VISUAL, visual_schema

FRAMES, USUAL_FRAMES, BATCH = 160, 24, 32
SIZES = {"480p": (854, 480, 0.80), "1080p": (1920, 1080, 0.70)}
FACE = Path(__file__).parent.parent / "data" / "astronaut.jpg"


def clip(folder: Path, name: str) -> Path:
    """The photograph scaled to the picture's height, drifting from left to right before a grey ground."""
    width, height, _ = SIZES[name]
    path = folder / f"{name}-{FRAMES}.mp4"
    if not path.exists():
        ground = f"color=gray:s={width}x{height}:r=25:d={FRAMES / 25}"
        drift = f"[1]scale=-1:{height}[face];[0][face]overlay=x='(W-w)*t/{FRAMES / 25}'"
        inputs = ["-f", "lavfi", "-i", ground, "-loop", "1", "-i", str(FACE)]
        coded = ["-filter_complex", drift, "-frames:v", str(FRAMES), "-c:v", "libx264", "-pix_fmt", "yuv420p"]
        subprocess.run([executable(), "-loglevel", "error", *inputs, *coded, str(path)], check=True)
    return path


def checkpoint(folder: Path) -> Path:
    """BEiT-base with random weights."""
    path = folder / "beit-base"
    if not path.exists():
        torch.manual_seed(0)
        BeitModel(BeitConfig(use_relative_position_bias=True)).save_pretrained(path)
        facts = {"size": 224, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        (path / "preprocessor_config.json").write_text(json.dumps(facts))
    return path


def bare(encoder: VisualEncoder, chosen: devices.Runtime) -> Callable[[], object]:
    """The model alone on random pictures that are ready."""
    pictures = torch.randn(BATCH, 3, 224, 224)

    def encode() -> None:
        with chosen.inference():
            for _ in range(FRAMES // BATCH):
                encoder._model(pixel_values=pictures)

    return encode


def ours(encoder: VisualEncoder, path: Path, output: Path) -> Callable[[], object]:
    show = Show(encoder.preprocessing.fitted, encoder.preprocessing.input_size, "largest", 1)
    table = TableOutput(str(output), VISUAL, visual_schema(encoder.card.size), {})

    def extract(items, parts, advance):  # type: ignore[no-untyped-def]
        return visual_features.extract(encoder, show, items, parts, stream=STREAM, tracks=False, advance=advance)

    return lambda: run(Job(table, force=True), find_inputs([path]), extract, lambda inputs, frames: None)


def usual(path: Path, folder: Path, encoder: VisualEncoder) -> Callable[[], object]:
    """What a notebook does: a frame at a time, a crop of the box, Pillow, fp32."""
    detector, model = FaceDetector(), BeitModel.from_pretrained(folder).eval()

    def encode() -> None:
        with open_video(path) as frames, torch.inference_mode():
            for frame, _ in zip(frames, range(USUAL_FRAMES), strict=False):
                x, y, width, height = detector.detect(frame.pixels)[0].box
                crop = Image.fromarray(frame.pixels).crop((int(x), int(y), int(x + width), int(y + height)))
                pixels = torch.from_numpy(encoder.preprocessing.fitted(crop))[None]
                model(pixel_values=encoder.preprocessing.normalised(pixels))

    return encode


def main(folder: Path) -> bool:
    """Prints the ratios; true where all targets are met."""
    chosen = devices.choose("cpu")
    encoder = VisualEncoder(str(checkpoint(folder)), chosen, batch_size=BATCH)
    clips = {name: clip(folder, name) for name in SIZES}
    works = [bare(encoder, chosen), usual(clips["480p"], checkpoint(folder), encoder)]
    works += [ours(encoder, path, folder / "out.parquet") for path in clips.values()]
    bare_s, usual_s, *ours_s = medians(*works)
    met = True
    for name, seconds in zip(SIZES, ours_s, strict=True):
        what = f"{name}: {FRAMES / seconds:.1f} frames/s / bare encoder ({chosen.precision}) {FRAMES / bare_s:.1f}"
        met &= verdict(what, bare_s / seconds, least=SIZES[name][2])
    ratio = (usual_s / USUAL_FRAMES) / (ours_s[0] / FRAMES)
    what = f"480p: {FRAMES / ours_s[0]:.1f} frames/s / one frame at a time {USUAL_FRAMES / usual_s:.1f}"
    return met & verdict(what, ratio, least=2 if chosen.precision == "bf16" else 1)


if __name__ == "__main__":
    in_folder(main)
