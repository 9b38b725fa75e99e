"""Soft voting: the mean, for each frame, of all the logits that cover it; over several tables, an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affcli.errors import ClassMismatchError, ColumnError, SpaceError, UsageError, counted, listed
from affcli.predictions.frame_sums import FrameSums
from affcli.predictions.frame_table import frame_rows, frame_schema
from affcli.predictions.label_column import classes_of_labels, label_numbers
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.shared_frames import SharedFrames
from affcli.predictions.space import LABELS, LOGITS, SHARES, as_probabilities, ballots, converted, whole
from affcli.predictions.video_rows import VideoRows
from affcli.schema import STARTS, all_starts

if TYPE_CHECKING:
    from affcli.predictions.calibration import Calibration

# Columns of the input that belong to the frame, not to the row, with their types.
PER_FRAME = {"time_s": pa.float64(), "face": pa.bool_(), "audio": pa.bool_(), "speech": pa.float32()}

# Spans are spread over their frames in pieces of at most about this many rows, to bound the memory.
SPREAD_ROWS = 1 << 20


@dataclass(frozen=True)
class FrameMeans:
    """One video's frames: `frame` int64 [F], ascending, each once; `mean` float64 [F, C], NaN where there is none;
    `votes` int64 [F], how many rows the means are of; `carried` [F], some of PER_FRAME."""

    video: str
    frame: np.ndarray
    mean: np.ndarray
    votes: np.ndarray
    carried: Mapping[str, pa.Array]


class Vote:
    """The vote over one table, or over several with weights (an ensemble).

    `space`: the mean of LOGITS, or of PROBABILITIES, into which numbers of another space are brought; SHARES: each row
    votes for its largest number, and the shares of votes are written; None: the mean in the space of the tables, which
    must be the same for all. The rows of tables with only labels are votes for their label, spans for every frame of
    theirs. Of an ensemble a frame gets the mean of the tables' own means, weighted, over the tables that have the
    frame; a table of weight 0 takes no part, as if it were not there.
    With `trust` the first table is the trusted one: a frame whose label it gives a probability above `trust` takes its
    numbers and its votes, every other frame the vote of the others, where they have it; the first takes part in that
    only if `weights` say so.
    The offsets of a `calibration`, which must be one for the same space and classes, are added at the end;
    probabilities and shares are brought to the sum 1 after it.

    Raises SpaceError for tables of different spaces without `space`, ClassMismatchError for different classes.
    """

    def __init__(
        self,
        tables: Sequence[LogitTable],
        *,
        space: str | None = None,
        weights: Sequence[float] | None = None,
        calibration: Calibration | None = None,
        trust: float | None = None,
    ) -> None:
        self._calibration, self._trust = calibration, trust
        if trust is not None:
            _check_trust(tables, space)
            weights = weights or (0.0, *[1.0] * (len(tables) - 1))
        taking_part = list(zip(tables, _checked_weights(weights, len(tables)), strict=True))
        weighted = [pair for i, pair in enumerate(taking_part) if pair[1] > 0 or (i == 0 and trust is not None)]
        self._ballots, self._weights = [_Ballots(table) for table, _ in weighted], [weight for _, weight in weighted]
        _check_classes(self._ballots)
        self._classes = self._ballots[0].classes
        self._hard, self._space = space == SHARES, _common_space(self._ballots, space)
        if calibration is not None:
            calibration.check(self._classes, self._space)
        tables = [table for table, _ in weighted]
        self.videos = sorted({video for table in tables for video in table.ids})
        known = {field.name for table in tables if not table.spans for field in table.carried_schema if _is_ours(field)}
        self._carried = [name for name in PER_FRAME if name in known]
        fields = [pa.field(name, PER_FRAME[name]) for name in self._carried]
        self.schema = frame_schema([*fields, pa.field("votes", pa.int32())], self._classes, self._facts(tables))

    def frames(self) -> Iterator[pa.Table]:
        """Each video's frames under `schema`, in codepoint order of the videos. Says at the end what tables lack."""
        shared = SharedFrames([one.table for one in self._ballots])
        for video in self.videos:
            means = [
                (self._aligned(self._means(one, video), one.classes), weight)
                for one, weight in zip(self._ballots, self._weights, strict=True)
                if video in one.table
            ]
            merged = means[0][0] if len(self._ballots) == 1 else merge(means, self._carried)
            shared.add(video, merged.frame, [one.frame for one, _ in means])
            if self._trust is not None and video in self._ballots[0].table:
                merged = _trusting(merged, means[0][0], self._space, self._trust)
            carried = {**merged.carried, "votes": pa.array(merged.votes.astype(np.int32))}
            rows = VideoRows(video, merged.frame, self._calibrated(merged.mean), pa.table(carried))
            yield frame_rows(self.schema, rows)
        shared.note()

    def _means(self, one: _Ballots, video: str) -> FrameMeans:
        rows = one.rows(video)
        values = ballots(rows.logits) if self._hard else converted(rows.logits, one.space, self._space)
        return means_of(replace(rows, logits=values), one.table.name)

    def _calibrated(self, mean: np.ndarray) -> np.ndarray:
        if self._calibration is None:
            return mean
        shifted = self._calibration.apply(mean, self._classes)
        return shifted if self._space == LOGITS else whole(shifted)

    def _aligned(self, means: FrameMeans, classes: Sequence[str]) -> FrameMeans:
        if tuple(classes) == self._classes:
            return means
        order = [classes.index(name) for name in self._classes]
        return FrameMeans(means.video, means.frame, means.mean[:, order], means.votes, means.carried)

    def _facts(self, tables: Sequence[LogitTable]) -> Mapping[str, Any]:
        """What all the tables say of themselves, and what was done with them."""
        first, *others = [table.metadata for table in tables]
        facts = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
        facts |= {**_starts(tables), "space": self._space}
        if others:
            facts["ensemble"] = self._weights
        if self._trust is not None:
            facts["trust"] = self._trust
        if self._calibration is not None:
            facts["calibration"] = self._calibration.by_class
            if self._calibration.temperature != 1:
                facts["temperature"] = self._calibration.temperature
        return facts


