"""A table's videos as people look at them: a label a frame, probabilities, times, and what was missing.

What `export`, `plot`, `overlay` and `report` read. The label of a frame is the one that `affcli score` would count;
classes may have any names and be any number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.errors import AffcliError, listed
from affcli.predictions.columns import ColumnNames, is_number
from affcli.predictions.frame_table import flags, largest
from affcli.predictions.label_column import classes_of_labels, label_numbers
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.space import as_probabilities
from affcli.predictions.video_rows import VideoRows
from affcli.schema import BOX_COLUMNS, CLASSES
from affcli.scoring.predictor import chosen_label_column, predictor

NO_LABEL: Final = -1
# How long a video of a single frame is shown, where nothing tells.
LONE_FRAME_S: Final = 0.04
LONGEST_S: Final = 1e8  # three years; times beyond are none

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelledVideo:
    """One video's frames, ascending: `frame` int64 [n], 1-based, and their classes as `label` int64 [n], -1 for none.

    `start_s`, `end_s` float64 [n]: when each is shown, in seconds; None where the table has no times.
    `probability` float64 [n, C], NaN where missing: softmaxes of logits, else the table's own probabilities or shares;
    None where the table has only labels.
    `starts_s` is when players show what has time 0 (the container's start); captions and pages add it to the times.
    `face`, `audio` bool [n]; None where the table does not say. `box` float64 [n, 4]: x, y, width and height in pixels,
    NaN without a face; None where the table has no boxes. `speech` float64 [n]: the probability that somebody speaks,
    NaN without sound; None where the table does not say.
    """

    video: str
    classes: tuple[str, ...]
    frame: Numbers
    label: Numbers
    start_s: Floats | None
    end_s: Floats | None
    probability: Floats | None
    face: Flags | None
    audio: Flags | None
    box: Floats | None
    starts_s: float = 0.0
    speech: Floats | None = None


class LabelledTable:
    """A frame table of `vote`, `smooth` or anyone, a video at a time; `classes` are its classes in order.

    Times come from its column `time_s`, else from `fps`. Raises AffcliError for a table that is none of frames.
    """

    def __init__(
        self,
        source: str,
        *,
        columns: ColumnNames | None = None,
        label_column: str | None = None,
        fps: float | None = None,
    ) -> None:
        columns = columns or ColumnNames()
        columns = replace(columns, label=label_column or columns.label, label_named=label_column is not None)
        carry = {columns.label, "time_s", "face", "audio", "speech", *BOX_COLUMNS}
        self._table, self._fps = LogitTable(source, columns=columns, carry=carry), fps
        try:
            self.name, self.ids, self.metadata = self._table.name, self._table.ids, self._table.metadata
            self._label_column = chosen_label_column(self._table, label_column)
            self.classes = self._table.classes or self._classes_of_labels()
            eight = self.classes == CLASSES
            self._predict = predictor(self._table, label_column) if eight else self._any_classes
        except BaseException:
            self._table.close()
            raise

    def _classes_of_labels(self) -> tuple[str, ...]:
        assert self._label_column is not None  # a table has logits or labels
        return classes_of_labels(self._table, self._label_column, self._table.names.renamed)

    def video(self, video: str) -> LabelledVideo:
        """One of `ids`."""
        rows = self._table.rows(video)
        label = np.asarray(self._predict(rows), np.int64)
        shown = _shown(rows, self.name, self._fps)
        return LabelledVideo(
            video,
            self.classes,
            rows.frame,
            label,
            None if shown is None else shown[0],
            None if shown is None else shown[1],
            as_probabilities(rows.logits, self._table.space) if self._table.has_logits else None,
            flags(rows, "face", self.name) if "face" in rows.carried.column_names else None,
            flags(rows, "audio", self.name) if "audio" in rows.carried.column_names else None,
            _boxes(rows.carried, self.name),
            self._table.starts_s(video),
            _speech(rows.carried),
        )

    def videos(self) -> Iterator[LabelledVideo]:
        """All of them, in codepoint order of their ids."""
        return map(self.video, self.ids)

    def _any_classes(self, rows: VideoRows) -> Numbers:
        self._table.refuse_repeats(rows)
        if self._label_column is not None:
            where = f"{self.name}: column '{self._label_column}'"
            return label_numbers(rows.carried[self._label_column], self.classes, where, self._table.names.renamed)
        winners, present = largest(rows.logits)
        return np.where(present, winners, NO_LABEL)

    def close(self) -> None:
        """Closes the table."""
        self._table.close()

    def __enter__(self) -> LabelledTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def players_times(video: LabelledVideo, source: str) -> tuple[Floats, Floats]:
    """When a player of the video's own file shows its frames; raises AffcliError where nothing tells."""
    start_s, end_s = require_times(video, source)
    return start_s + video.starts_s, end_s + video.starts_s


def require_times(video: LabelledVideo, source: str) -> tuple[Floats, Floats]:
    """When its frames are shown, counted from the container's start; raises AffcliError where nothing tells."""
    if video.start_s is None or video.end_s is None:
        raise AffcliError(f"{source}: video '{video.video}' has no times (column time_s). Give its rate with --fps.")
    return video.start_s, video.end_s


# --- the other columns -----------------------------------------------------------------------------------------------


def _shown(rows: VideoRows, source: str, fps: float | None) -> tuple[Floats, Floats] | None:
    """When each frame begins and ends to be shown; None where neither the table nor `fps` tells."""
    start_s = _times(rows, source)
    if start_s is None:
        if fps is None:
            return None
        return (rows.frame - 1) / fps, rows.frame / fps
    return start_s, start_s + lengths_s(rows.frame, start_s)


def _times(rows: VideoRows, source: str) -> Floats | None:
    if "time_s" not in rows.carried.column_names:
        return None
    column = rows.carried["time_s"]
    if column.null_count or not is_number(column.type):
        return None
    times_s: Floats = column.cast(pa.float64(), safe=False).to_numpy()
    odd = np.flatnonzero(~(np.abs(times_s) <= LONGEST_S))
    if odd.size:
        at, found = rows.frame[odd[0]], times_s[odd[0]]
        raise AffcliError(f"{source}: video '{rows.video}': time_s of frame {at} is {found:g}, which is no time.")
    back = np.flatnonzero(~(np.diff(times_s) >= 0))
    if back.size:
        at = rows.frame[back[0] + 1]
        raise AffcliError(f"{source}: video '{rows.video}': time_s of frame {at} is less than that of the one before.")
    if times_s.size > 1 and times_s[0] == times_s[-1]:
        raise AffcliError(f"{source}: video '{rows.video}': time_s is {times_s[0]:g} in all {times_s.size:,} frames.")
    return times_s


def lengths_s(frame: Numbers, start_s: Floats) -> Floats:
    """How long each frame is shown: until the next one.

    The last, and one whose next has no row, takes the interval before it, else the video's median; a lone frame 0.04 s.
    """
    length = np.full(frame.size, np.nan)
    length[:-1] = np.where(np.diff(frame) == 1, np.diff(start_s), np.nan)
    typical = np.nanmedian(length) if not np.isnan(length).all() else LONE_FRAME_S
    before = np.concatenate([[np.nan], length[:-1]])
    length = np.where(np.isnan(length), before, length)
    return np.where(np.isnan(length), typical, length)


def _speech(carried: pa.Table) -> Floats | None:
    if "speech" not in carried.column_names or not pa.types.is_floating(carried["speech"].type):
        return None
    found: Floats = carried["speech"].cast(pa.float64()).to_numpy()
    return found


def _boxes(carried: pa.Table, source: str) -> Floats | None:
    if not set(BOX_COLUMNS) <= set(carried.column_names):
        return None
    try:
        sides = [carried[name].cast(pa.float64()).to_numpy() for name in BOX_COLUMNS]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise AffcliError(f"{source}: its columns {listed(BOX_COLUMNS)} hold something else than numbers.") from error
    return np.stack(sides, axis=1)
