"""Synthetic tables of Aff-Wild2's true shape: 317 videos, 1.56 million frames, windows of 64 frames every 8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from affcli.schema import CLASSES, FRAMES, WINDOWED, with_metadata

VIDEOS, FRAMES_IN_ALL, WINDOW, STRIDE = 317, 1_560_000, 64, 8


def lengths(seed: int = 0) -> np.ndarray:
    """Frames of each video: log-normal like the real ones (median about 3,500), scaled to the real total."""
    drawn = np.random.default_rng(seed).lognormal(8.2, 0.9, VIDEOS)
    return np.maximum(WINDOW, drawn * FRAMES_IN_ALL / drawn.sum()).astype(int)


def _table(video: str, frame: np.ndarray, rng: np.random.Generator, schema: pa.Schema, window: np.ndarray) -> pa.Table:
    count = len(frame)
    walk = np.cumsum(rng.normal(scale=0.1, size=(len(CLASSES), count)).astype(np.float32), axis=1)
    noisy = walk + rng.normal(size=walk.shape).astype(np.float32)
    columns = {
        "video": pa.repeat(pa.scalar(video), count),
        "window": window.astype(np.int32),
        "frame": frame.astype(np.int32),
        "time_s": (frame - 1) / 30,
        "face": rng.random(count) > 0.02,
        "audio": np.ones(count, bool),
        "votes": np.full(count, 8, np.int32),
        **dict(zip(CLASSES, noisy, strict=True)),
        "label": pa.repeat(pa.scalar("Neutral"), count),
    }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _write(path: Path, schema: pa.Schema, *, windowed: bool) -> None:
    rng = np.random.default_rng(1)
    tables = []
    for number, count in enumerate(lengths()):
        starts = np.unique(np.append(np.arange(0, count - WINDOW + 1, STRIDE), count - WINDOW)) if windowed else [0]
        size = WINDOW if windowed else count
        frame = np.add.outer(np.asarray(starts), np.arange(1, size + 1)).ravel()
        tables.append(_table(f"{number:03d}-30-1280x720", frame, rng, schema, np.repeat(np.asarray(starts) + 1, size)))
    pq.write_table(pa.concat_tables(tables).cast(schema), path, row_group_size=65_536, use_dictionary=["video"])


def windowed_logits(folder: Path) -> Path:
    """A table of windowed logits as `predict` writes it, 12.4 million rows; made once."""
    from affcli.schema import windowed_schema

    path = folder / "W.parquet"
    if not path.exists():
        schema = with_metadata(windowed_schema(), kind=WINDOWED, classes=list(CLASSES))
        _write(path, schema, windowed=True)
    return path


def frame_logits(folder: Path) -> Path:
    """A table of frame logits as `vote` writes it, 1.56 million rows; made once."""
    from affcli.predictions.frame_table import frame_schema

    path = folder / "F.parquet"
    if not path.exists():
        carried = [pa.field("face", pa.bool_()), pa.field("audio", pa.bool_()), pa.field("votes", pa.int32())]
        _write(path, frame_schema(carried, CLASSES, {"kind": FRAMES}), windowed=False)
    return path
