"""Anyone's logits: every format, column layout and row order is read as the same videos."""

from __future__ import annotations

import logging
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from affcli.errors import AffcliError, UsageError
from affcli.predictions.columns import ColumnNames
from affcli.predictions.logit_table import LogitTable
from affcli.schema import CLASSES, VISUAL, visual_schema, with_metadata
from affcli.tables import by_video

VIDEOS = ["b", "b", "a", "a", "10", "9"]
FRAMES = [2, 1, 1, 2, 1, 1]
LOGITS = np.arange(48, dtype=np.float32).reshape(6, 8) / 8


@pytest.fixture(autouse=True)
def _libraries_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("affcli").propagate = True
    caplog.set_level(logging.INFO, "affcli")


def table(**changes: object) -> pa.Table:
    columns = {"video": VIDEOS, "frame": FRAMES, **dict(zip(CLASSES, LOGITS.T, strict=True)), "note": list("ABCDEF")}
    return pa.table({name: column for name, column in {**columns, **changes}.items() if column is not None})


def read(*sources: object, carry: tuple[str, ...] | None = None, **names: object) -> dict[str, tuple]:  # type: ignore[type-arg]
    """Each video's frames, logits and notes."""
    columns = ColumnNames(**names)  # type: ignore[arg-type]
    with LogitTable(*map(str, sources), columns=columns, carry=carry) as logits:
        assert logits.ids == tuple(sorted(logits.ids))
        return {
            rows.video: (rows.frame.tolist(), rows.logits.tolist(), rows.carried["note"].to_pylist())
            for rows in logits.videos()
        }


EXPECTED = {
    "10": ([1], LOGITS[[4]].tolist(), ["E"]),
    "9": ([1], LOGITS[[5]].tolist(), ["F"]),
    "a": ([1, 2], LOGITS[[2, 3]].tolist(), ["C", "D"]),
    "b": ([1, 2], LOGITS[[1, 0]].tolist(), ["B", "A"]),
}


