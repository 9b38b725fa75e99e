"""Training from a mapped file (`affcli train --storage disk`) against training from memory.

python tests/benchmarks/bench_storage.py [FOLDER]     (FOLDER keeps 1.2 GB of tables; default: a temporary one)

Features of 768 + 768 numbers. Gathering alone, windows/s from the file against from memory: when the system still
holds the file in its cache, and when every window comes from the disk. What that costs a training depends on its speed:
an epoch of a small network (d 64, 1 layer) is timed both ways, target at most 1.25 times as long; the paper's network
spends 30 times as long on a window. Peak memory of a whole process: with twice the data at most 1.1 times as much.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from measure import in_folder, medians, peak, verdict

from affcli.models.fusion.dataset import LabelledFrames, TrainingSet
from affcli.models.fusion.feature_storage import MappedRows, Storage
from affcli.models.fusion.network import FusionConfig
from affcli.models.fusion.trainer import Trainer, TrainingOptions
from affcli.models.fusion.windows import Frames, Windows
from affcli.models.runtime import devices
from affcli.schema import AUDIO, CLASSES, VISUAL, audio_schema, visual_schema, with_metadata
from affcli.tables.writer import TableWriter

SIZE, FRAMES, VIDEO = 768, 32_768, 2_048  # numbers in a feature, frames in all, frames in a video
SMALL = FusionConfig(visual_size=SIZE, audio_size=SIZE, dim=64, layers=1, heads=4)
OPTIONS = TrainingOptions(
    modality_dropout=0.1,
    audio_dropout=0.0,
    gamma=2.0,
    class_weights="none",
    stride=64,
    epochs=100,
    patience=0,
    lr=1e-4,
    weight_decay=0.01,
    batch_size=32,
    seed=0,
)
COMMAND = (
    "--dim",
    16,
    "--layers",
    1,
    "--heads",
    2,
    "--stride",
    64,
    "--epochs",
    1,
    "--storage",
    "disk",
    "--force",
    "-q",
)


def training_set(storage: Storage) -> TrainingSet:
    """Random features and labels."""
    stored = storage.room(FRAMES, (SIZE, SIZE))
    random = np.random.default_rng(0)
    for rows in stored:
        for first in range(0, FRAMES, VIDEO):
            rows.put(first, random.standard_normal((VIDEO, SIZE), np.float32).astype(np.float16))
        rows.finish()
    there = torch.ones(FRAMES, dtype=torch.bool)
    offsets = np.arange(0, FRAMES + 1, VIDEO)
    videos = tuple(f"{index:03d}" for index in range(len(offsets) - 1))
    frames = Frames(videos, offsets, stored[0].tensor, there, stored[1].tensor, there, stored)
    labels = torch.from_numpy(random.integers(0, 8, FRAMES))
    return TrainingSet(LabelledFrames(frames, labels), Windows.over(offsets, length=64, stride=64))


def forget(data: TrainingSet) -> None:
    """Makes the system drop what it has cached of the files."""
    for rows in data.labelled.frames.stored:
        assert isinstance(rows, MappedRows)
        rows.release()
        os.fsync(rows.file.fileno())
        os.posix_fadvise(rows.file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def gathering(memory: TrainingSet, disk: TrainingSet) -> None:
    order = torch.randperm(len(memory.windows), generator=torch.Generator().manual_seed(0))

    def gather(data: TrainingSet) -> None:
        for chosen in torch.split(order, OPTIONS.batch_size):
            data.batch(chosen)

    def cold() -> None:
        forget(disk)
        gather(disk)

    from_memory, from_cache, from_disk = medians(lambda: gather(memory), lambda: gather(disk), cold)
    speeds = ", ".join(
        f"{what} {len(order) / seconds:.0f} windows/s ({from_memory / seconds:.2f})"
        for what, seconds in (("memory", from_memory), ("cached file", from_cache), ("disk", from_disk))
    )
    print(f"     gathering: {speeds}")


def epochs(memory: TrainingSet, disk: TrainingSet) -> bool:
    run = devices.choose("cpu", small=True)
    one, other = (Trainer(SMALL, OPTIONS, data, None, run) for data in (memory, disk))
    memory_s, disk_s = medians(lambda: one.epoch(1), lambda: other.epoch(1))
    return verdict(f"epoch from disk {disk_s:.2f} s / from memory {memory_s:.2f} s", disk_s / memory_s, most=1.25)


def tables(folder: Path, frames: int) -> list[object]:
    """Options of affcli train that name tables of random features and their labels."""
    (labels := folder / "labels").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for kind, schema in ((VISUAL, visual_schema(SIZE)), (AUDIO, audio_schema(SIZE))):
        described = with_metadata(schema, kind=kind, encoder={"name": "random", "size": SIZE})
        with TableWriter(str(folder / f"{kind.split()[0]}.parquet"), described, force=True) as writer:
            for index in range(frames // VIDEO):
                features = random.standard_normal(VIDEO * SIZE, np.float32).astype(np.float16)
                columns = {
                    "video": [f"{index:03d}"] * VIDEO,
                    "frame": np.arange(1, VIDEO + 1, dtype=np.int32),
                    "face": np.ones(VIDEO, np.bool_),
                    "feature": pa.FixedSizeListArray.from_arrays(pa.array(features), SIZE),
                }
                rows = [columns.get(field.name, pa.nulls(VIDEO, field.type)) for field in schema]
                writer.write(pa.table(rows, schema=schema))
    for index in range(frames // VIDEO):
        numbers = random.integers(0, 8, VIDEO)
        (labels / f"{index:03d}.txt").write_text("\n".join([",".join(CLASSES), *map(str, numbers)]) + "\n")
    visual, audio = (folder / f"{kind.split()[0]}.parquet" for kind in (VISUAL, AUDIO))
    return ["--visual", visual, "--audio", audio, "--labels", labels, "-o", folder / "model"]


def memory_use(folder: Path) -> bool:
    once, twice = (peak("train", *tables(folder / str(times), times * FRAMES), *COMMAND) for times in (2, 4))
    gigabytes = 2 * FRAMES * 2 * SIZE * 2 / 1e9
    what = f"peak memory from disk: {2 * gigabytes:.1f} GB of features {twice} MB / {gigabytes:.1f} GB {once} MB"
    return verdict(what, twice / once, most=1.1)


def main(folder: Path) -> bool:
    """Prints the ratios; true where the targets are met."""
    folder.mkdir(exist_ok=True)
    memory, disk = training_set(Storage("memory")), training_set(Storage("disk", folder))
    gathering(memory, disk)
    return all([epochs(memory, disk), memory_use(folder)])


if __name__ == "__main__":
    in_folder(main)
