"""Soft voting, against brute force: plain loops over rows."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affcli.errors import AffcliError, UsageError
from affcli.predictions import vote
from affcli.predictions.columns import ColumnNames
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.vote import PER_FRAME, Vote
from affcli.schema import FRAMES, metadata_of, windowed_schema, with_metadata

CLASSES = ("A", "B", "C")
Row = tuple[str, int, list[float]]  # video, frame, logits with NaN for missing ones


def write(file: Path, rows: Sequence[Row], **columns: object) -> str:
    logits = dict(zip(CLASSES, np.array([row[2] for row in rows], np.float64).reshape(-1, 3).T, strict=True))
    keys = {"video": pa.array([row[0] for row in rows], pa.string()), "frame": pa.array([row[1] for row in rows])}
    pq.write_table(pa.table({**keys, **logits, **columns}), file)
    return str(file)


def voted(*sources: str, names: ColumnNames | None = None, **options: object) -> pa.Table:
    with ExitStack() as files:
        names = names or ColumnNames(space="logits")  # whatever they look like
        tables = [files.enter_context(LogitTable(source, columns=names, carry=PER_FRAME)) for source in sources]
        vote = Vote(tables, **options)  # type: ignore[arg-type]
        frames = [rows.cast(vote.schema) for rows in vote.frames()]
        return pa.concat_tables(frames) if frames else vote.schema.empty_table()


def in_space(logits: list[float], space: str) -> list[float]:
    known = [x for x in logits if not math.isnan(x)]
    if space == "logits" or not known:
        return logits
    if space == "shares":
        best = logits.index(max(known))
        return [float(i == best) for i in range(len(logits))]
    total = sum(math.exp(x) for x in known)
    return [math.exp(x) / total for x in logits]


Means = dict[tuple[str, int], tuple[list[float], int]]


def by_hand(rows: Sequence[Row], space: str) -> Means:
    """Each frame's mean of what is there, class by class, and the number of rows that have anything."""
    groups: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
    for video, frame, logits in rows:
        groups[video, frame].append(in_space(logits, space))
    return {key: (mean_of(group), sum(not all(map(math.isnan, row)) for row in group)) for key, group in groups.items()}


def mean_of(rows: list[list[float]], weights: Sequence[float] | None = None) -> list[float]:
    result = []
    for column in zip(*rows, strict=True):
        pairs = [(x, w) for x, w in zip(column, weights or [1.0] * len(rows), strict=True) if not math.isnan(x)]
        total = sum(w for _, w in pairs)
        result.append(sum(x * w for x, w in pairs) / total if total else math.nan)
    return result


def assert_same(table: pa.Table, expected: Means) -> None:
    found = list(zip(table["video"].to_pylist(), table["frame"].to_pylist(), strict=True))
    assert found == sorted(expected)
    for row, key in enumerate(found):
        mean, votes = expected[key]
        logits = [table[name][row].as_py() for name in CLASSES]
        assert table["votes"][row].as_py() == votes
        assert [math.isnan(x) for x in mean] == [x is None for x in logits]
        assert [x for x in logits if x is not None] == pytest.approx([x for x in mean if not math.isnan(x)], abs=1e-5)
        best = max((x for x in logits if x is not None), default=None)
        assert table["label"][row].as_py() == (None if best is None else CLASSES[logits.index(best)])


LOGIT = st.one_of(st.just(math.nan), st.floats(-9, 9, width=16))
ROWS = st.lists(
    st.tuples(st.sampled_from(["b", "a", "é"]), st.integers(1, 6), st.lists(LOGIT, min_size=3, max_size=3)), max_size=20
)
SPACES = st.sampled_from(["logits", "probabilities", "shares"])


@given(rows=ROWS, space=SPACES)
@settings(deadline=None, max_examples=150)
def test_vote_is_the_mean_of_what_covers_a_frame(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], space: str
) -> None:
    table = write(tmp_path_factory.mktemp("vote") / "t.parquet", rows)
    assert_same(voted(table, space=space), by_hand(rows, space))


@given(tables=st.lists(ROWS, min_size=2, max_size=3), space=SPACES, data=st.data())
@settings(deadline=None, max_examples=100)
def test_an_ensemble_is_the_weighted_mean_of_the_inputs_own_means(
    tmp_path_factory: pytest.TempPathFactory, tables: list[list[Row]], space: str, data: st.DataObject
) -> None:
    weight = st.floats(0.5, 4)
    weights = data.draw(st.none() | st.lists(weight, min_size=len(tables), max_size=len(tables)))
    folder = tmp_path_factory.mktemp("vote")
    files = [write(folder / f"{number}.parquet", rows) for number, rows in enumerate(tables)]
    means = [by_hand(rows, space) for rows in tables]
    expected = {}
    for key in {key for table in means for key in table}:
        there = [(table[key], w) for table, w in zip(means, weights or [1.0] * 3, strict=False) if key in table]
        mean = mean_of([row for (row, _), _ in there], [w for _, w in there])
        expected[key] = (mean, sum(votes for (_, votes), _ in there))
    assert_same(voted(*files, space=space, weights=weights), expected)