def save(rows: pa.Table, file: Path) -> Path:
    match file.suffix:
        case ".parquet":
            pq.write_table(rows, file, row_group_size=2)
        case ".csv":
            pacsv.write_csv(rows, file)
        case ".tsv":
            pacsv.write_csv(rows, file, pacsv.WriteOptions(delimiter="\t"))
        case ".feather":
            feather.write_feather(rows, str(file), chunksize=2)  # compressed
        case ".arrow":
            with ipc.new_stream(file, rows.schema) as writer:
                writer.write_table(rows, 2)
    return file


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".tsv", ".feather", ".arrow"])
@pytest.mark.parametrize("passes", [0, 100])
def test_every_format_and_row_order_reads_the_same(
    tmp_path: Path, suffix: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_video, "MOST_PASSES", passes)  # 0: sorted in memory; 100: piece by piece
    assert read(save(table(), tmp_path / f"t{suffix}")) == EXPECTED
    order = np.random.default_rng(1).permutation(6)
    shuffled = read(save(table().take(pa.array(order)), tmp_path / f"u{suffix}"))
    assert shuffled == EXPECTED


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=6), group=st.integers(1, 12), passes=st.sampled_from([0, 3])
)
@settings(deadline=None)
def test_videos_may_begin_and_end_anywhere_in_a_row_group(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], group: int, passes: int
) -> None:
    videos = [f"{number:02d}" for number, size in enumerate(sizes) for _ in range(size)]
    frame = [i + 1 for size in sizes for i in range(size)]
    number = np.arange(len(frame), dtype=np.float64)
    file = tmp_path_factory.mktemp("groups") / "t.parquet"
    pq.write_table(pa.table({"video": videos, "frame": frame, "A": number, "B": -number}), file, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(by_video, "MOST_PASSES", passes)
        with LogitTable(str(file)) as logits:
            rows = list(logits.videos())
    assert [len(video.frame) for video in rows] == sizes
    assert np.concatenate([video.frame for video in rows]).tolist() == frame
    assert np.concatenate([video.logits for video in rows]).tolist() == np.column_stack([number, -number]).tolist()


def test_pandas_with_an_index(tmp_path: Path) -> None:
    table().to_pandas().iloc[::-1].to_parquet(tmp_path / "range.parquet")
    table().to_pandas().set_index(["video", "frame"]).to_parquet(tmp_path / "keys.parquet")
    assert read(tmp_path / "range.parquet") == EXPECTED
    assert read(tmp_path / "keys.parquet") == EXPECTED


def notes(kind: pa.DataType) -> dict[str, object]:
    return {"video": pa.array(VIDEOS, kind), "note": pa.array([*"ABCDEF"], kind)}


def scores(kind: pa.DataType) -> dict[str, object]:
    return {name: pa.array([Decimal(str(x)) for x in row], kind) for name, row in zip(CLASSES, LOGITS.T, strict=True)}


KINDS: dict[str, dict[str, object]] = {
    "large_string": notes(pa.large_string()),
    "string_view": notes(pa.string_view()),
    "dictionary": {name: column.dictionary_encode() for name, column in notes(pa.string()).items()},  # type: ignore[attr-defined]
    **{f"{kind} frames": {"frame": pa.array(FRAMES, kind)} for kind in (pa.int8(), pa.uint64(), pa.float64())},
    "float16": dict(zip(CLASSES, LOGITS.astype(np.float16).T, strict=True)),
    "float64": dict(zip(CLASSES, LOGITS.astype(np.float64).T, strict=True)),
    "decimal": scores(pa.decimal128(9, 3)),
}


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_column_reads_the_same(tmp_path: Path, kind: str, suffix: str) -> None:
    rows = table(**KINDS[kind])
    # Feather has no string views, nor has Parquet from some versions of pyarrow; Arrow streams have.
    file = tmp_path / f"t{'.arrow' if kind == 'string_view' else suffix}"
    assert read(save(rows, file)) == EXPECTED


def test_numbers_as_video_ids_keep_their_zeros_in_csv(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("video,frame,x,y\n007,1,0.5,1\n1001,2,0.5,1\n")
    with LogitTable(str(tmp_path / "t.csv"), columns=ColumnNames(classes=("x", "y"))) as logits:
        assert logits.ids == ("007", "1001")


def test_integers_are_video_ids_and_logits(tmp_path: Path) -> None:
    rows = pa.table({"video": [1001, 102], "frame": [1, 1], **{name: [1, None] for name in CLASSES}})
    pq.write_table(rows, tmp_path / "t.parquet")
    with LogitTable(str(tmp_path / "t.parquet")) as logits:
        assert logits.ids == ("1001", "102")
        first, second = logits.videos()
    assert first.logits.tolist() == [[1.0] * 8]
    assert np.isnan(second.logits).all()
    assert second.missing == logits.missing_logits == 8


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.large_list(pa.float16()), pa.list_(pa.float64(), 8)])
def test_one_list_column_of_logits(tmp_path: Path, kind: pa.DataType) -> None:
    lists = pa.array([[float(x) for x in row] for row in LOGITS], pa.list_(pa.float64())).cast(kind)
    pq.write_table(table(**dict.fromkeys(CLASSES), scores=lists), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", logits="scores", classes=CLASSES) == EXPECTED


def test_null_lists_and_items_are_missing_logits(tmp_path: Path) -> None:
    rows = {"video": ["x"] * 3, "frame": [1, 2, 3], "l": [[1.0, 2.0], None, [None, 4.0]]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    with LogitTable(str(tmp_path / "t.parquet"), columns=ColumnNames(logits="l", classes=("A", "B"))) as logits:
        (only,) = logits.videos()
    np.testing.assert_array_equal(only.logits, [[1, 2], [np.nan, np.nan], [np.nan, 4]])


def test_lists_of_another_length_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"video": ["x"], "frame": [1], "l": [[1.0, 2.0]]}), tmp_path / "t.parquet")
    with pytest.raises(AffcliError, match="a list of 2 numbers, and --classes names 3"):
        read(tmp_path / "t.parquet", logits="l", classes=("A", "B", "C"))
    with pytest.raises(UsageError, match="needs --classes"):
        read(tmp_path / "t.parquet", logits="l")


