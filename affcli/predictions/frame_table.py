"""Frame tables: one row for each frame, with numbers and a label (`vote` and `smooth` write them)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affcli.predictions.columns import is_number
from affcli.predictions.naming import Naming
from affcli.predictions.space import LABELS, LOGITS
from affcli.predictions.video_rows import VideoRows
from affcli.schema import FRAMES, class_fields, metadata_of, with_metadata
from affcli.tables.flags import true_or_false


def frame_schema(carried: Sequence[pa.Field], classes: Sequence[str], facts: Mapping[str, Any]) -> pa.Schema:
    """`video, frame, time_s`, the carried columns, one float32 column a class, `label`; `facts` become metadata.

    The metadata always say what the numbers are: the `space` of `facts`, else logits, or labels where there are none.
    A carried `time_s` that holds something else than numbers, as in tables made elsewhere, keeps its type.
    """
    times = [field for field in carried if field.name == "time_s" and not is_number(field.type)]
    time = times[0] if times else pa.field("time_s", pa.float64())
    others = [field for field in carried if field.name not in ("time_s", "label")]
    keys = [pa.field("video", pa.string(), nullable=False), pa.field("frame", pa.int32(), nullable=False)]
    fields = [*keys, time, *others, *class_fields(classes), pa.field("label", pa.string())]
    facts = {"space": LOGITS if classes else LABELS, **facts}
    made_by = {key: value for key, value in facts.items() if key not in ("kind", "version", "classes")}
    return with_metadata(pa.schema(fields), kind=FRAMES, classes=list(classes), **made_by)


def frame_rows(schema: pa.Schema, rows: VideoRows, label: pa.Array | None = None) -> pa.Table:
    """The rows under a frame schema: logits rounded to float32, null for NaN; the label is that of the largest.

    It is null in rows that the schema's metadata leaves unsure (see `Naming`).
    """
    count = len(rows.frame)
    classes = schema.names[len(schema.names) - 1 - rows.logits.shape[1] : -1]
    logits = np.asarray(rows.logits.T, np.float32, order="C")
    missing = bool(logits.size) and np.isnan(logits.min())  # else the columns can be taken over without a copy
    columns = {
        "video": pa.repeat(pa.scalar(rows.video), count),
        "frame": pa.array(rows.frame.astype(np.int32)),
        "time_s": pa.nulls(count, pa.float64()),
        **{name: rows.carried[name] for name in rows.carried.column_names if name != "label"},
        **{name: pa.array(column, from_pandas=missing) for name, column in zip(classes, logits, strict=True)},
        "label": _named(schema, rows, labels_of(logits.T, classes) if label is None else label),
    }
    return pa.table([columns[name] for name in schema.names], names=schema.names)


def _named(schema: pa.Schema, rows: VideoRows, label: pa.Array) -> pa.Array:
    """The labels, null in unsure rows; those of a table without logits are left as they are."""
    metadata = metadata_of(schema)
    rule = Naming.of(metadata)
    if rule is None or not rows.logits.shape[1]:
        return label
    return pc.if_else(pa.array(rule.unsure(rows, metadata.get("space"))), pa.scalar(None, label.type), label)


def labels_of(logits: np.ndarray, classes: Sequence[str]) -> pa.Array:
    """The class with the largest logit in each row of [n, C], the first of equals; null where all are NaN."""
    winners, present = largest(logits)
    return pc.take(pa.array(list(classes), pa.string()), pa.array(winners, mask=~present))


def largest(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The index of the largest number in each row of [n, C], the first of equals; and whether there is one at all."""
    columns = logits.T  # each class's numbers lie together in memory
    if not len(columns) or not columns.size or np.isnan(columns.min()):
        best = np.fmax.reduce(logits, axis=1)
        return np.argmax(logits == best[:, None], axis=1), ~np.isnan(best)
    best = columns[0].copy()
    winners = np.zeros(len(best), np.int8 if len(columns) <= np.iinfo(np.int8).max else np.intp)
    for number, column in enumerate(columns[1:], start=1):
        winners[column > best] = number
        np.maximum(best, column, out=best)
    return winners, np.ones(len(best), bool)


def faces(rows: VideoRows, source: str) -> np.ndarray:
    """Whether each row shows a face, bool [n], as its column `face` says; null is no face. `source` is for errors."""
    return flags(rows, "face", source)


def flags(rows: VideoRows, name: str, source: str) -> np.ndarray:
    """A carried column of true and false (yes and no, 1 and 0), bool [n]; null is false."""
    return true_or_false(source, rows.carried[name], name)