SPANS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(1, 9), st.integers(0, 5), st.lists(LOGIT, min_size=3, max_size=3)),
    min_size=1,
    max_size=12,
)


@given(spans=SPANS, piece=st.sampled_from([1, 3, 1000]))
@settings(deadline=None, max_examples=100)
def test_a_span_votes_for_every_frame_in_it(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[str, int, int, list[float]]], piece: int
) -> None:
    file = tmp_path_factory.mktemp("vote") / "t.parquet"
    logits = dict(zip(CLASSES, np.array([row[3] for row in spans]).T, strict=True))
    start = [row[1] for row in spans]
    end = [row[1] + row[2] for row in spans]
    pq.write_table(pa.table({"video": [row[0] for row in spans], "start": start, "end": end, **logits}), file)
    expected = by_hand([(v, f, x) for v, s, more, x in spans for f in range(s, s + more + 1)], "logits")
    for video in {row[0] for row in spans}:
        frames = [frame for name, frame in expected if name == video]
        for frame in range(min(frames), max(frames) + 1):
            expected.setdefault((video, frame), ([math.nan] * 3, 0))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vote, "SPREAD_ROWS", piece)
        assert_same(voted(str(file)), expected)


def test_what_belongs_to_a_span_does_not_belong_to_its_frames(tmp_path: Path) -> None:
    spans = {"video": ["x"], "start": [1], "end": [2], "A": [1.0], "B": [0.0], "face": [True], "time_s": [0.5]}
    pq.write_table(pa.table(spans), tmp_path / "t.parquet")
    table = voted(str(tmp_path / "t.parquet"))
    assert table.column_names == ["video", "frame", "time_s", "votes", "A", "B", "label"]
    assert table["time_s"].to_pylist() == [None, None]


def test_ties_go_to_the_first_class(tmp_path: Path) -> None:
    rows: list[Row] = [("x", 1, [1, 2, 2]), ("x", 1, [3, 2, 2]), ("x", 2, [0, 5, 5])]
    assert voted(write(tmp_path / "t.parquet", rows))["label"].to_pylist() == ["A", "B"]
    assert voted(write(tmp_path / "t.parquet", rows), space="shares")["B"].to_pylist() == [0.5, 1]


def test_infinite_logits_have_a_softmax(tmp_path: Path) -> None:
    rows: list[Row] = [("x", 1, [math.inf, 0, -math.inf]), ("x", 2, [-math.inf, 0, -math.inf])]
    table = voted(write(tmp_path / "t.parquet", rows), space="probabilities")
    assert [table[name].to_pylist() for name in CLASSES] == [[1, 0], [0, 1], [0, 0]]


def test_frame_numbers_far_apart_take_no_memory(tmp_path: Path) -> None:
    rows: list[Row] = [("x", 2_000_000_000, [1, 2, 3]), ("x", 7, [3, 2, 1]), ("x", 7, [1, 2, 1])]
    assert_same(voted(write(tmp_path / "t.parquet", rows)), by_hand(rows, "logits"))


def test_the_columns_and_metadata_are_those_of_frame_logits(tmp_path: Path) -> None:
    schema = with_metadata(windowed_schema(CLASSES), kind="windowed logits", classes=CLASSES, window=64, encoder="e")
    columns = [["x"] * 2, [1, 1], [1, 2], [0.0, 0.5], [True, False], [False, True], *[[1.0, 2.0]] * 3]
    pq.write_table(
        pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema), tmp_path / "w"
    )
    table = voted(str(tmp_path / "w"))
    assert [(field.name, str(field.type)) for field in table.schema] == [
        *(("video", "string"), ("frame", "int32"), ("time_s", "double"), ("face", "bool"), ("audio", "bool")),
        *(("votes", "int32"), ("A", "float"), ("B", "float"), ("C", "float"), ("label", "string")),
    ]
    assert table["face"].to_pylist() == [True, False]
    assert table["time_s"].to_pylist() == [0.0, 0.5]
    facts = metadata_of(table.schema)
    assert (facts["kind"], facts["classes"], facts["space"]) == (FRAMES, list(CLASSES), "logits")
    assert (facts["window"], facts["encoder"]) == (64, "e")


def test_a_frame_takes_its_time_and_face_from_its_first_row(tmp_path: Path) -> None:
    rows: list[Row] = [("x", 1, [1, 1, 1]), ("x", 2, [1, 1, 1]), ("x", 1, [1, 1, 1])]
    table = voted(write(tmp_path / "t.parquet", rows, time_s=[0.25, 0.5, 0.75], face=[True, False, False]))
    assert table["time_s"].to_pylist() == [0.25, 0.5]
    assert table["face"].to_pylist() == [True, False]


