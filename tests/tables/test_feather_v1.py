"""Feather of version 1, which pyarrow reads without checks: in another process."""

from __future__ import annotations

import resource
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.feather as feather
import pytest

from affcli.errors import TableError
from affcli.tables import feather_v1
from affcli.tables.reader import TableReader


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "t.feather"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        feather.write_feather(pa.table({"video": ["a", "a"], "frame": [1, 2], "Fear": [0.5, 0.25]}), path, version=1)
    return path


def test_it_is_read(file: Path) -> None:
    with TableReader(str(file)) as reader:
        assert reader.read().to_pydict() == {"video": ["a", "a"], "frame": [1, 2], "Fear": [0.5, 0.25]}


def test_a_damaged_one_is_one_line_or_the_same_table_and_takes_no_memory_for_what_it_only_tells_of(file: Path) -> None:
    """The length of a column's name is made 2 GB, which pyarrow would copy from whatever lies behind it in memory."""
    whole = file.read_bytes()
    at = whole.rindex(b"\x05\0\0\0video")
    file.write_bytes(whole[:at] + (0x7FFFFFFF).to_bytes(4, "little") + whole[at + 4 :])
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with pytest.raises(TableError, match=r"t\.feather: damaged, or no Feather file of version 1: "):
        TableReader(str(file))
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < before + (600 << 10)


def test_one_that_ends_its_reader_is_damaged_and_what_pyarrow_warns_of_is_not_the_reason(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feather_v1, "_CONVERT", "import os, warnings; warnings.warn('it is old'); os.abort()")
    with pytest.raises(TableError, match=r"t\.feather: damaged, .* 1: it ended the process that read it\.$"):
        TableReader(str(file))
