"""Single pictures out of Parquet files, which can only be read row group by row group."""

from __future__ import annotations

import io
import threading
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from affcli.errors import AffcliError, PictureError
from affcli.facesets.readers.parquet_images import picture_column
from affcli.media.pictures import open_picture

_GROUPS: Final = 2  # held at a time: pictures are asked for in their order, by several threads
_lock = threading.Lock()


def picture_in(path: str, group: int, row: int) -> NDArray[np.uint8] | None:
    """The picture in a row of a row group, uint8 [height, width, 3] RGB; None for what is not readable as one."""
    try:
        with _lock:
            encoded = _group(path, group)[row].as_py()
        return None if encoded is None else open_picture(io.BytesIO(encoded))
    except (AffcliError, pa.ArrowException, PictureError, OSError):
        return None


@lru_cache(maxsize=_GROUPS)
def _group(path: str, group: int) -> pa.ChunkedArray:
    """The encoded pictures of a row group."""
    file = pq.ParquetFile(path)
    name = picture_column(Path(path), file.schema_arrow)
    column = file.read_row_group(group, columns=[name]).column(name)
    return pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
