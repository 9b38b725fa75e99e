"""Feature tables of one stream, pictures or sound, read video by video. (Their join is in `joined.py`.)"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.errors import AffcliError, ColumnError, listed
from affcli.files.outputs import STANDARD_STREAM
from affcli.schema import AUDIO, STARTS, VISUAL, all_starts
from affcli.tables.by_video import RowsByVideo
from affcli.tables.flags import true_or_false
from affcli.tables.keys import frame_numbers, refuse_far_frames
from affcli.tables.reader import TableReader, tables_in

log = logging.getLogger(__name__)

_NEAR = 100_000  # frames; every frame up to the last takes memory for its vector, row or not


@dataclass(frozen=True)
class StreamFeatures:
    """One stream of one video, a row for every frame from 1 to the last; what is stored where `valid` is false is 0."""

    features: NDArray[np.float16]  # [n, size]
    valid: NDArray[np.bool_]  # [n]: the frame has a face, or sound
    time_s: NDArray[np.float64]  # [n], NaN where unknown

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.valid)

    def padded(self, frames: int) -> StreamFeatures:
        """The same with missing frames after the last, up to `frames` rows."""
        more = frames - self.frames
        if more <= 0:
            return self
        features = np.concatenate([self.features, np.zeros((more, self.features.shape[1]), np.float16)])
        valid = np.concatenate([self.valid, np.zeros(more, np.bool_)])
        return StreamFeatures(features, valid, np.concatenate([self.time_s, np.full(more, np.nan)]))


def no_features(frames: int, size: int) -> StreamFeatures:
    """A stream that is missing throughout."""
    return StreamFeatures(np.zeros((frames, size), np.float16), np.zeros(frames, np.bool_), np.full(frames, np.nan))


class FeatureTable:
    """A table with `video`, `frame` and a list column `feature`; ours, or one made elsewhere, in any order of rows.

    `incomplete` counts the frames that were read and have a vector with a null, a NaN or an infinity in it: they count
    as missing. Raises ColumnError for a column of another type than it must have.
    """

    def __init__(self, source: str) -> None:
        self._reader = TableReader(source, text=("video",))
        self._reader.require("video", "frame", "feature")
        self.name = self._reader.name
        self.metadata: Mapping[str, Any] = self._reader.metadata
        self.size = self._size()
        self._incomplete: dict[str, tuple[int, int]] = {}
        self._refuse_odd_times()
        columns = [name for name in ("frame", "time_s", "face", "feature") if name in self._reader.columns]
        self._rows = RowsByVideo(self._reader, "video", columns)
        numbers = RowsByVideo(self._reader, "video", ["frame"])
        self._frames = {video: self._last_frame(video, numbers.rows(video)) for video in numbers.ids}
        if not self._frames:
            raise AffcliError(f"{self.name}: has no rows.")

    @property
    def kind(self) -> str | None:
        """What the table says it holds: visual or audio features; None where it says neither."""
        kind = self.metadata.get("kind")
        return kind if kind in (VISUAL, AUDIO) else None

    @property
    def encoder(self) -> Mapping[str, Any] | None:
        """What our tables say of their encoder; None for tables made elsewhere."""
        return self.metadata.get("encoder")

    @property
    def videos(self) -> list[str]:
        """Video ids, in the order in which they are read cheapest."""
        return list(self._rows.ids)

    def __contains__(self, video: str) -> bool:
        return video in self._rows

    def frames(self, video: str) -> int:
        """The number of the video's last frame."""
        return self._frames[video]

    @property
    def incomplete(self) -> tuple[int, int]:
        """How many frames of the videos read so far have a vector that is not all numbers; and how many have one."""
        broken, whole = zip(*self._incomplete.values(), strict=True) if self._incomplete else ((), ())
        return sum(broken), sum(broken) + sum(whole)

    def read(self, video: str) -> StreamFeatures:
        """Every frame of one video, those without a row included."""
        rows = self._rows.rows(video)
        stored, valid = self._features(rows["feature"])
        there = len(rows) - rows["feature"].null_count
        self._incomplete[video] = (there - int(valid.sum()), int(valid.sum()))
        if "face" in rows.column_names:
            valid &= true_or_false(self.name, rows["face"], "face")
        at = self._frame_numbers(rows) - 1
        stream = no_features(self.frames(video), self.size)
        in_order = np.array_equal(at, np.arange(len(stream.valid)))  # as our tables are: a plain copy is much faster
        stream.features[slice(None) if in_order else at] = stored
        stream.features[at[~valid]] = 0
        stream.valid[at] = valid
        if "time_s" in rows.column_names:
            stream.time_s[at] = self._seconds(rows)
        return stream

    def read_times(self, video: str) -> NDArray[np.float64]:
        """Presentation times of the video's frames 1 to the last, NaN where unknown."""
        times_s = np.full(self.frames(video), np.nan)
        if "time_s" in self._reader.columns:
            rows = self._times.rows(video)
            times_s[self._frame_numbers(rows) - 1] = self._seconds(rows)
        return times_s

    def _frame_numbers(self, rows: pa.Table) -> NDArray[np.int64]:
        return frame_numbers(self.name, rows["frame"], "frame")

    def _seconds(self, rows: pa.Table) -> NDArray[np.float64]:
        """The column `time_s` [n], NaN for null."""
        seconds = pc.fill_null(rows["time_s"].cast(pa.float64(), safe=False), np.nan)
        return np.asarray(seconds.to_numpy(), np.float64)

    def _refuse_odd_times(self) -> None:
        if "time_s" in self._reader.columns and not _is_number(kind := self._reader.schema.field("time_s").type):
            raise ColumnError(f"{self.name}: column 'time_s' holds {kind}; times must be numbers, in seconds.")

    @cached_property
    def _times(self) -> RowsByVideo:
        return RowsByVideo(self._reader, "video", ["frame", "time_s"])

    def _features(self, column: pa.ChunkedArray) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
        """[n, size] and which rows can be used: a null feature, or one that holds a null or NaN, is missing."""
        present: NDArray[np.bool_] = np.concatenate(
            [_whole(chunk) for chunk in column.chunks] or [np.empty(0, np.bool_)]
        )
        stored = [self._half(chunk) for chunk in column.chunks]
        rows = np.concatenate(stored) if len(stored) != 1 else stored[0]
        return rows, present & finite(rows)

    def _half(self, chunk: pa.Array) -> NDArray[np.float16]:
        """The numbers of one chunk, [n, size]; without a copy where they are stored as our tables store them."""
        if chunk.type == pa.list_(pa.float16(), self.size):
            numbers = np.frombuffer(chunk.values.buffers()[1], np.float16)
            first = (chunk.values.offset // self.size) + chunk.offset
            return numbers[first * self.size : (first + len(chunk)) * self.size].reshape(-1, self.size)
        there = chunk.is_valid().to_numpy(zero_copy_only=False)
        values = chunk.drop_null().flatten()
        numbers = pc.fill_null(values.cast(pa.float32(), safe=False), np.nan).to_numpy(zero_copy_only=False)
        if len(numbers) != there.sum() * self.size:
            raise AffcliError(f"{self.name}: its features differ in length; every row needs {self.size} numbers.")
        # A number too large for half precision becomes the largest there is.
        largest = float(np.finfo(np.float16).max)
        half = np.zeros((len(chunk), self.size), np.float16)
        half[there] = np.clip(numbers.reshape(-1, self.size), -largest, largest)
        return half

    def _size(self) -> int:
        kind = self._reader.schema.field("feature").type
        lists = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
        if not lists or not _is_number(kind.value_type):
            raise ColumnError(f"{self.name}: column 'feature' holds {kind}, not lists of numbers.")
        if pa.types.is_fixed_size_list(kind) and kind.list_size:
            return int(kind.list_size)
        for batch in self._reader.batches(["feature"]):
            lengths = pc.list_value_length(batch["feature"]).drop_null()
            if len(lengths):
                return int(lengths[0].as_py())
        raise AffcliError(f"{self.name}: has no feature at all.")

    def _last_frame(self, video: str, rows: pa.Table) -> int:
        frame = np.sort(self._frame_numbers(rows))
        if frame[0] < 1:
            raise AffcliError(f"{self.name}: has a frame {frame[0]} in '{video}'; frames are numbered from 1.")
        if len(twice := frame[1:][np.diff(frame) == 0]):
            raise AffcliError(f"{self.name}: has two rows for frame {twice[0]} of '{video}'.")
        refuse_far_frames(self.name, video, len(frame), int(frame[-1]), near=_NEAR)
        return int(frame[-1])

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()


class FeatureTables:
    """Several tables of one stream as one, each with videos of its own: what separate jobs have made."""

    def __init__(self, name: str, tables: Sequence[FeatureTable]) -> None:
        """Raises AffcliError where the tables were made differently, or two hold the same video."""
        first, *others = tables
        for other in others:
            _refuse_difference(first, other)
        self.name, self.size, self.kind, self.encoder = name, first.size, first.kind, first.encoder
        starts = {STARTS: all_starts(table.metadata for table in tables)}
        self.metadata = {**first.metadata, **(starts if starts[STARTS] else {})}
        self._tables, self._holder = tables, dict[str, FeatureTable]()
        for table in tables:
            for video in table.videos:
                if (holder := self._holder.setdefault(video, table)) is not table:
                    raise AffcliError(f"{holder.name} and {table.name} both hold the video '{video}'.")

    @property
    def videos(self) -> list[str]:
        """Video ids of all tables, sorted."""
        return sorted(self._holder)

    def __contains__(self, video: str) -> bool:
        return video in self._holder

    def frames(self, video: str) -> int:
        """Number of frames of a video."""
        return self._holder[video].frames(video)

    def read(self, video: str) -> StreamFeatures:
        """One video's features."""
        return self._holder[video].read(video)

    def read_times(self, video: str) -> NDArray[np.float64]:
        """Presentation times of the video's frames."""
        return self._holder[video].read_times(video)

    @property
    def incomplete(self) -> tuple[int, int]:
        """As that of a table, of all of them."""
        counts = [table.incomplete for table in self._tables]
        return sum(broken for broken, _ in counts), sum(frames for _, frames in counts)

    def close(self) -> None:
        """Closes all tables."""
        for table in self._tables:
            table.close()


class Stream(Protocol):
    """One stream of some videos: what a table, a folder of tables or unfinished work holds. `size` numbers a feature.

    `encoder` is what is known of what made the features, `metadata` all that is.
    """

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    @property
    def size(self) -> int:
        """Numbers per feature."""
        ...

    @property
    def encoder(self) -> Mapping[str, Any] | None:
        """The encoder's card; None for features made elsewhere."""
        ...

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the table says of itself."""
        ...

    @property
    def videos(self) -> list[str]:
        """Video ids."""
        ...

    def __contains__(self, video: str) -> bool: ...
    def frames(self, video: str) -> int:
        """Number of frames of a video."""
        ...

    def read(self, video: str) -> StreamFeatures:
        """One video's features."""
        ...

    def read_times(self, video: str) -> NDArray[np.float64]:
        """Presentation times in seconds [frames], NaN where unknown."""
        ...

    def close(self) -> None:
        """Closes the table."""
        ...


def _refuse_difference(one: FeatureTable, other: FeatureTable) -> None:
    for what in ("size", "kind", "encoder"):
        if getattr(one, what) != getattr(other, what):
            raise AffcliError(f"{one.name} and {other.name} do not go together: their {what} differs.")
    if one.metadata.get("alignment") != other.metadata.get("alignment"):
        raise AffcliError(f"{one.name} and {other.name} do not go together: their faces are aligned differently.")


def open_stream(source: str | None, *, kind: str) -> Stream | None:
    """The table given with `--visual` or `--audio`, or the folder of them; one of the other kind is refused."""
    return None if source is None else open_features(source, kind=kind)


def open_features(source: str, *, kind: str | None = None) -> Stream:
    """A feature table, or all those in a folder as one. Raises AffcliError for a `kind` that is not the one asked for.

    Tables made elsewhere do not tell their kind, and are taken.
    """
    tables = [FeatureTable(name) for name in tables_in(source)]
    for table in tables:
        if kind is not None and table.kind not in (None, kind):
            raise AffcliError(f"{table.name}: holds {table.kind}, not {kind}: were --visual and --audio exchanged?")
    if source == STANDARD_STREAM or not Path(source).is_dir():
        return tables[0]
    if unfinished := sorted(path.name for path in Path(source).glob("*.parts")):
        log.warning("%s: work is unfinished here: %s. Its videos are missing.", source, listed(unfinished))
    return FeatureTables(source, tables)


def refuse_other_encoder(table: Stream | None, trained_with: Mapping[str, Any]) -> None:
    """Raises where a table's features are not those that a model was trained with (`trained_with`: an encoder card)."""
    if table is None:
        return
    encoder, wanted = table.encoder, trained_with.get("name")
    if table.size != trained_with["size"]:
        raise AffcliError(
            f"{table.name}: features of {_called(encoder)} have {table.size} numbers; the model was trained with "
            f"{wanted or 'features'} of {trained_with['size']}."
        )
    if encoder and wanted and not is_encoder(encoder, trained_with):
        raise AffcliError(
            f"{table.name}: was made by the encoder {_called(encoder)}, but the model was trained with {wanted} "
            f"({trained_with.get('fingerprint')}, {trained_with.get('feature')}). Extract the features with that one."
        )


def is_encoder(encoder: Mapping[str, Any], trained_with: Mapping[str, Any]) -> bool:
    """Whether two encoder cards are of one encoder, taken in the same way."""
    return all(encoder.get(key) == trained_with.get(key) for key in ("fingerprint", "feature"))


def _called(encoder: Mapping[str, Any] | None) -> str:
    if not encoder:
        return "an unnamed encoder"
    return f"{encoder.get('name')} ({encoder.get('fingerprint')}, {encoder.get('feature')})"


def _whole(chunk: pa.Array) -> NDArray[np.bool_]:
    """[n]: the feature is there, and so is each of its numbers."""
    there: NDArray[np.bool_] = np.array(chunk.is_valid(), np.bool_)
    if not pa.types.is_fixed_size_list(chunk.type) or not chunk.values.null_count:
        return there  # a null in a list of variable length becomes NaN
    size = chunk.type.list_size
    numbers = chunk.values.slice(chunk.offset * size, len(chunk) * size)
    if size % 8 == 0 and numbers.offset % 8 == 0:  # each row's marks are whole bytes: no need to unpack them
        packed = np.frombuffer(numbers.buffers()[0], np.uint8)[numbers.offset // 8 :][: len(chunk) * size // 8]
        there &= (packed.reshape(-1, size // 8) == 0xFF).all(axis=1)
    else:
        there &= numbers.is_valid().to_numpy(zero_copy_only=False).reshape(-1, size).all(axis=1)
    return there


def finite(rows: NDArray[np.float16]) -> NDArray[np.bool_]:
    """[n]: no number of the row is NaN or infinite. (Their exponent bits are all set: much faster than isfinite.)"""
    exponent = rows.view(np.uint16) & np.uint16(0x7C00)
    finite: NDArray[np.bool_] = (exponent != 0x7C00).all(axis=1)
    return finite


def _is_number(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind))
