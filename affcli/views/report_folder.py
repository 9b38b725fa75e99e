"""A folder of frame tables, and the videos they are of → what a report shows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from affcli.errors import AffcliError, counted, listed
from affcli.files.inputs import SOUND_SUFFIXES
from affcli.files.shown_name import shown_name
from affcli.predictions.columns import ColumnNames
from affcli.schema import AUDIO, SUMMARY_CSV, SUMMARY_TABLE, VISUAL, WINDOWED
from affcli.tables.label_tables import TABLES_FOLDER, UNFINISHED, note_unfinished
from affcli.tables.reader import TableReader, tables_in
from affcli.views.labelled_video import NO_LABEL, LabelledTable, LabelledVideo
from affcli.views.report_page import MOST_SEGMENTS, PageVideo
from affcli.views.segments import confidences, segments_of
from affcli.views.timeline import timeline
from affcli.views.uncertainty import unsure_frames, why_unsure
from affcli.views.video_files import PLAYED, address

# No screen is wider than the timeline at this many columns, two pixels each, and two hours take 20 kB.
COLUMNS: Final = 720
STRIP_COLUMNS: Final = 120

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How the tables are read."""

    columns: ColumnNames
    label_column: str | None = None
    fps: float | None = None


class Folder:
    """The frame tables of a folder (or one table). After `videos()`, `failed` names what could not be read, and
    `unlabelled` what stands in the folder's summary without a table, and why.

    `problems` are the summary's, by video. Feature tables and windowed logits are passed over; of two tables of one
    video the first counts, Parquet before CSV.
    """

    def __init__(self, source: str, reading: Reading) -> None:
        self.source, self._reading = source, reading
        self.failed: list[str] = []
        self.unlabelled: list[tuple[str, str | None]] = []
        self.problems = _problems_of(Path(source))

    def videos(self) -> Iterator[LabelledVideo]:
        """Each video's frames: table by table, in codepoint order of their ids within each."""
        note_unfinished(self.source)
        seen: set[str] = set()
        summaries = set(_summaries(Path(self.source)))
        for file in sorted(tables_in(self.source), key=lambda name: (Path(name).suffix == ".csv", name)):
            if Path(file) in summaries:
                continue
            try:
                yield from self._videos_of(file, seen)
            except AffcliError as error:
                if not Path(self.source).is_dir():
                    raise
                log.error("%s", error)
                self.failed.append(file)
        self.unlabelled = sorted((name, why) for name, why in self.problems.items() if name not in seen)

    def _videos_of(self, file: str, seen: set[str]) -> Iterator[LabelledVideo]:
        if Path(self.source).is_dir() and (kind := _kind_of(file)) in (VISUAL, AUDIO, WINDOWED):
            log.info("%s: holds %s, no frame table; passed over", file, kind)
            return
        how = self._reading
        with LabelledTable(file, columns=how.columns, label_column=how.label_column, fps=how.fps) as table:
            twice = [video for video in table.ids if video in seen]
            if twice:
                log.warning(
                    "%s: left out %s that another table has: %s.", file, counted(len(twice), "video"), listed(twice)
                )
            for video in table.ids:
                if video not in seen:
                    yield table.video(video)
                    seen.add(video)


def _kind_of(file: str) -> object:
    with TableReader(file) as table:
        return table.metadata.get("kind")


def _summaries(source: Path) -> list[Path]:
    """What sums up a folder of tables, one row a video, with or without its tables; the surest first."""
    places = [source, *([source.absolute().parent] if source.name == TABLES_FOLDER else [])]
    found = [place / name for place in places if source.is_dir() for name in (SUMMARY_TABLE, SUMMARY_CSV)]
    return [path for path in found if path.is_file()]


def _problems_of(source: Path) -> dict[str, str | None]:
    """What is wrong with each video that the summary names, None where nothing is."""
    for path in _summaries(source):
        try:
            with TableReader(str(path), text=("video",)) as table:
                if "video" not in table.schema.names or "frame" in table.schema.names:
                    continue  # not a row a video
                told = "problem" in table.schema.names
                rows = table.read(["video", "problem"] if told else ["video"]).to_pylist()
        except AffcliError as error:
            log.warning("%s", error)
            continue
        return {str(row["video"]): str(row["problem"]) if told and row["problem"] else None for row in rows}
    return {}


def page_video(video: LabelledVideo, file: Path | None, page_folder: Path, *, problem: str | None = None) -> PageVideo:
    """What the page shows of a video; its file's address is relative to the page's folder.

    `problem` is what a summary says; without it, why frames are unsure is found out.
    """
    found = timeline(video, COLUMNS)
    least = found.length / COLUMNS if found.timed else 0.0
    segments = segments_of(video, min_seconds=least)
    start, end = _borders(video)
    rows = zip(
        np.round(start[segments.first], 3).tolist(),
        np.round(end[segments.last], 3).tolist(),
        segments.label.tolist(),
        (None if np.isnan(sure) else round(float(sure), 3) for sure in confidences(video, segments)),
        strict=True,
    )
    return PageVideo(
        timeline=found,
        strip=timeline(video, STRIP_COLUMNS),
        source=address(file, page_folder) if file is not None and file.suffix.lower() in PLAYED else None,
        file=shown_name(file.name) if file is not None and file.suffix.lower() not in PLAYED else None,
        sound=file is not None and file.suffix.lower() in SOUND_SUFFIXES,
        shares=_shares(video, end - start),
        unsure=_unsure_share(video, end - start),
        problem=problem or "; ".join(why_unsure(video)) or None,
        confidence=_mean_confidence(video),
        face=None if video.face is None else float(video.face.mean()),
        audio=None if video.audio is None else float(video.audio.mean()),
        segments=tuple(rows)[:MOST_SEGMENTS],
        more=max(0, len(segments) - MOST_SEGMENTS),
        starts_s=video.starts_s,
    )


def _borders(video: LabelledVideo) -> tuple[np.ndarray, np.ndarray]:
    if video.start_s is not None and video.end_s is not None:
        return video.start_s, video.end_s
    return video.frame - 1.0, video.frame.astype(np.float64)


def _shares(video: LabelledVideo, length: np.ndarray) -> tuple[float, ...]:
    """The share of the time that each class has, of frames that have a label or are unsure."""
    known = video.label != NO_LABEL
    spent = np.bincount(video.label[known], length[known], len(video.classes))
    return tuple((spent / max(spent.sum() + length[unsure_frames(video)].sum(), 1e-9)).tolist())


def _unsure_share(video: LabelledVideo, length: np.ndarray) -> float:
    """The share of that time that is unsure."""
    unsure, labelled = unsure_frames(video), video.label != NO_LABEL
    return float(length[unsure].sum() / max(length[unsure | labelled].sum(), 1e-9))


def _mean_confidence(video: LabelledVideo) -> float | None:
    """The mean of the largest probability over the frames that have any."""
    if video.probability is None:
        return None
    largest = np.fmax.reduce(video.probability, axis=1)
    known = largest[~np.isnan(largest)]
    return float(known.mean()) if known.size else None


def sentences(folder: Folder) -> list[str]:
    """What a reader of the page should know of the folder."""
    said = []
    if folder.failed:
        said.append(f"Could not be read: {listed([Path(file).name for file in folder.failed])}.")
    if (Path(folder.source) / UNFINISHED).is_dir():
        said.append("Labelling was not finished when this page was made; videos that were not done are missing.")
    return said
