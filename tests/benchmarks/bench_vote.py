"""`affcli vote` on 12.3 million rows of windowed logits, against bare pyarrow, polars and the usual pandas script.

python tests/benchmarks/bench_vote.py [FOLDER]     (FOLDER keeps the synthetic tables; default: a temporary one)

Targets: at most twice the time of reading the input and writing the result with bare pyarrow; as a whole process at
least 3 times faster than pandas, and less processor time than polars takes (pip install 'affcli[bench]'); memory that
does not grow with the number of videos; a small vote under 3 times the start of its libraries.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from measure import affcli, cpu_medians, in_folder, medians, peak, python, run, verdict
from tables import windowed_logits

from affcli.cli import run as affcli_here

PANDAS = """
import sys
import pandas as pd
table = pd.read_parquet(sys.argv[1])
table.groupby(["video", "frame"]).mean(numeric_only=True).to_parquet(sys.argv[2])
"""
POLARS = """
import sys, polars as pl
C = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()
rows = pl.scan_parquet(sys.argv[1])
per_frame = [pl.col("time_s").first(), pl.col("face").first(), pl.col("audio").first(), pl.len().alias("votes")]
means = rows.group_by("video", "frame").agg(*per_frame, pl.col(C).mean()).sort("video", "frame")
best = pl.max_horizontal(C)
label = pl.coalesce([pl.when(pl.col(c) == best).then(pl.lit(c)) for c in C]).alias("label")
means.with_columns(label).collect().write_parquet(sys.argv[2], compression="snappy")
"""
LIBRARIES = "import numpy, pyarrow.parquet, click"


def main(folder: Path) -> bool:
    """Prints the ratios; true where all targets are met."""
    source, output = windowed_logits(folder), folder / "voted.parquet"
    affcli_here(["vote", str(source), "-o", str(output), "-f"])
    speed = [against_pyarrow(source, output), against_pandas(source, output), against_polars(source, output)]
    return all([*speed, memory(source, output), start(source)])


def against_pyarrow(source: Path, output: Path) -> bool:
    result = pq.read_table(output)

    def bare() -> None:
        pq.read_table(source)
        pq.write_table(result, output.with_suffix(".bare"))

    ours, theirs = medians(lambda: affcli_here(["vote", str(source), "-o", str(output), "-f"]), bare)
    return verdict(f"vote {ours:.2f} s / bare pyarrow {theirs:.2f} s", ours / theirs, most=2)


def against_pandas(source: Path, output: Path) -> bool:
    ours = affcli("vote", source, "-o", output, "-f")
    usual = python(PANDAS, source, output.with_suffix(".pandas"))
    mine, theirs = medians(lambda: run(ours), lambda: run(usual))
    return verdict(f"pandas {theirs:.2f} s / vote {mine:.2f} s, whole processes", theirs / mine, least=3)


def against_polars(source: Path, output: Path) -> bool:
    ours = affcli("vote", source, "-o", output, "-f")
    (mine, _), (theirs, _) = cpu_medians(ours, python(POLARS, source, output.with_suffix(".polars")))
    return verdict(f"vote {mine:.2f} s of CPU / polars {theirs:.2f} s, whole processes", mine / theirs, most=1)


def memory(source: Path, output: Path) -> bool:
    """Three times the table, each copy with ids of its own: the peak must stay."""
    once = peak("vote", source, "-o", output, "-f")
    folder = source.parent / "three"
    folder.mkdir(exist_ok=True)
    for copy in "ABC":
        _renamed(source, folder / f"{copy}.parquet", copy)
    thrice = peak("vote", folder, "-o", output, "-f")
    return verdict(f"peak {thrice} MB for 3 tables / {once} MB for 1", thrice / once, most=1.25)


def _renamed(source: Path, output: Path, prefix: str) -> None:
    if output.exists():
        return
    import pyarrow as pa
    import pyarrow.compute as pc

    file = pq.ParquetFile(source)
    with pq.ParquetWriter(output, file.schema_arrow, use_dictionary=["video"]) as writer:
        for index in range(file.num_row_groups):
            rows = file.read_row_group(index)
            video = pc.binary_join_element_wise(pa.scalar(prefix), rows["video"], "")
            writer.write_table(rows.set_column(0, rows.schema.field("video"), video))


def start(source: Path) -> bool:
    small = source.parent / "small.parquet"
    pq.write_table(pq.ParquetFile(source).read_row_group(0).slice(0, 100), small)
    command = affcli("vote", small, "-o", small.with_suffix(".out.parquet"), "-f")
    ours, libraries, helped, click = medians(
        lambda: run(command),
        lambda: run(python(LIBRARIES)),
        lambda: run(affcli("--help")),
        lambda: run(python("import click")),
    )
    small_vote = verdict(f"vote of 100 rows {ours:.2f} s / its libraries {libraries:.2f} s", ours / libraries, most=3)
    return verdict(f"--help {helped:.2f} s / import click {click:.2f} s", helped / click, most=4) and small_vote


if __name__ == "__main__":
    in_folder(main)
