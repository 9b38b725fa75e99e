"""A video that takes more memory than there is is refused before it is read; the next one is not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affcli.errors import TableError
from affcli.tables import by_video
from affcli.tables.by_video import RowsByVideo
from affcli.tables.reader import TableReader

WIDTH = 8 + 4  # of the id, and of a frame number


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_video, "FEW_BYTES", 0)
    monkeypatch.setattr(by_video, "free_memory", lambda: 3 * 10 * WIDTH)


def rows(file: Path, videos: list[str]) -> RowsByVideo:
    frame = pa.array(range(1, len(videos) + 1), pa.int32())
    pq.write_table(pa.table({"video": videos, "frame": frame}), file, row_group_size=8)
    return RowsByVideo(TableReader(str(file)), "video", ["video", "frame"])


@pytest.mark.usefixtures("little_memory")
def test_a_video_larger_than_memory_is_refused_with_its_rows(tmp_path: Path) -> None:
    found = rows(tmp_path / "t.parquet", ["a"] * 10 + ["b"] * 11)
    assert found.rows("a").num_rows == 10
    with pytest.raises(TableError, match=r"t\.parquet: video 'b' has 11 rows, which take about 0\.0 GB of memory"):
        found.rows("b")


@pytest.mark.usefixtures("little_memory")
def test_a_table_in_any_order_that_is_larger_than_memory_is_refused(tmp_path: Path) -> None:
    mixed = [f"v{i % 4}" for i in range(64)]
    with pytest.raises(TableError, match="the table, which is not sorted by video, has 64 rows"):
        rows(tmp_path / "t.parquet", mixed)
