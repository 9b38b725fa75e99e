"""Processor time that each input costs beside what its length asks for: very short clips and sounds, by the thousand.

python tests/benchmarks/bench_per_input.py [FOLDER] [CLIPS] [SOUNDS]    (300 clips of 2 frames, 5,000 sounds of 0.1 s)

Both commands run with mini on one thread. The start of the program is left out by running each over a few inputs first
and taking the difference; ffmpeg's own start is counted, and stands beside it, since an idle and a busy machine differ
by a factor of two. Targets: 60 ms per clip in `label`, 15 ms per sound in `extract-audio`.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import affcli, run, verdict

from affcli.media.ffmpeg import executable

CLIPS, SOUNDS, FEW = 300, 5000, 10
CLIP_MS, SOUND_MS = 60, 15
FACE = Path(__file__).parent.parent / "data" / "astronaut.jpg"


def write_inputs(folder: Path, name: str, command: list[str], number: int) -> tuple[Path, Path]:
    """Folders with a few and with all of the files, each with bytes of its own at its end."""
    subprocess.run([executable(), "-y", "-loglevel", "error", *command, str(folder / name)], check=True)
    content, suffix = (folder / name).read_bytes(), Path(name).suffix
    few, every = folder / f"few {suffix[1:]}", folder / f"all {suffix[1:]}"
    for place, count in ((few, FEW), (every, FEW + number)):
        place.mkdir()
        for index in range(count):
            (place / f"{index:05d}{suffix}").write_bytes(content + (b"\0\0\0\x10free" + b"%08d" % index))
    return few, every


def cpu_s(command: list[str]) -> float:
    """Of a whole process with those that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(command)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def per_input_ms(few: Path, every: Path, number: int, *command: object) -> float:
    """What each further input costs."""
    spent = []
    for place in (few, every):
        output = place.with_suffix(".parquet")
        spent.append(cpu_s([*affcli(*command, place, "-o", output if command[0] != "label" else place / "out", "-q")]))
    return 1000 * (spent[1] - spent[0]) / number


def main(folder: Path, clips: int, sounds: int) -> bool:
    """Prints the figures; true where both targets are met."""
    os.environ["OMP_NUM_THREADS"] = "1"
    start_ms = 1000 * min(cpu_s([executable(), "-version"]) for _ in range(20))
    print(f"start of ffmpeg: {start_ms:.1f} ms")
    still = ["-loop", "1", "-i", str(FACE), "-f", "lavfi", "-i", "sine=d=0.08", "-frames:v", "2", "-r", "25"]
    coded = ["-t", "0.08", "-vf", "scale=320:-2", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-c:a", "aac"]
    found = write_inputs(folder, "clip.mp4", [*still, *coded], clips)
    clip_ms = per_input_ms(*found, clips, "label")
    met = verdict(f"label: ms of CPU per clip of 2 frames ({clips} clips)", clip_ms, most=CLIP_MS)
    found = write_inputs(folder, "sound.wav", ["-f", "lavfi", "-i", "sine=d=0.1:r=16000"], sounds)
    sound_ms = per_input_ms(*found, sounds, "extract-audio", "--model", "mini", "--fps", 25)
    return met & verdict(f"extract-audio: ms of CPU per sound of 0.1 s ({sounds} sounds)", sound_ms, most=SOUND_MS)


if __name__ == "__main__":
    given = sys.argv[1:]
    place = Path(given[0]) if given and not given[0].isdecimal() else Path(tempfile.mkdtemp())
    numbers = [int(word) for word in given if word.isdecimal()]
    try:
        sys.exit(not main(place, *(numbers or [CLIPS, SOUNDS])))
    finally:
        if not given or given[0].isdecimal():
            shutil.rmtree(place)
