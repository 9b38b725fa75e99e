"""Somebody's logits as features: a stream whose feature is a frame's logits, one number a class."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import AffcliError, listed
from affcli.features.side_by_side import joined_tables
from affcli.features.stream import Stream, StreamFeatures, no_features, open_features
from affcli.files.outputs import STANDARD_STREAM
from affcli.predictions.logit_table import LogitTable
from affcli.tables.keys import refuse_far_frames
from affcli.tables.reader import TableReader, tables_in

log = logging.getLogger(__name__)

_NEAR: Final = 100_000  # frames, as for features: every frame up to the last takes memory
_LARGEST: Final = float(np.finfo(np.float16).max)


class LogitFeatures:
    """A `Stream` of a table of logits (or probabilities) with one row per frame; a frame that lacks one is missing."""

    def __init__(self, source: str) -> None:
        self._table = LogitTable(source, carry={"time_s"})
        self.name, self.classes = self._table.name, self._table.classes
        if not self._table.has_logits:
            raise AffcliError(f"{self.name}: has neither features nor logits.")
        self._table.refuse_spans()
        self.size, self.metadata = len(self.classes), self._table.starts
        # The words by which a model knows the table again; it names no encoder that could be loaded.
        self.encoder: Mapping[str, Any] = {
            "name": f"a table of {self._table.space}",
            "fingerprint": None,
            "size": self.size,
            "feature": f"{self._table.space} of {', '.join(self.classes)}",
            "classes": list(self.classes),
        }
        self.videos = list(self._table.ids)
        self._last: dict[str, int] = {}
        log.warning("%s: has no features; its %s are taken: %s", self.name, self._table.space, listed(self.classes))

    def __contains__(self, video: str) -> bool:
        return video in self._table

    def frames(self, video: str) -> int:
        """The number of the video's last frame."""
        if video not in self._last:
            rows = self._table.rows(video)
            self._table.refuse_repeats(rows)
            refuse_far_frames(self.name, video, len(rows.frame), int(rows.frame[-1]), near=_NEAR)
            self._last[video] = int(rows.frame[-1])
        return self._last[video]

    def read(self, video: str) -> StreamFeatures:
        """Every frame of one video, those without a row included."""
        stream = no_features(self.frames(video), self.size)
        rows = self._table.rows(video)
        at, there = rows.frame - 1, np.isfinite(rows.logits).all(axis=1)
        stream.features[at[there]] = rows.logits[there].clip(-_LARGEST, _LARGEST).astype(np.float16)
        stream.valid[at] = there
        if "time_s" in rows.carried.column_names and pa.types.is_floating(rows.carried["time_s"].type):
            stream.time_s[at] = rows.carried["time_s"].cast(pa.float64()).to_numpy(zero_copy_only=False)
        return stream

    def read_times(self, video: str) -> NDArray[np.float64]:
        """Presentation times of the video's frames, NaN where unknown."""
        return self.read(video).time_s

    def close(self) -> None:
        """Closes the table."""
        self._table.close()


def open_table(source: str, *, kind: str) -> Stream:
    """What `--visual` or `--audio` names: a feature table or a folder of them, else somebody's logits."""
    if source != STANDARD_STREAM and _holds_logits(source):  # standard input can be read only once
        return LogitFeatures(source)
    return open_features(source, kind=kind)


def open_tables(sources: tuple[str, ...], *, kind: str) -> Stream | None:
    """Those of one stream, side by side; None where there are none."""
    return joined_tables([open_table(source, kind=kind) for source in sources])


def _holds_logits(source: str) -> bool:
    with TableReader(tables_in(source)[0]) as first:
        if "feature" in first.columns:
            return False
    try:
        with LogitTable(source, carry=()) as table:
            return table.has_logits
    except AffcliError:
        return False
