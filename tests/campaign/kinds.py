"""What each kind damages, and what reads it: tables, texts, calibrations. (Models and media are in `heavy_kinds.py`.)

A kind's `make` gets a folder, where sound companions lie, and a source of randomness; it writes one damaged input and
says which command is to read it.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from affcli.schema import CLASSES
from campaign.damage import damaged, damaged_json, damaged_lines
from campaign.judge import Run
from campaign.odd_tables import FORMATS, ROWS, VIDEOS, encoded, odd_table, sound_table
from campaign.readers import DRAWING_READERS, TABLE_READERS, Reader, reader_of


class Kind(NamedTuple):
    """`prepare` makes the sound companions in a folder, `make` one damaged input and the run on it."""

    prepare: Callable[[Path], None]
    make: Callable[[Path, Random], Run]


def prepare(folder: Path) -> None:
    """The sound companions of damaged inputs."""
    pq.write_table(sound_table(Random(0), ours=True), folder / "sound.parquet")
    (folder / "labels").mkdir(exist_ok=True)
    for video in VIDEOS:
        (folder / "labels" / f"{video}.txt").write_text(label_text())


def label_text() -> str:
    return "\n".join([",".join(CLASSES), *(str((row // 3) % 9 - 1) for row in range(ROWS))]) + "\n"


def _written(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    return name


def _table_reader(random: Random) -> Reader:
    return reader_of(DRAWING_READERS if random.random() < 0.02 else TABLE_READERS, random)


def tables(folder: Path, random: Random) -> Run:
    """Sound tables of any format, their bytes damaged; of text formats lines and fields too."""
    form = random.choice(FORMATS)
    data = encoded(sound_table(random), form, random)
    if form in ("csv", "tsv") and random.random() < 0.7:
        data = damaged_lines(data.decode(), random, "\t" if form == "tsv" else ",")
    elif form == "jsonl" and random.random() < 0.7:
        rows = data.split(b"\n")
        at = random.randrange(len(rows))
        data = b"\n".join([*rows[:at], damaged_json(json.loads(rows[at]), random), *rows[at + 1 :]])
    else:
        data = damaged(data, random)
    return _read(folder, form, data, random)


def odd(folder: Path, random: Random) -> Run:
    """Whole files of odd tables."""
    form = random.choice(FORMATS)
    while True:
        try:
            data = encoded(odd_table(random), form, random)
            break
        except (pa.ArrowException, ValueError, TypeError, OverflowError, KeyError):
            form = random.choice(FORMATS)  # no writer takes it
    return _read(folder, form, data, random)


def _read(folder: Path, form: str, data: bytes, random: Random) -> Run:
    suffix = {"stream": "arrow"}.get(form, form)
    packed = random.random()
    if packed < 0.05:
        pack = random.choice((gzip.compress, bz2.compress, lzma.compress))
        data = pack(data)
        data = damaged(data, random) if random.random() < 0.5 else data
        suffix += {gzip.compress: ".gz", bz2.compress: ".bz2", lzma.compress: ".xz"}[pack]
    name = _written(folder, f"in.{suffix}", data)
    if random.random() < 0.05:
        (folder / "tables").mkdir(exist_ok=True)
        (folder / "tables" / "other.parquet").write_bytes((folder / "sound.parquet").read_bytes())
        (folder / name).rename(folder / "tables" / name)
        readers = [reader for reader in TABLE_READERS if not reader.stdin]
        return reader_of(readers, random).run("tables", several=True)
    return _table_reader(random).run(name)


def labels(folder: Path, random: Random) -> Run:
    """Aff-Wild2's label texts: one file, or one of a folder."""
    data = damaged_lines(label_text(), random)
    command = ["score", "sound.parquet", "--labels", "texts", "--bootstrap", "0", "--allow-missing", "--per-video"]
    if random.random() < 0.3:
        name = _written(folder, "clip1.txt", data)
        command[3] = name
        return Run(command, name, names=("sound.parquet",), for_people=True)
    (folder / "texts").mkdir(exist_ok=True)
    _written(folder, "texts/clip1.txt", data)
    _written(folder, f"texts/{random.choice(['clip2', 'clip3_left', 'x y'])}.txt", label_text().encode())
    if random.random() < 0.3:
        command = ["score", "texts", "--labels", "labels", "--bootstrap", "0", "--allow-missing"]
    return Run(command, "texts", names=("sound.parquet",), for_people=True)


def submissions(folder: Path, random: Random) -> Run:
    """ABAW submissions as predictions, as labels, and as the list of frames that one is to be like."""
    head = "image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
    rows = [f"{video}/{frame:05d}.jpg,{frame % 8}" for video in VIDEOS for frame in range(1, ROWS + 1)]
    data = damaged_lines("\n".join([head, *rows]) + "\n", random)
    name = _written(folder, "in.txt", data)
    run = random.choice(
        (
            Reader(("score", "IN", "--labels", "labels", "--bootstrap", "0", "--allow-missing")),
            Reader(("score", "sound.parquet", "--labels", "IN", "--bootstrap", "0", "--allow-missing")),
            Reader(("export", "sound.parquet", "--to", "abaw", "--like", "IN", "-o", "out.txt"), "out.txt"),
        )
    )
    return run.run(name)


def calibrations(folder: Path, random: Random) -> Run:
    """What `calibrate` writes, and `vote --calibration` and `info` read."""
    sound = {"kind": "calibration", "version": 1, "space": "logits", "offsets": dict.fromkeys(CLASSES, 0.25)}
    sound |= {"frames": 10, "videos": 2, "macro_f1": 0.5, "gain": 0.1, "gain_ci": [0.0, 0.2]}
    name = _written(folder, "in.json", damaged_json(sound, random))
    command = Reader(("vote", "sound.parquet", "--calibration", "IN", "-o", "out.parquet"), "out.parquet")
    return random.choice((command, Reader(("info", "IN")))).run(name)


LIGHT_KINDS: Mapping[str, Kind] = {
    "tables": Kind(prepare, tables),
    "odd tables": Kind(prepare, odd),
    "label texts": Kind(prepare, labels),
    "submissions": Kind(prepare, submissions),
    "calibrations": Kind(prepare, calibrations),
}
