"""The words of the tables: classes, columns, kinds, and the metadata that says what a table is.

One word for one thing, here and in every other module: video, frame (1-based), window (named by its first frame),
feature, logits, label.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from affcli import __version__
from affcli.video_ids import one_spelling

# Aff-Wild2's EXPR classes, in the order of its label files. Class numbers are indices into this tuple.
CLASSES: Final = ("Neutral", "Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Other")
NOT_ANNOTATED: Final = -1  # the class number of a frame that nobody judged

VISUAL: Final = "visual features"
AUDIO: Final = "audio features"
WINDOWED: Final = "windowed logits"
FRAMES: Final = "frame logits"
SUMMARY: Final = "summary"

# What sums up a folder of frame tables, and lies among them.
SUMMARY_TABLE: Final = "summary.parquet"
SUMMARY_CSV: Final = "summary.csv"
STATUS: Final = "status.json"  # how far the work on the folder has come

METADATA_KEY: Final = b"affcli"
STARTS: Final = "starts_s"  # the key of the metadata under which the starts of videos stand, those that are not 0
_LONGEST_S: Final = 10.0 * 365 * 24 * 3600
BOX_COLUMNS: Final = ("box_x", "box_y", "box_w", "box_h")

_FRAME_KEYS = (
    pa.field("video", pa.string(), nullable=False),
    pa.field("frame", pa.int32(), nullable=False),
    pa.field("time_s", pa.float64()),
)


def visual_schema(size: int, classes: Sequence[str] = ()) -> pa.Schema:
    """Columns of a visual feature table; `feature` holds `size` float16 numbers, null where `face` is false.

    `classes` are columns of the encoder's own logits after it, null in the same rows.
    """
    boxes = [pa.field(name, pa.float32()) for name in ("score", *BOX_COLUMNS)]
    face = pa.field("face", pa.bool_(), nullable=False)
    return pa.schema([*_FRAME_KEYS, face, *boxes, feature_field(size), *class_fields(classes)])


def audio_schema(size: int, classes: Sequence[str] = (), *, speech: bool = False) -> pa.Schema:
    """Columns of an audio feature table; `feature` is null where there is no sound.

    `classes` are columns of the encoder's own logits after it; with `speech` a last column holds the mean probability
    of speech around each frame. Both are null in the same rows.
    """
    own = [pa.field("speech", pa.float32())] if speech else []
    return pa.schema([*_FRAME_KEYS, feature_field(size), *class_fields(classes), *own])


def windowed_schema(classes: Sequence[str] = CLASSES) -> pa.Schema:
    """Columns of `predict`'s table: one row for each frame of each window, one float32 logit column for each class."""
    video, frame, time = _FRAME_KEYS
    window = pa.field("window", pa.int32(), nullable=False)
    streams = [pa.field(name, pa.bool_(), nullable=False) for name in ("face", "audio")]
    return pa.schema([video, window, frame, time, *streams, *class_fields(classes)])


def feature_field(size: int) -> pa.Field:
    """The column `feature`: lists of `size` float16 numbers."""
    return pa.field("feature", pa.list_(pa.float16(), size))


def class_fields(classes: Sequence[str]) -> list[pa.Field]:
    """One float32 column per class."""
    return [pa.field(name, pa.float32()) for name in classes]


def with_metadata(schema: pa.Schema, *, kind: str, **made_by: Any) -> pa.Schema:
    """The schema with one JSON object under the key `affcli`: kind, version, and what made the table (no dates)."""
    text = json.dumps({"kind": kind, "version": __version__, **made_by}, ensure_ascii=False)
    return schema.with_metadata({METADATA_KEY: text.encode()})


def metadata_of(schema: pa.Schema) -> Mapping[str, Any]:
    """What a table says of itself under the key `affcli`; empty for tables made elsewhere."""
    text = (schema.metadata or {}).get(METADATA_KEY)
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {key: _by_spelt_id(facts) if isinstance(facts, dict) else facts for key, facts in found.items()}


def _by_spelt_id(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {one_spelling(name): fact for name, fact in facts.items()}


def starts_of(metadata: Mapping[str, Any], video: str) -> float:
    """When players show what has `time_s` 0 of a video, in seconds: 0 unless the table's metadata says otherwise."""
    starts = metadata.get(STARTS)
    if not isinstance(starts, dict):
        return 0.0
    found = next((starts[name] for name in (video, *base_names(video)) if name in starts), 0.0)
    is_time = isinstance(found, int | float) and not isinstance(found, bool) and abs(found) < _LONGEST_S
    return float(found) if is_time else 0.0


def all_starts(tables: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The starts that several tables' metadata tell, as one; the later table counts."""
    found: dict[str, float] = {}
    for metadata in tables:
        starts = metadata.get(STARTS)
        names = starts if isinstance(starts, dict) else {}
        found.update({video: start_s for video in names if (start_s := starts_of(metadata, video))})
    return dict(sorted(found.items()))


def base_names(video: str) -> tuple[str, ...]:
    """The videos that `video` may be a part of, nearest first: `X` for `X_left`, `X_right` (two people in one video
    file of Aff-Wild2) and `X#2` (a tracked person). Try the name itself before these.
    """
    names = []
    while (shorter := re.sub(r"(_left|_right|#[0-9]+)$", "", video)) not in ("", video):
        names.append(shorter)
        video = shorter
    return tuple(names)


def recording_of(video: str) -> str:
    """The recording that a video id belongs to: people of one recording share its sound, so they stay together."""
    return (video, *base_names(video))[-1]
