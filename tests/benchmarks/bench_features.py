"""Reading a feature table of a million frames into training's memory, against pyarrow reading the same table.

python tests/benchmarks/bench_features.py [FOLDER]     (FOLDER keeps the 1.5 GB table; default: a temporary one)

317 videos, 768 numbers a frame, a frame in twenty without a face. Target: at least 0.8 times pyarrow's speed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import in_folder, medians, verdict
from tables import lengths

from affcli.features.joined import JoinedFeatures
from affcli.features.stream import FeatureTable
from affcli.models.fusion.feature_storage import MEMORY
from affcli.models.fusion.windows import Frames
from affcli.schema import VISUAL, visual_schema, with_metadata
from affcli.tables.writer import TableWriter

FRAMES, SIZE = 1_000_000, 768


def table(folder: Path) -> Path:
    path = folder / "features.parquet"
    if path.exists():
        return path
    random = np.random.default_rng(0)
    schema = visual_schema(SIZE)
    with TableWriter(str(path), with_metadata(schema, kind=VISUAL, encoder={"name": "random", "size": SIZE})) as writer:
        counts = lengths()
        for index, count in enumerate(counts * FRAMES // counts.sum()):
            numbers = random.standard_normal((count, SIZE), np.float32).astype(np.float16)
            face = random.random(count) > 0.05
            columns = {
                "video": [f"{index:03d}"] * count,
                "frame": np.arange(1, count + 1, dtype=np.int32),
                "face": face,
                "feature": pa.FixedSizeListArray.from_arrays(pa.array(numbers.ravel()), SIZE, mask=pa.array(~face)),
            }
            rows = [columns.get(field.name, pa.nulls(count, field.type)) for field in schema]
            writer.write(pa.table(rows, schema=schema))
    return path


def main(folder: Path) -> bool:
    """Prints the ratio; true where the target is met."""
    path = table(folder)

    def ours() -> None:
        joined = JoinedFeatures(FeatureTable(str(path)), None, sizes=(SIZE, 1))
        Frames.load(joined, joined.videos, MEMORY)

    mine, theirs = medians(ours, lambda: pq.read_table(path))
    return verdict(f"pyarrow {theirs:.2f} s / ours {mine:.2f} s", theirs / mine, least=0.8)


if __name__ == "__main__":
    in_folder(main)
