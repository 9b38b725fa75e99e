"""What is known of a folder of tables, that of `affcli label` above all, for `affcli info`: counts, not rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pyarrow.compute as pc

from affcli.errors import TableError
from affcli.schema import FRAMES, SUMMARY, SUMMARY_TABLE
from affcli.tables.label_tables import metadata_in
from affcli.tables.reader import TableReader, tables_in
from affcli.views.uncertainty import UNSURE

_OF_INPUTS: Final = ("inputs", "failed", "incomplete", "input")  # what the metadata list by video


def folder_facts(folder: str) -> dict[str, Any]:
    """Numbers of inputs, videos and frames, seconds per class, and how it was made.

    Raises TableError for a folder without tables.
    """
    summary = Path(folder) / SUMMARY_TABLE
    if metadata_in(summary).get("kind") == SUMMARY:
        return {"folder": folder, "kind": "label folder", **_summed_up(str(summary))}
    return {"folder": folder, **_tables(folder)}


def _summed_up(summary: str) -> dict[str, Any]:
    with TableReader(summary) as table:
        about, rows = table.metadata, table.read()
    reasons = dict(zip(rows["video"].to_pylist(), rows["problem"].to_pylist(), strict=True))
    seconds = {name: _sum(rows[f"{name}_s"]) for name in (*about["classes"], UNSURE)}
    return {
        "state": "complete",
        "inputs": len(about["inputs"]) + len(about["failed"]),
        "done": len(about["inputs"]),
        "failed": {video: reasons.get(video) for video in about["failed"]},
        "incomplete": about["incomplete"],
        "videos": int(pc.sum(pc.greater(rows["frames"], 0)).as_py() or 0),
        "frames": pc.sum(rows["frames"]).as_py() or 0,
        "duration_s": _sum(rows["duration_s"]),
        "seconds": seconds,
        "made_by": {name: value for name, value in about.items() if name not in (*_OF_INPUTS, "kind")},
    }


def _sum(column: Any) -> float | None:
    """None where nothing is known, as of videos without times."""
    total = pc.sum(column).as_py()
    return None if total is None else round(total, 3)


def _tables(folder: str) -> dict[str, Any]:
    """Tables side by side, seen as one; without a summary those of `affcli label` are not complete."""
    try:
        files = tables_in(folder)
    except TableError as error:
        text = f"{folder}: is no encoder that affcli train-visual or train-audio made, and holds no tables."
        raise TableError(text) from error
    rows, videos = 0, set()
    for file in files:
        with TableReader(file, text=("video",)) as table:
            about, columns = table.metadata, table.columns
            rows += table.num_rows
            if "video" in columns:
                videos |= {name for chunk in table.dictionary_chunks("video") for name in chunk.dictionary.to_pylist()}
    labelled = about.get("kind") == FRAMES and "input" in about
    facts: dict[str, Any] = {"kind": "label folder" if labelled else "folder of tables"}
    if labelled:
        facts["state"] = "unfinished: there is no summary; the same command goes on with it"
    facts |= {"tables": len(files), "rows": rows, "videos": len(videos)}
    made_by = {name: value for name, value in about.items() if name not in _OF_INPUTS}
    return {**facts, **({"made_by": made_by} if made_by else {})}
