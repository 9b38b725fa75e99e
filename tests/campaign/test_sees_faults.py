"""The campaign is not blind: with each of these faults in affcli, it finds one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from campaign.book import Book
from campaign.campaign import run

pytestmark = pytest.mark.campaign

# Code that puts the fault into the worker's affcli, the kind of inputs, how many, and what the campaign says then.
FAULTS = {
    "checksums are not verified": (
        "import functools, pyarrow.parquet as pq, affcli.tables.pieces as pieces\n"
        "def plain(path, about, text):\n"
        "    return pq.ParquetFile(path, metadata=about, pre_buffer=False)\n"
        "import affcli.tables.reader as reader; reader.parquet_pieces = plain\n",
        "own tables",
        200,
        "another result of",
    ),
    "a damaged row group is passed over": (
        "from affcli.tables.pieces import ParquetPieces\n"
        "read = ParquetPieces.read\n"
        "def swallowing(self, index, columns):\n"
        "    try: return read(self, index, columns)\n"
        "    except Exception: return self.schema.empty_table().select(columns)\n"
        "ParquetPieces.read = swallowing\n",
        "own tables",
        200,
        "",
    ),
    "the last row of a file is lost": (
        "from affcli.tables.by_video import RowsByVideo\n"
        "rows = RowsByVideo.rows\n"
        "RowsByVideo.rows = lambda self, video: rows(self, video).slice(0, max(1, len(rows(self, video)) - 1))\n",
        "odd tables",
        100,
        "lacks ",
    ),
    "votes are added, not averaged": (
        "import numpy as np\n"
        "from affcli.predictions.frame_sums import FrameSums\n"
        "FrameSums.mean = lambda self: np.transpose(self._sums)\n",
        "odd tables",
        200,
        "another mean",
    ),
    "errors do not name the file": (
        "import contextlib, affcli.errors as errors\n"
        "from affcli.tables.reader import TableReader\n"
        "@contextlib.contextmanager\n"
        "def nameless(self):\n"
        "    try: yield\n"
        "    except Exception as error: raise errors.TableError('cannot be read') from error\n"
        "TableReader.named_errors = nameless\n",
        "tables",
        60,
        "the file is not named",
    ),
    "unfinished outputs stay": (
        "import os, pathlib\n"
        "unlink = pathlib.Path.unlink\n"
        "def keeping(self, *given, **how):\n"
        "    return None if '.affcli-' in self.name else unlink(self, *given, **how)\n"
        "pathlib.Path.unlink = keeping\n",
        "tables",
        200,
        "leaves ",
    ),
    "an input that failed is not told of": (
        "import affcli.jobs.job as job\njob.log.error = lambda *given: None\n",
        "sounds",
        6,
        "neither rows nor a message",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, kind, count, said = FAULTS[fault]
    (tmp_path / "sitecustomize.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", ""))))
    book = Book()
    run(kind, range(count), 3, tmp_path / "run", book)
    found = [text for text in book.faults.get(kind, {}) if said in text]
    assert found, f"\n{book}"
