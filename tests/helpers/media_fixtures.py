"""Small clips for tests, made with the ffmpeg that the package uses: exact frames, stamps, clicks and containers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from affcli.media.ffmpeg import executable

Pixels = NDArray[np.uint8]

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
LOSSLESS = ("-c:v", "ffv1", "-pix_fmt", "bgr0")  # in mkv: pixels come back exactly


def ffmpeg(*arguments: str | Path, data: bytes | None = None) -> bytes:
    """Runs ffmpeg, quietly, over the given input data; returns what it wrote to standard output."""
    command = [executable(), "-hide_banner", "-nostats", "-loglevel", "error", "-y", *map(str, arguments)]
    return subprocess.run(command, input=data, check=True, stdout=subprocess.PIPE).stdout


def write_frames(path: Path, frames: Sequence[Pixels], *, fps: float = 25, codec: Sequence[str] = LOSSLESS) -> Path:
    """A video of exactly these frames, uint8 [height, width, 3]."""
    height, width = frames[0].shape[:2]
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-")
    ffmpeg(*raw, *codec, f"file:{path}", data=b"".join(frame.tobytes() for frame in frames))
    return path


def write_pattern(path: Path, *options: str, seconds: float = 1, size: str = "160x120", fps: int = 25) -> Path:
    """A moving test pattern, encoded with the given output options."""
    ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={fps}:d={seconds}", *options, f"file:{path}")
    return path


def write_click(
    path: Path, *codecs: str, at_s: float, late_s: float = 0, sound_end_s: float = 5, seconds: float = 5
) -> Path:
    """A grey picture that is white, and a silence that clicks, at `at_s`; the sound track begins at `late_s`."""
    flash = f"drawbox=c=white:t=fill:enable='between(t,{at_s - 0.001},{at_s + 0.02})'"
    click = f"0.9*between(t,{at_s - late_s},{at_s - late_s + 0.005})"
    picture = ("-f", "lavfi", "-i", f"color=c=gray:s=160x120:r=25:d={seconds},{flash}")
    sound = ("-itsoffset", str(late_s), "-f", "lavfi", "-i", f"aevalsrc='{click}':s=48000:d={sound_end_s - late_s}")
    ffmpeg(*picture, *sound, "-map", "0", "-map", "1", *codecs, f"file:{path}")
    return path


def showinfo_times(path: Path) -> list[float]:
    """Presentation times as ffmpeg's `showinfo` filter prints them, from the start that ffmpeg prints: the oracle."""
    command = [executable(), "-hide_banner", "-copyts", "-i", f"file:{path}", "-map", "0:v:0", "-vf", "showinfo"]
    log = subprocess.run([*command, "-f", "null", "-"], check=True, capture_output=True, text=True).stderr
    start_s = float(log.split("start: ")[1].split(",")[0])
    return [float(line.split("pts_time:")[1].split()[0]) - start_s for line in log.splitlines() if "pts_time:" in line]


@cache
def astronaut() -> Pixels:
    """A photograph with one face, uint8 [512, 512, 3]."""
    with Image.open(Path(__file__).parents[1] / "data" / "astronaut.jpg") as picture:
        return np.array(picture.convert("RGB"))


def shared_clip(name: str) -> Path:
    """A real clip of the folder `AFFCLI_SHARED` (else `shared` beside the repository); skips the test without it."""
    folder = Path(os.environ.get("AFFCLI_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "clips"
    if not (folder / name).is_file():
        pytest.skip("the shared clips are not here")
    return folder / name
