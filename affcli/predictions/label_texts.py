"""Per-video label texts as predictions: a folder of Aff-Wild2's label files, or one of them, read video by video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from affcli.errors import AffcliError
from affcli.files.shown_name import shown_name
from affcli.labels.label_texts import looks_like_label_text, read_label_text, texts_in
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.tables.reader import tables_in

COLUMNS = pa.schema([pa.field("video", pa.string()), pa.field("frame", pa.int32()), pa.field("label", pa.string())])


def label_text_files(source: str) -> list[Path]:
    """The label texts that a source stands for: itself, or those in a folder without tables; else none."""
    path = Path(source)
    if path.is_file():
        return [path] if looks_like_label_text(path) else []
    if not path.is_dir() or _holds_tables(path):
        return []
    return [file for file in texts_in(path) if looks_like_label_text(file)]


def _holds_tables(folder: Path) -> bool:
    try:
        return bool(tables_in(str(folder)))
    except AffcliError:
        return False


class LabelTexts:
    """Label texts seen as the rows of a table `video, frame, label`, one video at a time.

    `ids` are the videos, named by their files, in codepoint order.
    """

    def __init__(self, files: list[Path]) -> None:
        self._file_of = {shown_name(file.stem): file for file in files}
        if len(self._file_of) < len(files):
            raise AffcliError(f"{files[0].parent}: two label files of one name.")
        self.ids = tuple(sorted(self._file_of))

    def __contains__(self, video: str) -> bool:
        return video in self._file_of

    def rows(self, video: str) -> pa.Table:
        """One video's frames from 1 on with the label of each, null where nobody judged."""
        labels = read_label_text(self._file_of[video])
        names = pa.array([*CLASSES, None]).take(pa.array(np.where(labels == NOT_ANNOTATED, len(CLASSES), labels)))
        frame = pa.array(np.arange(1, labels.size + 1, dtype=np.int32))
        return pa.table([pa.repeat(pa.scalar(video), labels.size), frame, names], schema=COLUMNS)
