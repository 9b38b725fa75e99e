"""`affcli label` with the mini encoders: seconds of video a second, and against the separate commands.

python tests/benchmarks/bench_label.py [FOLDER]     (FOLDER keeps the clips and the model; else temporary ones)

The clips are a photograph with a face that drifts through a 480p picture at 25 frames/s, with a tone, 15 s each. Both
are timed as whole processes, start and imports included, taking turns. Targets: at least real time; at most as long as
extract-visual, extract-audio and the pipe of predict, vote and smooth.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

from measure import affcli, in_folder, medians, run, verdict

from affcli.media.ffmpeg import executable
from affcli.models.fusion.model_file import ModelCard, save_model
from affcli.models.fusion.network import FusionConfig, FusionNetwork

CLIPS, SECONDS, FPS = 2, 15, 25
FACE = Path(__file__).parent.parent / "data" / "astronaut.jpg"
MINI_SIZES = {"visual": 1024, "audio": 384}


def write_clips(folder: Path) -> Path:
    clips = folder / "clips"
    clips.mkdir(exist_ok=True)
    for number in range(CLIPS):
        path = clips / f"{number}.mp4"
        if path.exists():
            continue
        inputs = ["-f", "lavfi", "-i", f"color=gray:s=854x480:r={FPS}:d={SECONDS}", "-loop", "1", "-i", str(FACE)]
        tone = ["-f", "lavfi", "-i", f"sine=frequency={200 + number}:d={SECONDS}"]
        drift = f"[1]scale=-1:480[face];[0][face]overlay=x='(W-w)*t/{SECONDS}'"
        coded = ["-filter_complex", drift, "-map", "2:a", "-frames:v", str(SECONDS * FPS), "-pix_fmt", "yuv420p"]
        codecs = ["-c:v", "libx264", "-c:a", "aac", "-t", str(SECONDS)]
        subprocess.run([executable(), "-y", "-loglevel", "error", *inputs, *tone, *coded, *codecs, path], check=True)
    return clips


def write_model(folder: Path) -> Path:
    """A fusion network of the default size with random weights, for features of the mini encoders."""
    path = folder / "model.safetensors"
    config = FusionConfig(*MINI_SIZES.values())
    encoders = {stream: {"name": "", "size": size} for stream, size in MINI_SIZES.items()}
    save_model(str(path), FusionNetwork(config).state_dict(), ModelCard(config, 8, encoders))
    return path


def label(folder: Path, clips: Path, model: Path) -> None:
    shutil.rmtree(folder / "out", ignore_errors=True)
    run(affcli("label", clips, "--model", model, "-o", folder / "out", "-q"))


def separately(folder: Path, clips: Path, model: Path) -> None:
    visual, audio, frames = folder / "V.parquet", folder / "A.parquet", folder / "F.parquet"
    run(affcli("extract-visual", clips, "--model", "mini", "-o", visual, "-f", "-q"))
    run(affcli("extract-audio", clips, "--model", "mini", "--frames-from", visual, "-o", audio, "-f", "-q"))
    predict = affcli("predict", "--model", model, "--visual", visual, "--audio", audio, "-q")
    pipe = [predict, affcli("vote", "-q"), affcli("smooth", "-o", frames, "-f", "-q")]
    run(["bash", "-c", " | ".join(map(shlex.join, pipe))])


def main(folder: Path) -> bool:
    """Prints the ratios; true where both targets are met."""
    clips, model = write_clips(folder), write_model(folder)
    label_s, separate_s = medians(lambda: label(folder, clips, model), lambda: separately(folder, clips, model))
    met = verdict("480p: seconds of video a second", CLIPS * SECONDS / label_s, least=1)
    return met & verdict(
        f"separate commands ({separate_s:.1f} s) / label ({label_s:.1f} s)", separate_s / label_s, least=1
    )


if __name__ == "__main__":
    in_folder(main)