def _starts(tables: Sequence[LogitTable]) -> dict[str, Any]:
    """What the voted table says of its videos' starts: nothing where all are 0."""
    found = all_starts(table.starts for table in tables)
    return {STARTS: found} if found else {}


class _Ballots:
    """What a table gives to a vote: its numbers, or, of a table with only labels, a vote for each row's label."""

    def __init__(self, table: LogitTable) -> None:
        self.table = table
        self.space = SHARES if table.space == LABELS else table.space
        self.classes = table.classes
        if not table.has_logits:
            column, words = table.names.label, table.names.renamed
            if column not in table.carried_schema.names:
                raise ColumnError(f"{table.name} has neither logits nor labels. Name its logits with --classes.")
            self.classes = classes_of_labels(table, column, words)

    def rows(self, video: str) -> VideoRows:
        """One video's rows as they stand in the file."""
        rows = self.table.rows(video, ordered=False, spread=False)
        self.table.refuse_people(rows)
        if self.table.has_logits:
            return rows
        column = self.table.names.label
        where = f"{self.table.name}: column '{column}'"
        number = label_numbers(rows.carried[column], self.classes, where, self.table.names.renamed)
        votes = (number[:, None] == np.arange(len(self.classes))).astype(np.float64)
        votes[number < 0] = np.nan
        return replace(rows, logits=votes, missing=int((number < 0).sum()))


def _common_space(tables: Sequence[_Ballots], wanted: str | None) -> str:
    """The space of the mean. Raises SpaceError where tables differ and none is wanted, and for shares as logits."""
    if wanted is None:
        for one in tables[1:]:
            if one.space != tables[0].space:
                ours, theirs = f"{tables[0].table.name} holds {tables[0].space}", f"{one.table.name} {one.space}"
                raise SpaceError(f"{ours}, {theirs}: bring them together with --space probabilities, or with --hard.")
        return tables[0].space
    shares = [one.table.name for one in tables if one.space == SHARES]
    if wanted == LOGITS and shares:
        raise SpaceError(f"{shares[0]} holds shares of votes, which are not logits: use --space probabilities.")
    return wanted


def _is_ours(field: pa.Field) -> bool:
    """Whether a column is of the kind that PER_FRAME means; a `speech` that holds a transcript is not."""
    return field.name in PER_FRAME and (field.name != "speech" or bool(pa.types.is_floating(field.type)))


def _checked_weights(weights: Sequence[float] | None, tables: int) -> Sequence[float]:
    if weights is None:
        return [1.0] * tables
    if len(weights) != tables:
        raise UsageError(f"--weights names {counted(len(weights), 'weight')} for {counted(tables, 'table')}.")
    if not all(np.isfinite(weight) and weight >= 0 for weight in weights) or not any(weights):
        raise UsageError("--weights must be numbers of at least 0, not all of them 0.")
    return weights


def _check_trust(tables: Sequence[LogitTable], space: str | None) -> None:
    if len(tables) < 2:
        raise UsageError("--trust takes the first input where it is sure, else the others: name at least two inputs.")
    if space == SHARES or tables[0].space in (SHARES, LABELS):
        raise UsageError("--trust needs probabilities of the first input; shares of votes and labels are none.")


def _trusting(merged: FrameMeans, trusted: FrameMeans, space: str, least: float) -> FrameMeans:
    """The frames with the trusted table's numbers and votes where it is surer than `least`, or alone has any."""
    place = np.searchsorted(merged.frame, trusted.frame)
    with np.errstate(invalid="ignore"):
        sure = np.fmax.reduce(as_probabilities(trusted.mean, space), axis=1) > least
    taken = sure | np.isnan(merged.mean[place]).all(axis=1)
    mean, votes = merged.mean.copy(), merged.votes.copy()
    mean[place[taken]], votes[place[taken]] = trusted.mean[taken], trusted.votes[taken]
    return replace(merged, mean=mean, votes=votes)


