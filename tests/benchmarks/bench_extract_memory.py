"""Peak memory of `extract-visual` and `extract-audio` over a long 1080p video, against that over a short one.

python tests/benchmarks/bench_extract_memory.py [FOLDER]     (FOLDER keeps the clips; else a temporary one)
python tests/benchmarks/bench_extract_memory.py --long FOLDER     2 hours against 2 minutes (half an hour); else 10
                                                                  minutes against 2

A minute of a drifting photograph with a face, and noise, H.264 at 1080p and 25 frames/s, repeated without encoding it
again. The encoders are as small as they come (`mini`), so that what is measured is everything else; every frame is
decoded, one a second searched and encoded (`--every 25`), and work is kept every two seconds instead of thirty, so that
there are as many parts. Told are the peak of the whole process (Linux's VmHWM), weights and libraries included,
and that of all its ffmpeg processes at once. Targets: the long video within 10 % of the short one, under 2 GB.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from measure import in_folder, python, verdict

from affcli.media.ffmpeg import executable

MINUTE_S, FPS = 60, 25
SHORT_MIN = 2
FACE = Path(__file__).parent.parent / "data" / "astronaut.jpg"
CODE = """
import sys
from affcli import cli
from affcli.jobs import stream_part
stream_part.KEEP_EVERY_S = 2.0
status = cli.run(sys.argv[1:])
print(open("/proc/self/status").read())
sys.exit(status)
"""
COMMANDS = {"extract-visual": ("--every", "25"), "extract-audio": ()}


def minute(folder: Path) -> Path:
    """The photograph before a grey ground, from left to right, with noise."""
    path = folder / "minute.mp4"
    if not path.exists():
        ground = f"color=gray:s=1920x1080:r={FPS}:d={MINUTE_S}"
        drift = f"[1]scale=-1:1080[face];[0][face]overlay=x='(W-w)*t/{MINUTE_S}'"
        inputs = ["-f", "lavfi", "-i", ground, "-loop", "1", "-i", str(FACE)]
        inputs += ["-f", "lavfi", "-i", f"anoisesrc=d={MINUTE_S}:r=44100:a=0.2:seed=1"]
        coded = ["-filter_complex", drift, "-map", "2:a", "-t", str(MINUTE_S), "-c:v", "libx264"]
        coded += ["-preset", "veryfast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
        subprocess.run([executable(), "-loglevel", "error", *inputs, *coded, str(path)], check=True)
    return path


def clip(folder: Path, minutes: int) -> Path:
    """So many minutes of it."""
    path = folder / f"{minutes}-minutes.mp4"
    if not path.exists():
        repeated = ["-stream_loop", str(minutes - 1), "-i", str(minute(folder)), "-c", "copy"]
        subprocess.run([executable(), "-loglevel", "error", *repeated, str(path)], check=True)
    return path


def peaks_mb(command: str, video: Path, output: Path) -> tuple[int, int]:
    """Peak memory of the process, and of its ffmpeg processes together, in MB."""
    arguments = [command, video, "--model", "mini", *COMMANDS[command], "-q", "-f", "-o", output]
    process = subprocess.Popen(python(CODE, *arguments), stdout=subprocess.PIPE, text=True)
    decoders = 0
    while process.poll() is None:
        decoders = max(decoders, sum(map(resident_mb, children(process.pid))))
        time.sleep(0.2)
    assert process.stdout is not None
    if process.returncode:
        sys.exit(f"{command} ended with status {process.returncode}")
    status = process.stdout.read()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) // 1024, decoders


def children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(path.parent.name))
        except OSError:  # it has ended meanwhile
            continue
    return found


def resident_mb(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0) // 1024


def compare(folder: Path, long_min: int) -> bool:
    """Prints the ratios; true where all targets are met."""
    met = True
    for command in COMMANDS:
        (short, short_decoders), (long, long_decoders) = (
            peaks_mb(command, clip(folder, minutes), folder / "out.parquet") for minutes in (SHORT_MIN, long_min)
        )
        what = f"{command}: {long} MB over {long_min} min / {short} MB over {SHORT_MIN}"
        met &= verdict(f"{what} (ffmpeg {long_decoders} and {short_decoders} MB beside)", long / short, most=1.1)
        met &= verdict(f"{command}: GB, weights and libraries included", long / 1000, most=2)
    return met


if __name__ == "__main__":
    long_min = 120 if "--long" in sys.argv else 10
    sys.argv = [argument for argument in sys.argv if argument != "--long"]
    in_folder(lambda folder: compare(folder, long_min))
