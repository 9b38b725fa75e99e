"""Commands run by a user who may not write or read everything, with an odd HOME and TMPDIR, and on a read-only disk.

Tried as root, none of it shows: root may write and read everything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow.parquet as pq
from helpers.media_fixtures import ffmpeg
from helpers.tiny_encoders import save_tiny_beit, save_tiny_wavlm

from campaign.heavy_kinds import TORCH, feature_table, save_pictures
from campaign.judge import Run, as_user
from campaign.kinds import prepare

NOBODY = 65534
SECRET = "private/clip.mp4"

# What each command makes, OUT, of what it reads, IN; the heavy ones load networks.
LIGHT: Sequence[tuple[str, str]] = (
    ("vote IN", "out.parquet"),
    ("vote IN", "out.csv"),
    ("smooth IN", "out.arrow"),
    ("calibrate IN --labels labels --bootstrap 0", "out.json"),
    ("export IN --to csv", "out.csv"),
    ("export IN --to vtt", "captions"),
    ("export IN --to elan", "tiers"),
    ("export IN --to labels", "texts"),
    ("export IN --to abaw", "out.txt"),
    ("report IN", "out.html"),
    ("plot IN --format svg", "plots"),
)
READING = ("score IN --labels labels --bootstrap 0", "score sound.parquet --labels IN --bootstrap 0", "info IN")
HEAVY: Sequence[tuple[str, str, str]] = (
    ("predict --model mini --visual V.parquet --audio A.parquet", "out.parquet", "V.parquet"),
    ("extract-audio sound.wav --model wavlm --layers 1 --fps 10", "out.parquet", "sound.wav"),
    ("extract-visual face --model beit", "out.parquet", "face"),
    ("label clip.mp4", "labelled", "clip.mp4"),
    ("overlay clip.mp4 clip.parquet", "out.mp4", "clip.mp4"),
    (
        "train --visual V.parquet --audio A.parquet --labels labels --dim 16 --layers 1 --epochs 1",
        "m.safetensors",
        "V.parquet",
    ),
)


@dataclass(frozen=True)
class Case:
    """A run, and the exit status that it must end in."""

    run: Run
    status: int

    def __str__(self) -> str:
        return " ".join(self.run.arguments)


@cache
def python_of_nobody() -> tuple[str, str] | None:
    """A Python that another user can start, and the PYTHONPATH under which it finds what this one does; None where this
    process may not start others as that user, or they cannot read this installation."""
    path = os.pathsep.join(filter(None, sys.path))
    for python in (sys.executable, "/usr/bin/python{}.{}".format(*sys.version_info[:2])):
        try:
            subprocess.run(
                [python, "-c", "import affcli.tables.reader, numpy"],
                env={"PYTHONPATH": path},
                check=True,
                capture_output=True,
                **as_user(NOBODY),
            )
        except (OSError, subprocess.CalledProcessError):
            continue
        return python, path
    return None


def prepare_surroundings(home: Path, *, heavy: bool) -> None:
    """Sound inputs, and what may not be written or read: `closed/`, `secret.parquet`, `locked/`; `open/` may be."""
    prepare(home)
    if heavy:
        _prepare_heavy(home)
    (home / "closed").mkdir()
    (home / "open").mkdir()
    (home / "open").chmod(0o777)
    for folder in ("locked", "mixed/video=locked"):
        (home / folder).mkdir(parents=True)
        shutil.copy(home / "sound.parquet", home / folder / "t.parquet")
        (home / folder).chmod(0)
    shutil.copy(home / "sound.parquet", home / "mixed" / "a.parquet")
    shutil.copy(home / "sound.parquet", home / "secret.parquet")
    (home / "secret.parquet").chmod(0)


def _prepare_heavy(home: Path) -> None:
    for name in ("V", "A"):
        pq.write_table(feature_table(name), home / f"{name}.parquet")
    save_tiny_beit(home / "beit")
    save_tiny_wavlm(home / "wavlm")
    shutil.copytree(home / "wavlm", home / "secret-wavlm")
    for name in ("beit", "wavlm"):  # made readable for their owner only
        (home / name / "model.safetensors").chmod(0o644)
    (home / "secret-wavlm" / "model.safetensors").chmod(0o600)
    save_pictures(home / "face", 3)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5:r=16000", f"file:{home / 'sound.wav'}")
    source = ("-f", "lavfi", "-i", "testsrc2=s=96x96:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4")
    ffmpeg(*source, f"file:{home / 'clip.mp4'}")
    (home / SECRET).parent.mkdir()
    shutil.copy(home / "clip.mp4", home / SECRET)
    (home / SECRET).chmod(0)
    frames = pq.read_table(home / "sound.parquet").slice(0, 10)
    pq.write_table(frames.set_column(0, "video", [["clip"] * 10]), home / "clip.parquet")


def unwritable(folder: str, *, heavy: bool) -> list[Case]:
    """Outputs in a folder that may not be written: one line that names the output."""
    commands = [(command, output) for command, output, _ in HEAVY] if heavy else LIGHT
    cases = []
    for command, output in commands:
        words = [{"IN": "sound.parquet"}.get(word, word) for word in command.split()]
        place = f"{folder}/{output}"
        cases.append(Case(Run((*words, "-o", place), place, names=(folder,), several=True, bounds=TORCH), 1))
    return cases


def unreadable(*, heavy: bool) -> list[Case]:
    """Inputs that may not be read, alone, as folders, and among others in a folder: one line that names them."""
    cases = []
    for secret in ("secret.parquet", "locked", "mixed"):
        commands = [(f"{command} -o open/{output}", output) for command, output in LIGHT]
        for command, _ in [*commands, *((command, None) for command in READING)] if not heavy else []:
            words = [{"IN": secret}.get(word, word) for word in command.split()]
            cases.append(Case(Run(words, secret), 1))
    for command, output, read in HEAVY if heavy else ():
        words = [{read: SECRET}.get(word, word) for word in command.split()]
        cases.append(Case(Run((*words, "-o", f"open/{output}"), SECRET, several=True, bounds=TORCH), 1))
    if heavy:
        command = "extract-audio sound.wav --model secret-wavlm --layers 1 --fps 10 -o open/out.parquet"
        cases.append(Case(Run(command.split(), "secret-wavlm: model.safetensors: Permission", bounds=TORCH), 1))
    return cases


def sound(*, heavy: bool) -> list[Case]:
    """Nothing is in the way of these: they end well wherever HOME and TMPDIR lead."""
    commands = [(command, output) for command, output, _ in HEAVY] if heavy else LIGHT
    cases = [
        Case(Run(("vote", "-", "-o", "open/piped.csv"), "-", outputs=("open",), stdin="sound.parquet"), 0),
        Case(Run(("score", "sound.parquet", "--labels", "labels", "--bootstrap", "0"), "sound.parquet"), 0),
    ]
    for command, output in commands:
        words = [{"IN": "sound.parquet"}.get(word, word) for word in command.split()]
        cases.append(Case(Run((*words, "-o", f"open/{output}"), "", outputs=("open",), several=True, bounds=TORCH), 0))
    return cases
