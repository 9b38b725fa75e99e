"""Whole tables with something odd in them: types, numbers, ids, names, metadata; in every format that is read."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from affcli.schema import CLASSES, FRAMES, WINDOWED, with_metadata
from campaign.damage import NUMBERS, TEXTS, damaged_json, odd_value

FORMATS = ("parquet", "parquet", "arrow", "stream", "feather", "csv", "tsv", "jsonl")
VIDEOS, ROWS = ("clip1", "clip2"), 24


def sound_table(random: Random, *, ours: bool | None = None) -> pa.Table:
    """Frame logits, or windowed ones, of two videos; with the metadata of ours, or without."""
    numbers = np.random.default_rng(random.randrange(1 << 30))
    rows = len(VIDEOS) * ROWS
    frame = np.tile(np.arange(1, ROWS + 1, dtype=np.int32), len(VIDEOS))
    columns: dict[str, Any] = {
        "video": np.repeat(VIDEOS, ROWS),
        "frame": frame,
        "time_s": frame / 25.0,
        "face": numbers.random(rows) < 0.8,
        "audio": np.ones(rows, bool),
    }
    columns |= {name: numbers.normal(size=rows).astype(np.float32) for name in CLASSES}
    columns["label"] = np.array(CLASSES)[np.argmax([columns[name] for name in CLASSES], axis=0)]
    table = pa.table(columns)
    if ours if ours is not None else random.random() < 0.5:
        facts = {"classes": list(CLASSES), "space": "logits", "smoothed": [], "min_confidence": 0.2, "min_speech": 0.5}
        facts |= {"starts_s": {"clip1": 1.5}, "encoders": {"visual": {"name": "mini", "size": 4}}}
        table = table.cast(with_metadata(table.schema, kind=random.choice((FRAMES, WINDOWED)), **facts))
    return table


def odd_table(random: Random) -> pa.Table:
    """A sound table after one to three changes."""
    table = sound_table(random)
    for _ in range(random.choice((1, 1, 2, 3))):
        try:
            table = random.choice(_CHANGES)(table, random)
        except (pa.ArrowException, ValueError, OverflowError, KeyError, IndexError):
            continue  # a change that this table does not take
    return table


# --- changes ---------------------------------------------------------------------------------------------------------


def _set(table: pa.Table, name: str, values: Any, kind: pa.DataType | None = None) -> pa.Table:
    at = table.schema.get_field_index(name)
    column = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values, kind)
    if at < 0:
        return table.append_column(name, column)
    return table.set_column(at, name, column)


def _some(values: list[Any], others: Any, random: Random) -> list[Any]:
    """A few of the values, or all, replaced."""
    share = random.choice((0.05, 0.5, 1.0))
    return [random.choice(others) if random.random() < share else value for value in values]


def _ids(table: pa.Table, random: Random) -> pa.Table:
    return _set(table, "video", _some(table["video"].to_pylist(), [*TEXTS, None], random), pa.string())


def _frames(table: pa.Table, random: Random) -> pa.Table:
    odd = [0, -1, 1, 2**31 - 1, 2**31, 2**62, 10**8, None]
    return _set(table, "frame", _some(table["frame"].to_pylist(), odd, random), pa.int64())


def _order(table: pa.Table, random: Random) -> pa.Table:
    order = list(range(table.num_rows))
    random.shuffle(order)
    return table.take(order + order[: random.choice((0, 0, 5))])


def _logits(table: pa.Table, random: Random) -> pa.Table:
    odd = [float("nan"), float("inf"), float("-inf"), None, 1e308, -1e308, 1e-320, 100.0, 0.0]
    names = random.sample(CLASSES, random.choice((1, 3, 8)))
    for name in names:
        table = _set(table, name, _some(table[name].to_pylist(), odd, random), pa.float64())
    return table


def _times(table: pa.Table, random: Random) -> pa.Table:
    odd = random.choice(([1.0], [float("inf")], [float("nan"), None], [-1e300, 1e300], [-5.0], [1e9]))
    return _set(table, "time_s", _some(table["time_s"].to_pylist(), odd, random), pa.float64())


def _labels(table: pa.Table, random: Random) -> pa.Table:
    if random.random() < 0.4:
        table = table.drop_columns([name for name in CLASSES if name in table.column_names])
    return _set(table, "label", _some(table["label"].to_pylist(), [*TEXTS, None], random), pa.string())


_TYPES: tuple[Callable[[int, Random], pa.Array], ...] = (
    lambda n, r: pa.nulls(n),
    lambda n, r: pa.nulls(n, r.choice((pa.string(), pa.float32(), pa.int64(), pa.bool_(), pa.list_(pa.float32())))),
    lambda n, r: pa.array([r.random() < 0.5 for _ in range(n)]),
    lambda n, r: pa.array(list(range(n)), r.choice((pa.uint64(), pa.int8(), pa.float16(), pa.duration("s")))),
    lambda n, r: pa.array(list(range(n)), r.choice((pa.date32(), pa.timestamp("ns"), pa.time64("us")))),
    lambda n, r: pa.array([Decimal(i) / 3 for i in range(n)], pa.decimal128(38, 10), safe=False),
    lambda n, r: pa.array([[float(i)] * r.randrange(3) for i in range(n)], pa.list_(pa.float32())),
    lambda n, r: pa.array([[float(i)] * 8 for i in range(n)], pa.list_(pa.float16(), 8)),
    lambda n, r: pa.array([{"a": i} for i in range(n)]),
    lambda n, r: pa.array([[("k", i)] for i in range(n)], pa.map_(pa.string(), pa.int32())),
    lambda n, r: pa.array([r.randbytes(3) for _ in range(n)], pa.binary()),
    lambda n, r: pa.array([r.choice(TEXTS) for _ in range(n)], r.choice((pa.large_string(), pa.string_view()))),
    lambda n, r: pa.array([r.choice(TEXTS[:5]) for _ in range(n)]).dictionary_encode(),
    lambda n, r: pa.DictionaryArray.from_arrays(pa.array([0] * n, pa.int8()), pa.array([1.5])),
    lambda n, r: pa.array([r.choice(NUMBERS[:9]) for _ in range(n)], pa.float64()),
)


def _type(table: pa.Table, random: Random) -> pa.Table:
    """A column of another type: mostly one that has a meaning."""
    known = ["video", "frame", "label", "face", "time_s", "start", "end", "speech", "audio", "votes", "window", "score"]
    name = random.choice((*known, *CLASSES, *table.column_names))
    return _set(table, name, random.choice(_TYPES)(table.num_rows, random))


def _names(table: pa.Table, random: Random) -> pa.Table:
    """Columns gone, renamed, twice, or far too many."""
    name, change = random.choice(table.column_names), random.randrange(6)
    if change == 0:
        return table.drop_columns([name])
    if change == 1:
        return table.append_column(name, table[name])
    if change == 2:
        return table.append_column(random.choice(TEXTS), table[name])
    if change == 3:
        return pa.table(
            {f"{random.choice(('x', 'p_'))}{i}": table["Fear"] for i in range(random.choice((1, 40, 2000)))}
        )
    new = random.choice((*TEXTS, name.lower(), "Contempt", "happy", "label", "video", "frame"))
    return table.rename_columns([new if column == name else column for column in table.column_names])


def _spans(table: pa.Table, random: Random) -> pa.Table:
    """Rows with start and end in place of frame."""
    start = [random.choice((1, 5, 0, -3, 2**31 - 2, i + 1)) for i in range(table.num_rows)]
    end = [s + random.choice((0, 3, -1, 10**6, 2**31)) for s in start]
    table = table.drop_columns([name for name in ("frame",) if name in table.column_names])
    return _set(_set(table, "start", start, pa.int64()), "end", end, pa.int64())


def _size(table: pa.Table, random: Random) -> pa.Table:
    return random.choice((table.slice(0, 0), table.slice(0, 1), table.select([]), pa.concat_tables([table] * 3)))


def _metadata(table: pa.Table, random: Random) -> pa.Table:
    facts = json.loads((table.schema.metadata or {}).get(b"affcli", b'{"kind": "frame logits", "classes": ["Fear"]}'))
    return table.replace_schema_metadata({b"affcli": damaged_json(facts, random), b"x": random.randbytes(20)})


def _claims(table: pa.Table, random: Random) -> pa.Table:
    """Metadata that say of the table what is not so."""
    claims = {
        "kind": random.choice((FRAMES, WINDOWED, "visual features", "summary", "calibration")),
        "classes": random.choice((list(CLASSES), ["Fear", "Fear"], list(CLASSES)[::-1], ["A", "B"], odd_value(random))),
        "space": random.choice(("logits", "probabilities", "shares", "percent", odd_value(random))),
        "min_confidence": odd_value(random),
        "smoothed": odd_value(random),
        "starts_s": odd_value(random),
    }
    return table.replace_schema_metadata({b"affcli": json.dumps(claims).encode("utf-8", "surrogatepass")})


_CHANGES: tuple[Callable[[pa.Table, Random], pa.Table], ...] = (
    _ids, _frames, _order, _logits, _times, _labels, _type, _type, _type, _names, _spans, _size, _metadata, _claims,
)  # fmt: skip


# --- formats ---------------------------------------------------------------------------------------------------------


def encoded(table: pa.Table, form: str, random: Random) -> bytes:
    """The table as a file of the given format; raises pa.ArrowException where that cannot hold it."""
    sink = io.BytesIO()
    if form == "parquet":
        pq.write_table(
            table,
            sink,
            row_group_size=random.choice((None, 1, 7, 10)),
            compression=random.choice(("snappy", "none", "gzip", "zstd", "lz4", "brotli")),
            use_dictionary=random.choice((True, False)),
            data_page_version=random.choice(("1.0", "2.0")),
            version=random.choice(("1.0", "2.6")),
            write_page_checksum=random.random() < 0.3,
            write_statistics=random.random() < 0.5,
        )
    elif form in ("arrow", "stream"):
        options = ipc.IpcWriteOptions(compression=random.choice((None, None, "zstd", "lz4")))
        with (ipc.new_file if form == "arrow" else ipc.new_stream)(sink, table.schema, options=options) as writer:
            writer.write_table(table, max_chunksize=random.choice((None, 5)))
    elif form == "feather":
        feather.write_feather(table, sink, version=random.choice((1, 2)))
    elif form in ("csv", "tsv"):
        pa_csv.write_csv(table, sink, pa_csv.WriteOptions(delimiter="\t" if form == "tsv" else ","))
    else:
        rows = [json.dumps(row, default=str) for row in table.to_pylist()]
        sink.write("\n".join(rows).encode("utf-8", "surrogatepass"))
    return sink.getvalue()