def classes_of(file: Path, **names: object) -> tuple[str, ...]:
    with LogitTable(str(file), columns=ColumnNames(**names)) as logits:  # type: ignore[arg-type]
        return logits.classes


def save_row(file: Path, **columns: object) -> Path:
    pq.write_table(pa.table({"video": ["x"], "frame": [1], **{name: [value] for name, value in columns.items()}}), file)
    return file


def test_the_eight_are_taken_wherever_they_stand_and_said_nothing_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = save_row(tmp_path / "t.parquet", valence=0.5, **dict.fromkeys(sorted(CLASSES), 1.0), other=2.0)
    assert classes_of(file) == CLASSES
    assert "taken from" not in caplog.text
    assert "left out: valence, other" in caplog.text


def test_else_the_floating_point_columns_are_taken_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = dict.fromkeys(["time_s", "timestamp", "score", "confidence", "box_x", "valence", "arousal"], 0.5)
    file = save_row(tmp_path / "t.parquet", **known, smile=1.0, age=30, frown=2.0)
    assert classes_of(file) == ("smile", "frown")
    assert "logits taken from the columns smile, frown" in caplog.text


def test_classes_name_the_columns_that_hold_logits(tmp_path: Path) -> None:
    file = save_row(tmp_path / "t.parquet", smile=1.0, age=30, frown=2.0)
    assert classes_of(file, classes=("frown", "age")) == ("frown", "age")
    with pytest.raises(AffcliError, match=r"no column 'grin' \(columns: smile, age, frown\)"):
        classes_of(file, classes=("frown", "grin"))


def test_map_renames_and_of_two_columns_of_one_class_the_larger_counts(tmp_path: Path) -> None:
    emotiefflib = sorted({*CLASSES, "Contempt"} - {"Other"})
    file = save_row(tmp_path / "t.parquet", **{name: float(i) for i, name in enumerate(emotiefflib)})
    with LogitTable(str(file), columns=ColumnNames(renamed={"Contempt": "Other"})) as logits:
        assert logits.classes == CLASSES
        assert next(logits.videos()).logits.tolist() == [[5, 0, 2, 3, 4, 6, 7, 1]]
    file = save_row(tmp_path / "u.parquet", **dict.fromkeys(CLASSES, 0.0), Contempt=3.0, Unknown=float("nan"))
    with LogitTable(str(file), columns=ColumnNames(renamed={"Contempt": "Other", "Unknown": "Other"})) as logits:
        assert next(logits.videos()).logits[0, 7] == 3
    with pytest.raises(AffcliError, match="no column 'Disdain'"):
        classes_of(file, renamed={"Disdain": "Pride"})


def test_a_table_with_labels_only_has_no_logits(tmp_path: Path) -> None:
    with LogitTable(str(save_row(tmp_path / "t.parquet", label="Fear"))) as logits:
        assert not logits.has_logits
        assert next(logits.videos()).carried["label"].to_pylist() == ["Fear"]