def _check_classes(tables: Sequence[_Ballots]) -> None:
    for one in tables[1:]:
        if set(one.classes) != set(tables[0].classes):
            theirs, ours = listed(one.classes), listed(tables[0].classes)
            raise ClassMismatchError(
                f"{one.table.name} has the classes {theirs}, but {tables[0].table.name} has {ours}. See --map."
            )


def means_of(rows: VideoRows, source: str) -> FrameMeans:
    """A video's frames: the mean of the rows that cover each. `source` is for errors."""
    values = rows.logits
    if rows.end is not None:
        return _span_means(rows, values)
    frame, index = _frames_of(rows.frame)
    sums = FrameSums(values.shape[1], len(frame))
    sums.add(index, values, complete=rows.missing == 0)
    first = np.empty(len(frame), np.int64)
    first[index[::-1]] = np.arange(len(index) - 1, -1, -1)  # of repeated indices the last assignment stays
    return FrameMeans(rows.video, frame, sums.mean(), sums.votes, _per_frame(source, rows.carried, first))


def _frames_of(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different frames in ascending order, and each row's position among them: `np.unique`, without its sort
    where the numbers lie close together, as they do in a video."""
    lowest = int(frame.min())
    extent = int(frame.max()) - lowest + 1
    if extent > 4 * len(frame) + 1024:
        frames, index = np.unique(frame, return_inverse=True)
        return frames, index
    index = frame - lowest
    seen = np.zeros(extent, bool)
    seen[index] = True
    if seen.all():
        return np.arange(lowest, lowest + extent), index
    return np.flatnonzero(seen) + lowest, (np.cumsum(seen) - 1)[index]


def _span_means(rows: VideoRows, values: np.ndarray) -> FrameMeans:
    """Every frame from the first that a span covers to the last; those between that none covers have no votes."""
    assert rows.end is not None
    lowest = int(rows.frame.min())
    frame = np.arange(lowest, int(rows.end.max()) + 1)
    lengths = rows.end - rows.frame + 1
    sums = FrameSums(values.shape[1], len(frame))
    pieces = np.searchsorted(np.cumsum(lengths), np.arange(SPREAD_ROWS, lengths.sum(), SPREAD_ROWS)) + 1
    for some in np.split(np.arange(len(lengths)), np.unique(pieces)):
        row = np.repeat(some, lengths[some])
        step = np.arange(len(row)) - np.repeat(np.cumsum(lengths[some]) - lengths[some], lengths[some])
        sums.add(rows.frame[row] - lowest + step, values[row], complete=rows.missing == 0)
    return FrameMeans(rows.video, frame, sums.mean(), sums.votes, {})


def merge(means: Sequence[tuple[FrameMeans, float]], carried: Sequence[str]) -> FrameMeans:
    """The weighted mean of several tables' means, each number over the tables that have it; votes are totals."""
    frame = np.unique(np.concatenate([one.frame for one, _ in means]))
    size = (len(frame), means[0][0].mean.shape[1])
    total, weights, votes = np.zeros(size), np.zeros(size), np.zeros(len(frame), np.int64)
    places = [np.searchsorted(frame, one.frame) for one, _ in means]
    for (one, weight), place in zip(means, places, strict=True):
        present = ~np.isnan(one.mean)
        total[place] += np.where(present, one.mean * weight, 0.0)
        weights[place] += np.where(present, weight, 0.0)
        votes[place] += one.votes if weight else 0
    with np.errstate(invalid="ignore"):
        mean = total / weights  # NaN where no table that counts has a number
    tables = [(one.carried, place) for (one, _), place in zip(means, places, strict=True)]
    columns = {name: _first_known(tables, name, len(frame)) for name in carried}
    return FrameMeans(means[0][0].video, frame, mean, votes, columns)


def _first_known(tables: Sequence[tuple[Mapping[str, pa.Array], np.ndarray]], name: str, frames: int) -> pa.Array:
    """A per-frame column, each frame's value from the first table that has one."""
    values = pa.nulls(frames, PER_FRAME[name])
    for table, place in tables:
        if name in table:
            row = np.full(frames, -1)
            row[place] = np.arange(len(place))
            found = pc.take(table[name], pa.array(row, mask=row < 0))
            values = pc.coalesce(values, found)
    return values


def _per_frame(name: str, carried: pa.Table, rows: np.ndarray) -> Mapping[str, pa.Array]:
    """The columns that belong to frames, from one row of each."""
    columns = {}
    for column in (field.name for field in carried.schema if _is_ours(field)):
        values = carried[column].combine_chunks().take(pa.array(rows))
        try:
            columns[column] = values.cast(PER_FRAME[column])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            wanted, found = PER_FRAME[column], carried[column].type
            raise ColumnError(f"{name}: column '{column}' holds {found}, not {wanted}. Rename or drop it.") from error
    return columns
