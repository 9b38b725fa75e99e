"""Tables that affcli wrote, damaged: their pages have checksums, so that there is no output or the sound table's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from campaign.damage import cut, flip_bits, overwrite, repeat, swap
from campaign.judge import Run
from campaign.kinds import Kind, prepare

_COMMANDS: Sequence[tuple[str, str | None]] = (
    ("vote IN -o out.parquet", "out.parquet"),
    ("smooth IN -k 5 -o out.parquet", "out.parquet"),
    ("smooth IN --method mode -o out.csv", "out.csv"),
    ("export IN --to csv -o out.csv", "out.csv"),
    ("export IN --to labels -o texts", "texts/clip1.txt"),
    ("score IN --labels labels --bootstrap 0 --allow-missing --json", None),
)
_PAGES = (flip_bits, flip_bits, flip_bits, overwrite, swap, cut, repeat)


def affcli(home: Path, *arguments: str) -> str:
    """Runs a command in a process of its own; what it printed."""
    command = [sys.executable, "-m", "affcli", *arguments]
    return subprocess.run(command, cwd=home, check=True, capture_output=True, text=True).stdout


def prepare_own(home: Path) -> None:
    """A table of ours, `own.parquet`, and what each command makes of it, in `right/`."""
    prepare(home)
    affcli(home, "vote", "sound.parquet", "-o", "own.parquet")
    (home / "right").mkdir()
    shutil.copy(home / "own.parquet", home / "in.parquet")
    for number, (command, output) in enumerate(_COMMANDS):
        printed = affcli(home, *_words(command))
        (home / "right" / str(number)).write_bytes(printed.encode() if output is None else (home / output).read_bytes())
        for made in ("out.parquet", "out.csv", "texts"):
            path = home / made
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _words(command: str) -> list[str]:
    return [{"IN": "in.parquet"}.get(word, word) for word in command.split()]


def own(home: Path, random: Random) -> Run:
    """Damage in the pages, which lie between the first four bytes and the footer."""
    data = (home / "own.parquet").read_bytes()
    end = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    (home / "in.parquet").write_bytes(data[:4] + random.choice(_PAGES)(data[4:end], random) + data[end:])
    number = random.randrange(len(_COMMANDS))
    command, output = _COMMANDS[number]

    def check(folder: Path, told: str) -> str | None:
        made = folder.parent / "stdout" if output is None else folder / output
        if not made.is_file():
            return "no output in spite of status 0"
        same = made.read_bytes() == (folder / "right" / str(number)).read_bytes()
        return None if same else f"another result of {command.split()[0]} than of the sound table"

    made = () if output is None else (output.split("/")[0],)
    return Run(_words(command), "in.parquet", outputs=made, check=check)


OWN_KINDS: Mapping[str, Kind] = {"own tables": Kind(prepare_own, own)}
