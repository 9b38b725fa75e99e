"""Small feature tables and label folders for tests, written as affcli writes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from affcli import schema
from affcli.tables.writer import TableWriter

Features = Mapping[str, np.ndarray]  # video → [n, size], rows of NaN where the stream is missing

TOY = {"name": "toy", "fingerprint": "0123", "feature": "pooled", "weights": "none"}


def write_visual(path: Path, features: Features, **metadata: Any) -> Path:
    """A visual feature table; a row that holds NaN has no face."""
    return _write(path, schema.VISUAL, features, metadata)


def write_audio(path: Path, features: Features, **metadata: Any) -> Path:
    """An audio feature table; a row that holds NaN has no sound."""
    return _write(path, schema.AUDIO, features, metadata)


def write_labels(folder: Path, labels: Mapping[str, Sequence[int]]) -> Path:
    """A label folder as Aff-Wild2 has it."""
    folder.mkdir(exist_ok=True)
    for video, numbers in labels.items():
        lines = [",".join(schema.CLASSES), *map(str, numbers)]
        (folder / f"{video}.txt").write_text("\n".join(lines) + "\n")
    return folder


def class_features(labels: Mapping[str, Sequence[int]], size: int, *, noise: float = 0.3, seed: int = 0) -> Features:
    """Features that tell the class: one direction a class, plus noise."""
    random = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(8, size))
    return {
        video: directions[np.array(numbers)] + noise * random.normal(size=(len(numbers), size))
        for video, numbers in labels.items()
    }


def _write(path: Path, kind: str, features: Features, metadata: Mapping[str, Any]) -> Path:
    size = next(iter(features.values())).shape[1]
    table_schema = schema.visual_schema(size) if kind == schema.VISUAL else schema.audio_schema(size)
    encoder = {**TOY, "size": size}
    described = schema.with_metadata(table_schema, kind=kind, **{"encoder": encoder, **metadata})
    with TableWriter(str(path), described, force=True) as writer:
        for video in sorted(features):
            writer.write(_rows(video, features[video], table_schema))
    return path


def _rows(video: str, rows: np.ndarray, table_schema: pa.Schema) -> pa.Table:
    count, size = rows.shape
    there = ~np.isnan(rows).any(axis=1)
    values = np.nan_to_num(rows).astype(np.float16)
    columns: dict[str, Any] = {
        "video": [video] * count,
        "frame": np.arange(1, count + 1, dtype=np.int32),
        "time_s": np.arange(count) / 25,
        "face": there,
        "feature": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), size, mask=pa.array(~there)),
    }
    return pa.table([columns.get(f.name, pa.nulls(count, f.type)) for f in table_schema], schema=table_schema)
