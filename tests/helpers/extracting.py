"""What the tests of extraction share: small pictures with and without a face, columns of the tables that come out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from helpers.media_fixtures import astronaut

SMALL = astronaut()[::2, ::2]  # 256 × 256, the face about 60 pixels wide
BLANK = np.full_like(SMALL, 90)


def column(path: Path, name: str, video: str | None = None) -> list:  # type: ignore[type-arg]
    table = pq.read_table(path)
    if video is not None:
        table = table.filter(np.array(table["video"].to_pylist()) == video)
    return table[name].to_pylist()
