"""What `vote`, `smooth` and `score` do, as users of pandas, polars and DuckDB would write it: one script for each.

A script gets the input and the output (of `score` predictions, labels and output), and writes a Parquet table, or the
macro F1. The medians at the ends of a video differ from scipy's in none of them: the end value is repeated.
"""

from __future__ import annotations

from typing import Final

_CLASSES: Final = 'C = "Neutral Anger Disgust Fear Happiness Sadness Surprise Other".split()\n'
_PANDAS: Final = "import sys\nimport numpy as np\nimport pandas as pd\n" + _CLASSES
_POLARS: Final = "import sys\nimport polars as pl\n" + _CLASSES
_DUCKDB: Final = "import sys\nimport duckdb\n" + _CLASSES
_POLARS_LABEL: Final = (
    "best = pl.max_horizontal(C)\nlabel = pl.coalesce([pl.when(pl.col(c) == best).then(pl.lit(c)) for c in C])\n"
)
_DUCKDB_LABEL: Final = (
    "largest = f\"case greatest({','.join(C)}) \" + ' '.join(f\"when {c} then '{c}'\" for c in C) + ' end'\n"
)
_F1: Final = """
m = {(truth, guess): n for truth, guess, n in rows}
f1 = [2 * m.get((c, c), 0) / max(1, sum(m.get((c, d), 0) + m.get((d, c), 0) for d in C)) for c in C]
open(sys.argv[3], "w").write(str(sum(f1) / 8))
"""

VOTE: Final = {
    "pandas": _PANDAS
    + """
table = pd.read_parquet(sys.argv[1], columns=["video", "frame", *C])
means = table.groupby(["video", "frame"], sort=True)[C].mean().reset_index()
means["label"] = means[C].idxmax(axis=1)
means.to_parquet(sys.argv[2])
""",
    "polars": _POLARS
    + _POLARS_LABEL
    + """
rows = pl.scan_parquet(sys.argv[1])
means = rows.group_by("video", "frame").agg(pl.col(C).mean()).sort("video", "frame")
means.with_columns(label.alias("label")).collect().write_parquet(sys.argv[2], compression="snappy")
""",
    "DuckDB": _DUCKDB
    + _DUCKDB_LABEL
    + """
means = ",".join(f"avg({c})::float as {c}" for c in C)
query = f"select video, frame, {means} from '{sys.argv[1]}' group by all order by all"
duckdb.sql(f"copy (select *, {largest} as label from ({query})) to '{sys.argv[2]}' (format parquet)")
""",
}

SMOOTH: Final = {
    "pandas": _PANDAS
    + """
from scipy.ndimage import median_filter
smooth = lambda rows: pd.DataFrame(median_filter(rows.to_numpy(), size=(11, 1), mode="nearest"), rows.index, C)
table = pd.read_parquet(sys.argv[1])
table[C] = table.groupby("video", group_keys=False)[C].apply(smooth)
table["label"] = table[C].idxmax(axis=1)
table.to_parquet(sys.argv[2])
""",
    "polars": _POLARS
    + _POLARS_LABEL
    + """
table = pl.read_parquet(sys.argv[1])
parts = []
for part in table.partition_by("video", maintain_order=True):
    columns = []
    for c in C:
        s = part[c]
        whole = pl.concat([s.head(1).extend_constant(s[0], 4), s, s.tail(1).extend_constant(s[-1], 4)])
        columns.append(whole.rolling_median(11, center=True).slice(5, len(s)).alias(c))
    parts.append(part.with_columns(columns))
pl.concat(parts).with_columns(label.alias("label")).write_parquet(sys.argv[2], compression="snappy")
""",
    "DuckDB": _DUCKDB
    + _DUCKDB_LABEL
    + """
around = "over (partition by video order by frame rows between 5 preceding and 5 following)"
span = "over (partition by video)"
def median(c):  # at the ends the end value is repeated
    before = f"list_resize([]::float[], greatest(0, 6 - n)::int, first_{c})"
    after = f"list_resize([]::float[], greatest(0, n + 5 - total)::int, last_{c})"
    return f"list_aggregate(list({c}) {around} || {before} || {after}, 'median')::float as {c}"
ends = ",".join(f"first({c} order by frame) {span} as first_{c}, last({c} order by frame) {span} as last_{c}"
                for c in C)
numbered = f"select *, row_number() over (partition by video order by frame) as n, count(*) {span} as total, {ends}"
inner = f"select video, frame, {','.join(map(median, C))} from ({numbered} from '{sys.argv[1]}')"
whole = f"select *, {largest} as label from ({inner}) order by video, frame"
duckdb.sql(f"copy ({whole}) to '{sys.argv[2]}' (format parquet)")
""",
}

SCORE: Final = {
    "pandas": _PANDAS
    + """
guess = pd.read_parquet(sys.argv[1], columns=["video", "frame", *C])
guess["guess"] = guess[C].idxmax(axis=1)
both = guess[["video", "frame", "guess"]].merge(pd.read_parquet(sys.argv[2]), on=["video", "frame"])
rows = [(*key, n) for key, n in both.groupby(["label", "guess"]).size().items()]
"""
    + _F1,
    "polars": _POLARS
    + _POLARS_LABEL
    + """
guess = pl.scan_parquet(sys.argv[1]).select("video", "frame", label.alias("guess"))
both = guess.join(pl.scan_parquet(sys.argv[2]), on=["video", "frame"]).group_by("label", "guess").len()
rows = both.collect().rows()
"""
    + _F1,
    "DuckDB": _DUCKDB
    + _DUCKDB_LABEL
    + """
rows = duckdb.sql(
    f"select t.label, {largest}, count(*) from '{sys.argv[1]}' p join '{sys.argv[2]}' t using (video, frame) "
    "group by all"
).fetchall()
"""
    + _F1,
}
