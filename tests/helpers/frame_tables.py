"""Small label folders and prediction tables, and commands run inside the test's own process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affcli.cli import run
from affcli.console import terminal
from affcli.schema import CLASSES, FRAMES, with_metadata


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Runs affcli in this process: (exit status, standard output, standard error)."""
    terminal.start("affcli")
    status = run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def write_labels(folder: Path, **videos: list[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, labels in videos.items():
        (folder / f"{name}.txt").write_text("\n".join([",".join(CLASSES), *map(str, labels)]) + "\n")
    return folder


def predictions(**videos: list[int | None]) -> pd.DataFrame:
    """Logits that favour the given class of each frame; None gives a frame without logits."""
    rows = []
    for video, numbers in videos.items():
        for frame, number in enumerate(numbers, start=1):
            logits = dict.fromkeys(CLASSES, np.nan if number is None else 0.0)
            if number is not None:
                logits[CLASSES[number]] = 9.0  # no row sums to 1, as those of probabilities do
            rows.append({"video": video, "frame": frame, **logits})
    return pd.DataFrame(rows)


def write_ours(file: Path, table: pd.DataFrame, **columns: object) -> Path:
    arrow = pa.Table.from_pandas(table.assign(**columns), preserve_index=False)
    schema = with_metadata(arrow.schema, kind=FRAMES, classes=list(CLASSES))
    pq.write_table(arrow.cast(schema), file)
    return file