def test_frame_zero_names_the_offset_that_helps(tmp_path: Path) -> None:
    rows = table(frame=[1, 0, 0, 1, 0, 0])
    pq.write_table(rows, tmp_path / "t.parquet")
    with pytest.raises(AffcliError, match=r"column 'frame' holds 0; frames are 1-based.*--frame-offset 1"):
        read(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet", frame_offset=1) == EXPECTED


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": None, "clip": VIDEOS}, r"no column 'video' \(columns: clip, frame, Neutral.*--video-column"),
        ({"frame": None}, r"no column 'frame' .*--frame-column"),
        ({"video": ["a", None, "b", "c", "d", "e"]}, "column 'video' is empty"),
        ({"frame": [1, None, 2, 3, 4, 5]}, "column 'frame' is empty in 1 row"),
        ({"frame": [1, 1.5, 2, 3, 4, 5]}, "column 'frame' holds double, not whole numbers"),
        ({"frame": [-3, 1, 2, 3, 4, 5]}, "column 'frame' holds -3"),
        ({"frame": [1 << 40, 1, 2, 3, 4, 5]}, "too large for a frame"),
        ({name: [*"abcdef"] for name in CLASSES}, "column 'Neutral' holds text, not numbers"),
        (dict.fromkeys(CLASSES), "no columns of logits: .*--classes"),
        ({**dict.fromkeys(CLASSES), "scores": [[1.0]] * 6}, "Name them with --logits scores --classes"),
    ],
)
def test_what_cannot_be_read_gets_a_line_that_helps(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    pq.write_table(table(**changes), tmp_path / "t.parquet")
    with pytest.raises(AffcliError, match=message) as error:
        read(tmp_path / "t.parquet")
    assert str(tmp_path / "t.parquet") in str(error.value)
    assert "\n" not in str(error.value)


def test_features_are_not_taken_for_logits(tmp_path: Path) -> None:
    schema = with_metadata(visual_schema(2), kind=VISUAL)
    pq.write_table(schema.empty_table(), tmp_path / "v.parquet")
    with pytest.raises(AffcliError, match="holds visual features, not logits"):
        read(tmp_path / "v.parquet")


def test_spans_have_a_first_and_a_last_frame(tmp_path: Path) -> None:
    rows = {"video": ["x", "x"], "start": [4, 0], "end": [6, 3], "A": [1.0, 2.0], "B": [1.0, 2.0]}
    pq.write_table(pa.table(rows), tmp_path / "t.parquet")
    with LogitTable(str(tmp_path / "t.parquet"), columns=ColumnNames(frame_offset=1)) as logits:
        (only,) = logits.videos()
        assert only.end is not None
        assert (only.frame.tolist(), only.end.tolist()) == ([1, 5], [4, 7])
    pq.write_table(pa.table({**rows, "start": [4, 1], "end": [3, 3]}), tmp_path / "t.parquet")
    message = r"video 'x' has a span that ends before it starts \(start 4, end 3\)"
    with LogitTable(str(tmp_path / "t.parquet")) as logits, pytest.raises(AffcliError, match=message):
        list(logits.videos())


def test_a_folder_of_tables_is_one_table(tmp_path: Path) -> None:
    save(table().slice(0, 3), tmp_path / "1.parquet")
    save(table().slice(3, 2), tmp_path / "2.csv")
    save(table().slice(5), tmp_path / "3.feather")
    (tmp_path / "readme.txt").write_text("not a table")
    assert read(tmp_path) == EXPECTED
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(AffcliError, match="no tables in this folder"):
        read(empty)


def test_other_columns_are_carried_or_those_that_are_wanted(tmp_path: Path) -> None:
    pq.write_table(table(extra=[1] * 6), tmp_path / "t.parquet")
    with LogitTable(str(tmp_path / "t.parquet")) as logits:
        assert logits.carried_schema.names == ["note", "extra"]
    with LogitTable(str(tmp_path / "t.parquet"), carry=("extra", "face")) as logits:
        assert logits.carried_schema.names == ["extra"]


def test_a_sorted_table_is_held_one_video_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(table().sort_by("video"), tmp_path / "t.parquet", row_group_size=2)
    monkeypatch.setattr(by_video.TableReader, "read", None)  # the whole table is never asked for
    assert read(tmp_path / "t.parquet") == EXPECTED


def test_missing_logits_are_counted_in_one_note(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pq.write_table(table(Fear=[np.nan, None, 1, 2, 3, 4]), tmp_path / "t.parquet")
    with LogitTable(str(tmp_path / "t.parquet")) as logits:
        list(logits.videos())
        logits.note_missing()
    assert caplog.text.count("left out 2 missing logits") == 1