def test_an_ensemble_takes_times_and_faces_from_the_first_table_that_knows_them(tmp_path: Path) -> None:
    first = write(tmp_path / "1.parquet", [("x", 1, [1, 1, 1]), ("x", 3, [1, 1, 1])], time_s=[0.25, None])
    second = write(tmp_path / "2.parquet", [("x", 2, [1, 1, 1]), ("x", 3, [1, 1, 1])], time_s=[0.5, 0.75], face=[0, 1])
    table = voted(first, second)
    assert table["time_s"].to_pylist() == [0.25, 0.5, 0.75]
    assert table["face"].to_pylist() == [None, False, True]


def test_classes_are_joined_by_name_in_the_order_of_the_first_table(tmp_path: Path) -> None:
    first = write(tmp_path / "1.parquet", [("x", 1, [1, 2, 3])])
    pq.write_table(pa.table({"video": ["x"], "frame": [1], "C": [3.0], "B": [2.0], "A": [1.0]}), tmp_path / "2.parquet")
    table = voted(first, str(tmp_path / "2.parquet"))
    assert table.column_names[-4:] == [*CLASSES, "label"]
    assert [table[name][0].as_py() for name in CLASSES] == [1, 2, 3]


ROW = [1.0, 2.0, 3.0]


def test_an_ensemble_says_how_many_frames_each_table_lacks(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = write(tmp_path / "1.parquet", [("x", 1, ROW), ("x", 2, ROW), ("y", 1, ROW)])
    fewer = write(tmp_path / "2.parquet", [("x", 2, ROW), ("x", 2, ROW), ("z", 1, ROW)])
    voted(whole, fewer, whole)
    lacking = f"{whole} lacks 1, {fewer} lacks 2, {whole} lacks 1"
    assert caplog.messages[-1] == f"not every table has each of the 4 frames: {lacking}."


@pytest.mark.parametrize("other", ["x.mp4", "x"])
def test_tables_of_an_ensemble_without_a_common_frame_are_named_with_their_videos(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, other: str
) -> None:
    files = [write(tmp_path / "1.parquet", [("x", 1, ROW)]), write(tmp_path / "2.parquet", [(other, 5, ROW)])]
    voted(*files)
    names = f"({files[0]}: x; {files[1]}: {other})"
    assert f"No two tables have a frame in common; the videos are called {names}." in caplog.text


def test_an_ensemble_of_the_same_frames_and_a_table_alone_say_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [write(tmp_path / f"{n}.parquet", [("x", 1, ROW), ("x", 1, ROW), ("x", 2, ROW)][n:]) for n in range(2)]
    voted(*files)
    voted(files[0])
    voted(*files, trust=0.5)
    assert "not every table" not in caplog.text


def test_tables_with_different_classes_are_no_ensemble(tmp_path: Path) -> None:
    first = write(tmp_path / "1.parquet", [("x", 1, [1, 2, 3])])
    pq.write_table(pa.table({"video": ["x"], "frame": [1], "A": [1.0], "Z": [1.0]}), tmp_path / "2.parquet")
    with pytest.raises(AffcliError, match=r"has the classes A, Z, but .* has A, B, C"):
        voted(first, str(tmp_path / "2.parquet"))


def test_a_table_of_weight_0_is_as_if_it_were_not_there(tmp_path: Path) -> None:
    first = write(tmp_path / "1.parquet", [("x", 1, [1, 2, 3])])
    second = write(
        tmp_path / "2.parquet", [("x", 1, [9, 0, 0]), ("x", 2, [1, 1, 1]), ("y", 1, [1, 1, 1])], face=[1] * 3
    )
    assert voted(first, second, weights=[1, 0]).equals(voted(first), check_metadata=True)
    both = voted(first, first, second, weights=[3, 1, 0])
    assert both["votes"].to_pylist() == [2]
    assert metadata_of(both.schema)["ensemble"] == [3, 1]


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, math.nan]])
def test_weights_that_make_no_mean_are_wrong_usage(tmp_path: Path, weights: list[float]) -> None:
    table = write(tmp_path / "1.parquet", [("x", 1, [1, 2, 3])])
    with pytest.raises(UsageError, match="--weights"):
        voted(table, table, weights=weights)


def test_rows_with_only_a_label_vote_for_it(tmp_path: Path) -> None:
    rows = {"video": ["x"] * 3, "frame": [1, 1, 2], "label": ["B", "A", None]}
    pq.write_table(pa.table(rows), tmp_path / "1.parquet")
    table = voted(str(tmp_path / "1.parquet"))
    assert table.select(["A", "B", "votes", "label"]).to_pylist() == [
        {"A": 0.5, "B": 0.5, "votes": 2, "label": "A"},
        {"A": None, "B": None, "votes": 0, "label": None},
    ]
    assert metadata_of(table.schema)["space"] == "shares"
