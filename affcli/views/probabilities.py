"""A frame table with probabilities that sum to 1, and how probable each label is: `export --to csv --probabilities`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from affcli.errors import ColumnError
from affcli.predictions.frame_table import frame_rows, frame_schema, labels_of
from affcli.predictions.label_column import label_numbers
from affcli.predictions.logit_table import LogitTable
from affcli.predictions.space import PROBABILITIES, as_probabilities, whole
from affcli.predictions.video_rows import VideoRows
from affcli.scoring.predictor import chosen_label_column

CONFIDENCE = "confidence"


class ProbabilityRows:
    """A table's frames with probabilities: `schema` is that of the result, `videos()` its rows video by video.

    Probabilities are the softmaxes of logits, and else the table's own numbers divided by their sum. The label is the
    one that the table says, by the rules of `scoring.predictor`, else the most probable class; `confidence` is its
    probability, null where there is none. Raises ColumnError for a table with only labels.
    """

    def __init__(self, table: LogitTable, label_column: str | None) -> None:
        self._table, self._label_column = table, chosen_label_column(table, label_column)
        if not table.has_logits:
            raise ColumnError(f"{table.name} has labels but no logits, so it has no probabilities.")
        replaced = {CONFIDENCE, "label"}
        self._carried = [field for field in table.carried_schema if field.name not in replaced]
        facts = {**table.metadata, "space": PROBABILITIES}
        frames = frame_schema(self._carried, table.classes, facts)
        self.schema = frames.append(pa.field(CONFIDENCE, pa.float32()))

    def videos(self) -> Iterator[pa.Table]:
        """Each video's rows under `schema`, in codepoint order of the videos."""
        return map(self._rows, self._table.videos())

    def _rows(self, rows: VideoRows) -> pa.Table:
        self._table.refuse_repeats(rows)
        probability = whole(as_probabilities(rows.logits, self._table.space))
        number = self._labels(rows)
        own = np.take_along_axis(probability, np.maximum(number, 0)[:, None], axis=1)[:, 0]
        confidence = np.where(number >= 0, own, np.nan).astype(np.float32)
        label = pa.array([*self._table.classes, None], pa.string()).take(
            pa.array(number % (len(self._table.classes) + 1))
        )
        carried = rows.carried.select([field.name for field in self._carried])
        schema = self.schema.remove(len(self.schema) - 1)
        table = frame_rows(schema, replace(rows, logits=probability, carried=carried), label)
        return table.append_column(self.schema.field(CONFIDENCE), pa.array(confidence, from_pandas=True))

    def _labels(self, rows: VideoRows) -> np.ndarray:
        """Indices of the labels [n] among the classes, -1 for none."""
        names, classes = self._table.names, self._table.classes
        if self._label_column is None:
            label = labels_of(rows.logits, classes)
            return label_numbers(pa.chunked_array([label]), classes, self._table.name, {})
        where = f"{self._table.name}: column '{self._label_column}'"
        return label_numbers(rows.carried[self._label_column], classes, where, names.renamed)
