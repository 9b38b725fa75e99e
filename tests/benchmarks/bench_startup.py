"""Processor time of `affcli label` from the command to its first frame, against the bare import of what it runs on.

python tests/benchmarks/bench_startup.py [RUNS]

Whole processes with mini on one thread, taking turns. Bare: torch and the modelling modules of the two encoders in
transformers, nothing else. The first frame is the one that `label -vv` tells of, in a video of two frames. Target: at
most 1 s more than bare.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import RUNS, affcli, python, verdict

from affcli.media.ffmpeg import executable

FACE = Path(__file__).parent.parent / "data" / "astronaut.jpg"
TORCH = "import torch"
BARE = (
    "import torch; import transformers.models.mobilenet_v1.modeling_mobilenet_v1; "
    "import transformers.models.whisper.modeling_whisper"
)
TIMES = "; import time; print(time.process_time())"
_FIRST = re.compile(r"first frames after [\d.]+ s \(([\d.]+) s of CPU\)")


def imports_s(code: str) -> float:
    """Of a process that imports something and ends."""
    return float(subprocess.run(python(code + TIMES), check=True, capture_output=True, text=True).stdout)


def first_frame_s(clip: Path, output: Path) -> float:
    """As `-vv` says."""
    command = affcli("label", clip, "-o", output, "-vv", "-f")
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = _FIRST.search(said)
    assert found is not None, said
    return float(found[1])


def main(folder: Path, runs: int) -> bool:
    """Prints the figures; true where the target is met."""
    os.environ["OMP_NUM_THREADS"] = "1"
    clip = folder / "clip.mp4"
    still = ["-loop", "1", "-i", str(FACE), "-frames:v", "2", "-r", "25", "-vf", "scale=320:-2", "-pix_fmt", "yuv420p"]
    subprocess.run([executable(), "-y", "-loglevel", "error", *still, str(clip)], check=True)
    works = (lambda: imports_s(TORCH), lambda: imports_s(BARE), lambda: first_frame_s(clip, folder / "out"))
    times = [[work() for work in works] for _ in range(runs)]
    torch_s, bare_s, first_s = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"torch {torch_s:.2f} s; torch and the modelling modules {bare_s:.2f} s; first frame {first_s:.2f} s")
    return verdict("label: seconds of CPU to the first frame beyond the bare import", first_s - bare_s, most=1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not main(Path(folder), int(sys.argv[1]) if len(sys.argv) > 1 else RUNS))
