"""`affcli score` against DuckDB and polars, the fastest ways to the same figures, as whole processes.

python tests/benchmarks/bench_score.py [FOLDER]     (FOLDER keeps the synthetic tables; default: a temporary one)
Needs duckdb and polars: pip install 'affcli[bench]'.

2.6 million frames of 400 videos, logits and labels in Parquet tables made elsewhere, without intervals; and 1.56
million frames with a label file each, as Aff-Wild2 has them. Processor time is compared, since a busy machine does not
change it much, and wall time. Targets: less of both than either library.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import affcli, cpu_medians, in_folder, python, verdict
from tables import frame_logits, lengths

from affcli.schema import CLASSES

VIDEOS, FRAMES_OF_EACH = 400, 6_500

FIGURE = """
m = {(truth, predicted): n for truth, predicted, n in rows}
f1 = [2 * m.get((c, c), 0) / max(1, sum(m.get((c, d), 0) + m.get((d, c), 0) for d in C)) for c in C]
print(sum(f1) / 8)
"""
DUCKDB = """
import sys, duckdb
table, labels = sys.argv[1:]
C = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()
largest = f"case greatest({','.join(C)}) " + " ".join(f"when {c} then '{c}'" for c in C) + " end"
rows = duckdb.sql(
    f"select t.label, {largest} as predicted, count(*) from '{table}' p join '{labels}' t using (video, frame) "
    "group by 1, 2"
).fetchall()
"""
POLARS = """
import sys, polars as pl
table, labels = sys.argv[1:]
C = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()
best = pl.max_horizontal(C)
largest = pl.coalesce([pl.when(pl.col(c) == best).then(pl.lit(c)) for c in C]).alias("predicted")
predicted = pl.scan_parquet(table).select("video", "frame", largest)
counts = predicted.join(pl.scan_parquet(labels), on=["video", "frame"]).group_by("label", "predicted").len()
rows = counts.collect().rows()
"""
DUCKDB_TEXTS = """
import sys, duckdb
table, labels = sys.argv[1:]
C = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()
lines = f"read_csv('{labels}/*.txt', header=false, skip=1, columns={{'t': 'tinyint'}}, filename=true, parallel=false)"
number = "row_number() over (partition by filename) as frame"
truth = f"select *, {number}, parse_filename(filename, true) as video from {lines}"
rows = duckdb.sql(
    f"select truth.t, p.label, count(*) from ({truth}) truth join '{table}' p using (video, frame) where t >= 0 "
    "group by 1, 2"
).fetchall()
rows = [(C[truth], predicted, n) for truth, predicted, n in rows]
"""
POLARS_TEXTS = """
import sys, polars as pl
table, labels = sys.argv[1:]
C = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()
how = {"has_header": False, "skip_rows": 1, "schema": {"truth": pl.Int8}, "include_file_paths": "file"}
lines = pl.scan_csv(labels + "/*.txt", **how)
frame = pl.int_range(1, pl.len() + 1, dtype=pl.Int32).over("file")
video = pl.col("file").str.split("/").list.last().str.strip_suffix(".txt")
truth = lines.with_columns(frame=frame, video=video).filter(pl.col("truth") >= 0)
predicted = pl.scan_parquet(table).select("video", "frame", "label")
counts = truth.join(predicted, on=["video", "frame"]).group_by("truth", "label").len().collect()
rows = [(C[number], label, n) for number, label, n in counts.rows()]
"""


def foreign_tables(folder: Path) -> tuple[Path, Path]:
    """Logits and labels as other tools write them: no metadata, large row groups; made once."""
    table, labels = folder / "P.parquet", folder / "T.parquet"
    if not labels.exists():
        rng = np.random.default_rng(0)
        count = VIDEOS * FRAMES_OF_EACH
        names = pa.array([f"video_{i:04d}" for i in range(VIDEOS)])
        video = names.take(pa.array(np.repeat(np.arange(VIDEOS), FRAMES_OF_EACH)))
        keys = {"video": video, "frame": np.tile(np.arange(1, FRAMES_OF_EACH + 1), VIDEOS)}
        logits = {name: rng.normal(size=count).astype(np.float32) for name in CLASSES}
        truth = pa.array(CLASSES).take(pa.array(rng.integers(0, len(CLASSES), count)))
        pq.write_table(pa.table({**keys, **logits}), table)
        pq.write_table(pa.table({**keys, "label": truth}), labels)
    return table, labels


def label_folder(folder: Path) -> Path:
    """A label file for each video: runs of one class, three frames in ten not annotated, one line more than frames."""
    labels = folder / "labels"
    labels.mkdir(exist_ok=True)
    numbers = np.random.default_rng(2)
    for index, count in enumerate(lengths()):
        runs = numbers.choice([-1, *range(8)], count // 50 + 2, p=[0.3, *[0.7 / 8] * 8])
        lines = np.repeat(runs, 50)[: count + 1]
        text = "\n".join([",".join(CLASSES), *map(str, lines)]) + "\n"
        (labels / f"{index:03d}-30-1280x720.txt").write_text(text)
    return labels


def main(folder: Path) -> bool:
    """Prints the ratios; true where the targets are met."""
    tables = against(*foreign_tables(folder), {"DuckDB": DUCKDB, "polars": POLARS}, "tables")
    texts = against(
        frame_logits(folder), label_folder(folder), {"DuckDB": DUCKDB_TEXTS, "polars": POLARS_TEXTS}, "label files"
    )
    return tables and texts


def against(table: Path, labels: Path, scripts: dict[str, str], what: str) -> bool:
    ours = affcli("score", table, "--labels", labels, "--bootstrap", 0, "-q")
    others = [python(script + FIGURE, table, labels) for script in scripts.values()]
    mine, *theirs = cpu_medians(ours, *others)
    met = []
    for name, (cpu, wall) in zip(scripts, theirs, strict=True):
        met.append(verdict(f"{what}: score {mine[0]:.2f} s of CPU / {name} {cpu:.2f} s", mine[0] / cpu, most=1))
        met.append(verdict(f"{what}: score {mine[1]:.2f} s / {name} {wall:.2f} s", mine[1] / wall, most=1))
    return all(met)


if __name__ == "__main__":
    in_folder(main)
