"""Small files that would take much memory, time or disk: compressed nothings, claims of sizes, deep nesting."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from affcli.schema import CLASSES
from campaign.judge import Bounds, Run
from campaign.kinds import Kind, prepare
from campaign.readers import Reader

LARGE = Bounds(cpu_s=60.0, wall_s=900.0, memory=1 << 30)
_HEAD = ",".join(["video", "frame", *CLASSES]) + "\n"


def _gzip_of_rows() -> bytes:
    """1.2 GB of one row in 1.2 MB."""
    row = ("a,1," + ",".join(["0"] * 8) + "\n").encode()
    block = gzip.compress(row * (1 << 20))
    return gzip.compress(_HEAD.encode()) + block * 60


def _zstd_of_nothing() -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for _ in range(1200):
            stream.write(b"\0" * (1 << 20))
    return bytes(sink.getvalue())


def _parquet_of_one_row(rows: int, *, videos: bool) -> bytes:
    """`rows` rows that are all alike, or of as many videos as rows, in a file of a few kilobytes a million."""
    sink = io.BytesIO()
    schema = pa.schema([("video", pa.string()), ("frame", pa.int32()), *((name, pa.float32()) for name in CLASSES)])
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for start in range(0, rows, 1 << 20):
            count = min(1 << 20, rows - start)
            video = pa.array(["a"]).take(pa.array(np.zeros(count, np.int8)))
            if videos:
                video = pa.array([f"v{start + i:09d}" for i in range(count)])
            frame = pa.array(
                np.ones(count, np.int32) if videos else np.arange(start + 1, start + count + 1, dtype=np.int32)
            )
            zero = pa.array(np.zeros(count, np.float32))
            writer.write_table(pa.table([video, frame, *[zero] * 8], schema=schema), 1 << 20)
    return sink.getvalue()


def _deep(opening: str, closing: str) -> bytes:
    return f'[{{"video": {opening * 300_000}{closing * 300_000}}}]'.encode()


def _wide() -> bytes:
    names = [f"c{i}" for i in range(300_000)]
    return (",".join(["video", "frame", *names]) + "\na,1," + ",".join(["0.5"] * len(names)) + "\n").encode()


def _one_field() -> bytes:
    return (_HEAD + "a" * (100 << 20) + ",1," + ",".join(["0"] * 8) + "\n").encode()


def _open_quote() -> bytes:
    return (_HEAD + '"a,1,' + "x\n" * (20 << 20)).encode()


def _zip_of_many() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for number in range(60_000):
            archive.writestr(f"{number}.npy", b"")
    return sink.getvalue()


def _spans() -> bytes:
    return b"video,start,end,Anger,Fear\na,1,2147483647,0.5,0.25\na,1,2147483647,0.5,0.25\n"


def _far_frame() -> bytes:
    row = ",".join(["0.5"] * 8)
    return f"{_HEAD}a,1,{row}\na,2147483647,{row}\n".encode()


def _header_of_2_to_60() -> bytes:
    return struct.pack("<Q", 1 << 60) + b"{}"


def _header_of_blanks() -> bytes:
    header = b'{"__metadata__":{"affcli":"{}"}}'.ljust(90 << 20)
    return struct.pack("<Q", len(header)) + header


def _card_of_much() -> bytes:
    card = {"kind": "fusion model", "version": "0.2.0", "stride": 1, "classes": list(CLASSES), "encoders": {}}
    card["config"] = {"visual_size": 1 << 30, "audio_size": 1 << 30, "classes": 8, "window": 1 << 30, "dim": 1 << 20}
    header = json.dumps({"__metadata__": {"affcli": json.dumps(card)}}).encode()
    return struct.pack("<Q", len(header)) + header


def _picture(form: str) -> bytes:
    sink = io.BytesIO()
    Image.new("1" if form != "gif" else "P", (30_000, 30_000)).save(sink, form)
    return sink.getvalue()


_VOTE = "vote IN -o out.parquet"
_SCORE = "score IN --labels labels --bootstrap 0 --allow-missing"
_PREDICT = "predict --model IN --visual sound.parquet -o out.parquet"
_LOOK = "extract-visual IN --model mini -o out.parquet"

BOMBS: Sequence[tuple[str, Callable[[], bytes], Sequence[str]]] = (
    ("rows.csv.gz", _gzip_of_rows, (_VOTE,)),
    ("nothing.csv.zst", _zstd_of_nothing, (_VOTE,)),
    ("rows.parquet", lambda: _parquet_of_one_row(3 << 20, videos=False), (_VOTE, "smooth IN -o out.parquet", _SCORE)),
    ("videos.parquet", lambda: _parquet_of_one_row(50_000, videos=True), (_VOTE, "info IN", _SCORE)),
    ("deep.json", lambda: _deep("[", "]"), (_VOTE, "vote sound.parquet --calibration IN -o out.parquet")),
    ("deeper.json", lambda: _deep('{"a":', "}"), (_VOTE, "info IN")),
    ("wide.csv", _wide, (_VOTE, _SCORE)),
    ("field.csv", _one_field, (_VOTE,)),
    ("quote.csv", _open_quote, (_VOTE,)),
    ("many.zip", _zip_of_many, (_VOTE,)),
    ("spans.csv", _spans, (_VOTE, "export IN --to csv -o out.csv")),
    ("far.csv", _far_frame, (_VOTE, "smooth IN -o out.parquet", _SCORE, "export IN --to labels -o texts")),
    ("claim.safetensors", _header_of_2_to_60, (_PREDICT, "info IN")),
    ("blanks.safetensors", _header_of_blanks, (_PREDICT, "info IN")),
    ("card.safetensors", _card_of_much, (_PREDICT, "info IN")),
    ("pictures-png/00001.png", lambda: _picture("png"), (_LOOK,)),
    ("pictures-gif/00001.jpg", lambda: _picture("gif"), (_LOOK,)),
    ("pictures-tiff/00001.jpg", lambda: _picture("tiff"), (_LOOK,)),
)
_RUNS = [(name, make, command) for name, make, commands in BOMBS for command in commands]


def bombs(home: Path, random: Random) -> Run:
    """One of the list; `numbered` picks each in turn."""
    return numbered(home, random.randrange(len(_RUNS)))


def numbered(home: Path, number: int) -> Run:
    name, make, command = _RUNS[number % len(_RUNS)]
    path = home / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(make())
    words = command.split()
    output = words[words.index("-o") + 1] if "-o" in words else None
    return Reader(words, output, bounds=LARGE).run(name.split("/")[0], several="/" in name)


COUNT = len(_RUNS)
BOMB_KINDS = {"bombs": Kind(prepare, bombs)}
