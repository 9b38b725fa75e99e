"""`extract-audio` with a WavLM-base sized encoder, against the bare encoder on the same pieces of sound.

python tests/benchmarks/bench_extract_audio.py [FOLDER]     (FOLDER keeps clips and checkpoint; else temporary ones)

Noise of 60 s: as a sound file (`--fps`), as the sound of an H.264 video at 480p whose frame times come from a table
(`--frames-from`, the usual way), and of the same video alone, whose picture is decoded for them beside. The checkpoint
has random weights and the default WavLM-base configuration. All take turns in this process, at the same precision. The
bare encoder gets random samples of the pieces' lengths, one by one, as they are defined. Target, in seconds of sound a
second: at least 0.85 of the bare encoder for the first two; the last is told beside them, since decoding a picture can
cost more than encoding its sound.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from measure import in_folder, medians, verdict
from transformers import WavLMConfig, WavLMModel

from affcli.features.frame_times import FrameSource
from affcli.files.inputs import find_inputs
from affcli.jobs.job import Job, run
from affcli.jobs.table_output import STREAM, TableOutput
from affcli.media.audio import CONTEXT_S, PIECE_S
from affcli.media.ffmpeg import executable
from affcli.models.encoders.audio_encoder import AudioEncoder
from affcli.models.extract import audio_features
from affcli.models.runtime import devices
from affcli.schema import AUDIO, VISUAL, audio_schema, visual_schema, with_metadata
from affcli.tables.writer import TableWriter

SECONDS, FPS, RATE = 60, 25, 16_000
PIECES_S = [PIECE_S + CONTEXT_S] * (SECONDS // PIECE_S)  # the two at the ends, each with one neighbour
PICTURE = f"testsrc2=s=854x480:r={FPS}:d={SECONDS}"


def checkpoint(folder: Path) -> Path:
    """WavLM-base with random weights."""
    path = folder / "wavlm-base"
    if not path.exists():
        torch.manual_seed(0)
        WavLMModel(WavLMConfig()).save_pretrained(path)
        facts = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "sampling_rate": RATE, "do_normalize": False}
        (path / "preprocessor_config.json").write_text(json.dumps(facts))
    return path


def clip(folder: Path, name: str) -> Path:
    """Noise, beside a moving pattern where it is a video."""
    path = folder / name
    if not path.exists():
        picture = ["-f", "lavfi", "-i", PICTURE] if path.suffix == ".mp4" else []
        noise = ["-f", "lavfi", "-i", f"anoisesrc=d={SECONDS}:r=44100:a=0.2:seed=1"]
        coded = ["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"] if picture else []
        subprocess.run([executable(), "-loglevel", "error", *picture, *noise, *coded, str(path)], check=True)
    return path


def times(folder: Path, video: str) -> Path:
    """A visual table with the times of the video's frames, and no faces."""
    path, count = folder / "visual.parquet", SECONDS * FPS
    schema = visual_schema(1)
    known = {"video": [video] * count, "frame": np.arange(1, count + 1, dtype=np.int32), "face": [False] * count}
    known["time_s"] = np.arange(count) / FPS
    rows = [pa.array(known[f.name], f.type) if f.name in known else pa.nulls(count, f.type) for f in schema]
    about = with_metadata(schema, kind=VISUAL, encoder={"name": "none", "size": 1})
    with TableWriter(str(path), about, force=True) as writer:
        writer.write(pa.table(rows, schema=schema))
    return path


def bare(encoder: AudioEncoder, chosen: devices.Runtime) -> Callable[[], object]:
    """The model alone on random samples that are ready."""
    pieces = [torch.randn(1, seconds * RATE) * 0.1 for seconds in PIECES_S]

    def encode() -> None:
        with chosen.inference():
            for samples in pieces:
                encoder._model(samples, output_hidden_states=True)

    return encode


def ours(encoder: AudioEncoder, source: FrameSource, path: Path, output: Path) -> Callable[[], object]:
    table = TableOutput(str(output), AUDIO, audio_schema(encoder.card.size), {})

    def extract(items, parts, advance):  # type: ignore[no-untyped-def]
        return audio_features.extract(encoder, source, items, parts, stream=STREAM, context_s=0.5, advance=advance)

    return lambda: run(Job(table, force=True), find_inputs([path]), extract, lambda inputs, frames: None)


def main(folder: Path) -> bool:
    """Prints the ratios; true where the targets are met."""
    chosen = devices.choose("cpu")
    encoder = AudioEncoder(str(checkpoint(folder)), chosen)
    sound, video = clip(folder, "sound.wav"), clip(folder, "video.mp4")
    from_table = FrameSource(fps=None, table=str(times(folder, "video")))
    ways = {
        "a sound file": (sound, FrameSource(fps=FPS, table=None), 0.85),
        "a 480p video, --frames-from": (video, from_table, 0.85),
        "a 480p video, its picture decoded for the times": (video, FrameSource(fps=None, table=None), 0.0),
    }
    works = [ours(encoder, source, path, folder / "out.parquet") for path, source, _ in ways.values()]
    bare_s, *ours_s = medians(bare(encoder, chosen), *works)
    met = True
    for (what, (_, _, least)), seconds in zip(ways.items(), ours_s, strict=True):
        speeds = f"{SECONDS / seconds:.1f} s/s / bare encoder ({chosen.precision}) {SECONDS / bare_s:.1f}"
        met &= verdict(f"{what}: {speeds}", bare_s / seconds, least=least)
    return met


if __name__ == "__main__":
    in_folder(main)
