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
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.errors import AffcliError, listed
from affcli.labels.reader import class_numbers
from affcli.predictions.columns import ColumnNames, is_number
from affcli.predictions.frame_table import flags, largest
from affcli.predictions.logit_table import LogitTable, VideoRows
from affcli.predictions.vote import PROBABILITIES, in_space
from affcli.schema import BOX_COLUMNS, CLASSES
from affcli.scoring.tally import predictor, refuse_duplicates

NO_LABEL: Final = -1
# How long a video of a single frame is shown, where nothing tells.
LONE_FRAME_S: Final = 0.04

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class LabelledVideo:
    """One video's frames, ascending: `frame` int64 [n], 1-based, and their classes as `label` int64 [n], -1 for none.

    `start_s`, `end_s` float64 [n]: when each is shown, in seconds; None where the table has no times.
    `probability` float64 [n, C], NaN where missing; None where the table has only labels.
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
        columns = replace(columns or ColumnNames(), label=label_column or ColumnNames.label)
        carry = {columns.label, "time_s", "face", "audio", "speech", *BOX_COLUMNS}
        self._table, self._fps = LogitTable(source, columns=columns, carry=carry), fps
        try:
            self.name, self.ids, self.metadata = self._table.name, self._table.ids, self._table.metadata
            self._label_column = _label_column(self._table, label_column)
            self.classes = self._table.classes or _classes_of_labels(self._table, self._label_column)
            self._predict = predictor(self._table, label_column) if self.classes == CLASSES else self._any_classes
        except BaseException:
            self._table.close()
            raise

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
            _probabilities(rows.logits, self.metadata.get("space")) if self._table.has_logits else None,
            flags(rows, "face", self.name) if "face" in rows.carried.column_names else None,
            flags(rows, "audio", self.name) if "audio" in rows.carried.column_names else None,
            _boxes(rows.carried, self.name),
            _speech(rows.carried),
        )

    def videos(self) -> Iterator[LabelledVideo]:
        """All of them, in codepoint order of their ids."""
        return map(self.video, self.ids)

    def _any_classes(self, rows: VideoRows) -> Numbers:
        refuse_duplicates(rows, self.name)
        if self._label_column is not None:
            return _numbers_of(rows.carried[self._label_column], self.classes, f"{self.name}: '{self._label_column}'")
        winners, present = largest(rows.logits)
        return np.where(present, winners, NO_LABEL)

    def close(self) -> None:
        self._table.close()

    def __enter__(self) -> LabelledTable:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def require_times(video: LabelledVideo, source: str) -> tuple[Floats, Floats]:
    """When its frames are shown; raises AffcliError where nothing tells."""
    if video.start_s is None or video.end_s is None:
        raise AffcliError(f"{source}: video '{video.video}' has no times (column time_s). Give its rate with --fps.")
    return video.start_s, video.end_s


# --- labels ----------------------------------------------------------------------------------------------------------


def _label_column(table: LogitTable, named: str | None) -> str | None:
    """The column of labels that counts, by the rules of `scoring.predictor`; None where the logits do."""
    if table.spans:
        raise AffcliError(f"{table.name} has a row a span (start, end), not a row a frame. Run affcli vote first.")
    others = table.carried_schema.names
    if named is not None and named not in others:
        raise AffcliError(f"{table.name} has no column '{named}' beside its logits. Correct --label-column.")
    return named or ("label" if "label" in others and (table.ours or not table.has_logits) else None)


def _classes_of_labels(table: LogitTable, column: str | None) -> tuple[str, ...]:
    """The classes of a table without logits: the eight where they hold all its labels, else its labels, sorted."""
    assert column is not None  # a table has logits or labels
    kind = table.carried_schema.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return CLASSES
    found = {name for rows in table.videos() for name in pc.unique(rows.carried[column]).to_pylist()} - {None, ""}
    known = {name.lower() for name in CLASSES} | {"-1"}
    return CLASSES if all(name.strip().lower() in known for name in found) else tuple(sorted(found))


def _numbers_of(column: pa.ChunkedArray, classes: tuple[str, ...], where: str) -> Numbers:
    """Indices into `classes`, -1 for null; class numbers are taken as they are where they fit."""
    if classes == CLASSES or not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return class_numbers(column, where).astype(np.int64)
    numbers = pc.index_in(column, value_set=pa.array(classes, column.type))
    unknown = pc.unique(column.filter(pc.and_(pc.is_null(numbers), pc.is_valid(column)))).to_pylist()
    if [name for name in unknown if name]:
        raise AffcliError(f"{where} holds '{unknown[0]}', none of the classes {listed(classes)}.")
    found: Numbers = pc.fill_null(numbers, NO_LABEL).to_numpy().astype(np.int64)
    return found


# --- the other columns -----------------------------------------------------------------------------------------------


def _probabilities(logits: NDArray[np.floating], space: object) -> Floats:
    """Probabilities [n, C] that sum to 1 in each row: softmaxes, or what the table holds where it holds shares."""
    if space in ("probabilities", "shares") or (space is None and _are_shares(logits)):
        shares = np.clip(logits.astype(np.float64), 0, None)
        total = np.nansum(shares, axis=1, keepdims=True)
        return shares / np.where(total > 0, total, 1)
    return np.asarray(in_space(logits, PROBABILITIES), np.float64)


def _are_shares(logits: NDArray[np.floating]) -> bool:
    """Whether a foreign table's numbers are probabilities: from 0 to 1, and nearly all rows sum to 1."""
    known = logits[~np.isnan(logits).any(axis=1)]
    if not known.size or known.min() < 0 or known.max() > 1:
        return False
    return bool(np.mean(np.abs(known.sum(axis=1) - 1) < 0.02) > 0.9)


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
    back = np.flatnonzero(~(np.diff(times_s) >= 0))
    if back.size:
        at = rows.frame[back[0] + 1]
        raise AffcliError(f"{source}: video '{rows.video}': time_s of frame {at} is less than that of the one before.")
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
