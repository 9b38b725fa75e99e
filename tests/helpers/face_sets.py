"""Made-up face sets of a few pictures, in every layout in which the real ones are handed round."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

VOTES_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def picture(path: Path, value: int = 0, *, size: int = 8) -> Path:
    """A grey picture of one value, so that it can be told apart from others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), value).save(path)
    return path


def junk(folder: Path) -> None:
    """What systems leave in folders."""
    for name in (".DS_Store", "Thumbs.db", "._train_00001_aligned.jpg"):
        (folder / name).write_bytes(b"junk")


def rafdb_list(folder: Path, labels: Mapping[str, int]) -> Path:
    """`basic/EmoLabel/list_patition_label.txt` and `basic/Image/aligned/`."""
    lines = [f"{name} {label}" for name, label in labels.items()]
    for number, name in enumerate(labels):
        picture(folder / "basic/Image/aligned" / name.replace(".", "_aligned."), number)
    (folder / "basic/EmoLabel").mkdir(parents=True)
    (folder / "basic/EmoLabel/list_patition_label.txt").write_text("\r\n".join([*lines, ""]))
    junk(folder / "basic/Image/aligned")
    return folder


def ferplus_votes(folder: Path, rows: Sequence[tuple[str, str, Sequence[int]]]) -> Path:
    """`fer2013new.csv` of rows (usage, name of the picture, ten counts)."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join([usage, name, *map(str, votes)]) for usage, name, votes in rows]
    (folder / "fer2013new.csv").write_text("\n".join([VOTES_HEADER, *lines, ""]))
    return folder


def ferplus_pictures(folder: Path, rows: Sequence[tuple[str, str, Sequence[int]]]) -> Path:
    """The same with `FER2013Train/fer0000000.png`, …."""
    parts = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}
    for number, (usage, name, _) in enumerate(rows):
        if name:
            picture(folder / parts[usage] / name, number)
    return ferplus_votes(folder, rows)


def fer2013_text(path: Path, rows: Sequence[tuple[str, np.ndarray]]) -> Path:
    """FER2013's own `fer2013.csv` of rows (usage, grey values [48, 48])."""
    lines = [f"0,{' '.join(map(str, pixels.ravel()))},{usage}" for usage, pixels in rows]
    path.write_text("\n".join(["emotion,pixels,Usage", *lines, ""]))
    return path


def numbered_folders(folder: Path, names: Sequence[object], *, each: int = 1) -> Path:
    """One folder a class with `each` pictures."""
    for number, name in enumerate(names):
        for index in range(each):
            picture(folder / str(name) / f"{index}.png", number)
    return folder


def hub_parquet(path: Path, labels: Sequence[object], *, names: Sequence[str] | None = None) -> Path:
    """A Parquet file of grey pictures (values 0, 1, …) and labels, as the library `datasets` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [{"bytes": _png(value), "path": f"{value}.png"} for value in range(len(labels))]
    table = pa.table({"image": pictures, "label": list(labels)})
    if names is not None:
        facts = {"info": {"features": {"label": {"names": list(names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(facts)})
    pq.write_table(table, path, row_group_size=2)
    return path


def _png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (8, 8), value).save(buffer, "PNG")
    return buffer.getvalue()


def expw_list(folder: Path, lines: Sequence[str]) -> Path:
    """`label/label.lst`, and `image/origin/` with a picture for each name in it."""
    (folder / "label").mkdir(parents=True)
    (folder / "label" / "label.lst").write_text("\n".join([*lines, ""]))
    for name in {line.split()[0] for line in lines}:
        picture(folder / "image" / "origin" / name, 50, size=40)
    return folder
