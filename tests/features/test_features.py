"""Feature tables from anywhere, and the join of picture and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.feature_tables import TOY, write_audio, write_visual

from affcli.errors import AffcliError
from affcli.features.joined import JoinedFeatures, note_other_alignment
from affcli.features.stream import FeatureTable, no_features, open_stream, refuse_other_encoder
from affcli.schema import AUDIO, VISUAL

NAN = np.nan


def rows(*values: float) -> np.ndarray:
    """One 2-d feature for each value; NaN is a missing frame."""
    return np.array([[value, value + 0.5] for value in values])


def join(tmp_path: Path, visual: dict[str, np.ndarray] | None, audio: dict[str, np.ndarray] | None) -> JoinedFeatures:
    tables = [
        FeatureTable(str(write(tmp_path / f"{write.__name__}.parquet", features))) if features else None
        for write, features in ((write_visual, visual), (write_audio, audio))
    ]
    return JoinedFeatures(*tables, sizes=(2, 2))


def test_the_join_is_full_and_outer(tmp_path: Path) -> None:
    joined = join(tmp_path, {"a": rows(1, NAN, 3), "b": rows(4)}, {"a": rows(5, 6), "c": rows(7, 8)})
    assert joined.videos == ["a", "b", "c"]
    a, b, c = joined
    assert a.visual.features[:, 0].tolist() == [1, 0, 3]
    assert a.visual.valid.tolist() == [True, False, True]
    assert a.audio.features[:, 0].tolist() == [5, 6, 0]
    assert a.audio.valid.tolist() == [True, True, False]
    assert b.audio.valid.tolist() == [False]
    assert c.visual.valid.tolist() == [False, False]
    assert c.frames == 2


def test_the_own_sound_of_a_video_is_not_cut_to_its_pictures(tmp_path: Path) -> None:
    [a] = join(tmp_path, {"a": rows(1)}, {"a": rows(5, 6, 7)})
    assert a.frames == 3
    assert a.visual.valid.tolist() == [True, False, False]
    assert a.time_s.tolist() == [0, 0.04, 0.08]


def test_left_right_and_tracked_persons_share_the_sound_of_their_video(tmp_path: Path) -> None:
    visual = {"x_left": rows(1, 2), "x_right": rows(3, 4), "y#1": rows(5), "z": rows(6)}
    joined = join(tmp_path, visual, {"x": rows(7, 8, 9), "y": rows(10), "z_left": rows(11)})
    # `x` and `y` are sound tracks without pictures of their own: taken by others, they make no rows
    assert joined.videos == ["x_left", "x_right", "y#1", "z", "z_left"]
    left, right, tracked, alone, _ = joined
    assert left.audio.features[:, 0].tolist() == right.audio.features[:, 0].tolist() == [7, 8]
    assert left.frames == 2
    assert tracked.audio.features[:, 0].tolist() == [10]
    assert not alone.audio.valid.any()


def test_the_exact_name_is_tried_before_a_suffix_is_stripped(tmp_path: Path) -> None:
    joined = join(tmp_path, {"x_left": rows(1)}, {"x_left": rows(2), "x": rows(3)})
    assert joined.videos == ["x", "x_left"]
    assert joined.read("x_left").audio.features[0, 0] == 2


def test_one_table_alone_is_enough(tmp_path: Path) -> None:
    [only] = join(tmp_path, None, {"a": rows(1, 2)})
    assert only.visual.features.shape == (2, 2)
    assert not only.visual.valid.any()


def foreign(path: Path, table: dict[str, object]) -> FeatureTable:
    pq.write_table(pa.table(table), path)
    return FeatureTable(str(path))


def test_a_table_made_elsewhere_may_be_in_any_order_with_gaps_and_plain_lists(tmp_path: Path) -> None:
    features = [[1.0, 2.0], [3.0, 4.0], None, [5.0, float("nan")], [1e9, -1e9]]
    columns = {"video": ["b", "a", "a", "b", "a"], "frame": [2, 4, 1, 1, 2], "feature": features}
    table = foreign(tmp_path / "t.parquet", columns)
    assert table.encoder is None
    assert table.size == 2
    a, b = table.read("a"), table.read("b")
    assert a.valid.tolist() == [False, True, False, True]
    assert a.features.tolist() == [[0, 0], [65504, -65504], [0, 0], [3, 4]]
    assert b.valid.tolist() == [False, True]
    assert np.isnan(a.time_s).all()


def test_a_frame_without_a_face_is_missing_whatever_its_feature_holds(tmp_path: Path) -> None:
    columns = {"video": ["a", "a", "a"], "frame": [1, 2, 3], "face": [True, False, None], "feature": [[1.0]] * 3}
    stream = foreign(tmp_path / "t.parquet", columns).read("a")
    assert stream.valid.tolist() == [True, False, False]
    assert stream.features[:, 0].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"video": ["a"], "frame": [1]}, "no column 'feature'"),
        ({"video": ["a"], "frame": [1], "feature": [1.0]}, "not lists of numbers"),
        ({"video": ["a"], "frame": [0], "feature": [[1.0]]}, "frame 0 in 'a'"),
        ({"video": ["a", "a"], "frame": [3, 3], "feature": [[1.0], [1.0]]}, "two rows for frame 3 of 'a'"),
        ({"video": ["a"], "frame": [None], "feature": [[1.0]]}, "is empty in 1 row"),
        ({"video": ["a"], "frame": [1], "feature": pa.array([None], pa.list_(pa.float32()))}, "no feature at all"),
    ],
)
def test_tables_that_cannot_be_used_are_named(tmp_path: Path, columns: dict[str, object], said: str) -> None:
    with pytest.raises(AffcliError, match=said) as caught:
        foreign(tmp_path / "t.parquet", columns)
    assert "t.parquet" in str(caught.value)


def test_features_of_different_length_are_an_error(tmp_path: Path) -> None:
    columns = {"video": ["a", "a"], "frame": [1, 2], "feature": [[1.0, 2.0], [3.0]]}
    with pytest.raises(AffcliError, match="differ in length"):
        foreign(tmp_path / "t.parquet", columns).read("a")


def test_rows_are_read_across_row_groups(tmp_path: Path) -> None:
    features = {f"v{i}": rows(*range(10 * i, 10 * i + 7)) for i in range(5)}
    whole = pq.read_table(write_visual(tmp_path / "v.parquet", features))
    pq.write_table(whole, tmp_path / "small.parquet", row_group_size=3)
    table = FeatureTable(str(tmp_path / "small.parquet"))
    for video, expected in features.items():
        assert np.array_equal(table.read(video).features, expected.astype(np.float16))


def test_tables_given_for_the_wrong_stream_are_refused(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.parquet", {"a": rows(1)})
    with pytest.raises(AffcliError, match="exchanged"):
        open_stream(str(path), kind=VISUAL)
    assert open_stream(str(path), kind=AUDIO) is not None
    assert open_stream(None, kind=AUDIO) is None


def test_features_of_another_encoder_or_size_are_refused_by_name(tmp_path: Path) -> None:
    table = FeatureTable(str(write_visual(tmp_path / "v.parquet", {"a": rows(1)})))
    refuse_other_encoder(table, {**TOY, "size": 2})
    refuse_other_encoder(None, {**TOY, "size": 2})
    with pytest.raises(AffcliError, match=r"encoder toy .* trained with beit-base"):
        refuse_other_encoder(table, {**TOY, "name": "beit-base", "fingerprint": "ffff", "size": 2})
    with pytest.raises(AffcliError, match="class token"):
        refuse_other_encoder(table, {**TOY, "feature": "class token", "size": 2})
    with pytest.raises(AffcliError, match=r"have 2 numbers.*of 768"):
        refuse_other_encoder(table, {**TOY, "size": 768})
    made_elsewhere = foreign(tmp_path / "f.parquet", {"video": ["a"], "frame": [1], "feature": [[1.0, 2.0]]})
    refuse_other_encoder(made_elsewhere, {**TOY, "size": 2})


def test_another_alignment_is_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_visual(tmp_path / "v.parquet", {"a": rows(1)}, alignment={"template": "arcface-112", "size": 112})
    joined = JoinedFeatures(FeatureTable(str(path)), None, sizes=(2, 2))
    with caplog.at_level("WARNING", logger="affcli"):
        note_other_alignment(joined, {"template": "arcface-112", "size": 112})
        assert not caplog.records
        note_other_alignment(joined, {"template": "pictures as they are", "size": 112})
    assert "aligned" in caplog.text


def test_padding_adds_missing_frames() -> None:
    stream = no_features(2, 3)
    assert stream.padded(2) is stream
    assert stream.padded(5).valid.tolist() == [False] * 5


def test_a_folder_of_tables_is_one_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "V").mkdir()
    write_visual(tmp_path / "V" / "part-2.parquet", {"a": rows(1, NAN)})
    write_visual(tmp_path / "V" / "part-1.parquet", {"b": rows(2), "c": rows(3, 4)})
    tables = open_stream(str(tmp_path / "V"), kind=VISUAL)
    joined = JoinedFeatures(tables, None, sizes=(0, 2))
    assert joined.videos == ["a", "b", "c"]
    assert [video.visual.features[:, 0].tolist() for video in joined] == [[1, 0], [2], [3, 4]]
    assert [joined.frames(video) for video in joined.videos] == [2, 1, 2]
    assert joined.encoders["visual"]["name"] == TOY["name"]
    joined.close()
    assert not caplog.records
    (tmp_path / "V" / "part-3.parquet.parts").mkdir()
    with JoinedFeatures(open_stream(str(tmp_path / "V"), kind=VISUAL), None, sizes=(0, 2)):
        assert "part-3.parquet.parts. Its videos are missing" in caplog.text


def test_tables_of_one_folder_must_go_together(tmp_path: Path) -> None:
    folder = tmp_path / "V"
    folder.mkdir()
    write_visual(folder / "1.parquet", {"a": rows(1)})
    write_visual(folder / "2.parquet", {"b": rows(1), "a": rows(1)})
    with pytest.raises(AffcliError, match=r"1\.parquet and .*2\.parquet both hold the video 'a'"):
        open_stream(str(folder), kind=VISUAL)
    write_visual(folder / "2.parquet", {"b": rows(1)}, encoder={**TOY, "fingerprint": "4567"})
    with pytest.raises(AffcliError, match="do not go together: their encoder differs"):
        open_stream(str(folder), kind=VISUAL)
    write_visual(folder / "2.parquet", {"b": rows(1)}, alignment={"template": "none"})
    with pytest.raises(AffcliError, match="aligned differently"):
        open_stream(str(folder), kind=VISUAL)
    write_audio(folder / "2.parquet", {"b": rows(1)})
    with pytest.raises(AffcliError, match=r"2\.parquet: holds audio features"):
        open_stream(str(folder), kind=VISUAL)
