"""Reads labels: Aff-Wild2's EXPR text files, tables with `video, frame, label`, ABAW submission texts.

Whatever the source, the result is one array of class numbers for each video, in which entry i belongs to frame i + 1.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from affcli.class_words import class_of, counted_as_other
from affcli.errors import LabelError, counted, listed
from affcli.files.shown_name import shown_name
from affcli.labels.label_texts import looks_like_label_text, read_label_text, texts_in
from affcli.schema import CLASSES, NOT_ANNOTATED
from affcli.tables.given import GivenTable, Source
from affcli.tables.keys import frame_numbers
from affcli.tables.people import with_person
from affcli.tables.reader import Reading, TableReader, plain_type
from affcli.video_ids import one_spelling

_LAST_FRAME: Final = 100_000_000  # 38 days at 30 fps: a larger number is a time stamp in the wrong column
_NOTHING: Final = frozenset({"", "-1", "-1.0", "na", "n/a", "nan", "null", "none"})  # "not annotated", as written

_log = logging.getLogger(__name__)

Number = TypeVar("Number", np.int8, np.float32)


@dataclass(frozen=True, eq=False)
class VideoLabels:
    """One video's labels: `labels[i]` (int8) is the class number of frame i + 1, -1 where nobody judged it.

    `weights[i]` (float32) is what that label counts, where LabelOptions.weights names a column of such numbers.
    """

    video: str
    labels: NDArray[np.int8]
    weights: NDArray[np.float32] | None = None


class _Labels(dict[str, VideoLabels]):
    """Video name → its labels; `words` are those of LabelOptions.words that stand in them."""

    words: frozenset[str] = frozenset()


def words_in(labels: Mapping[str, VideoLabels]) -> frozenset[str]:
    """Those of `LabelOptions.words` that were found when these labels were read."""
    return labels.words if isinstance(labels, _Labels) else frozenset()


@dataclass(frozen=True)
class LabelOptions:
    """How labels are to be read.

    `frame_offset` is added to each frame number (1 for tables that count frames from 0; in label texts, to the number
    of each line). `words` are names for classes beside those of `class_words`: word → class. `person` is the column
    that tells people apart, where the table has it: its videos are then `video#id`. `reading` is how a table is
    written. `weights` is the column of a table that says how much each label counts.
    """

    frame_offset: int = 0
    words: Mapping[str, str] = field(default_factory=dict)
    person: str | None = None
    reading: Reading = field(default_factory=Reading)
    weights: str | None = None


def read_labels(source: Source, options: LabelOptions | None = None) -> dict[str, VideoLabels]:
    """The labels of every video in a folder, file or table in memory, by video name, sorted.

    A folder holds one Aff-Wild2 text for each video (`NAME.txt`, `NAME_left.txt`); a file is one such text, a Parquet,
    CSV or Arrow table with `video`, `frame` (1-based) and `label` (class name or number), or an ABAW submission text.
    Raises LabelError, naming file and line, where something cannot be a label.
    """
    chosen = options or LabelOptions()
    if not isinstance(source, GivenTable):
        path = Path(source)
        texts = path.is_dir() or (path.is_file() and path.stat().st_size and looks_like_label_text(path))
        if texts and chosen.weights:
            raise LabelError(f"{source}: label texts have no column '{chosen.weights}'; give a table of labels.")
        if path.is_dir():
            return _Labels({shown_name(file.stem): _of_text(file, chosen) for file in _label_files(path)})
        if texts:
            return _Labels({shown_name(path.stem): _of_text(path, chosen)})
    text = ("video", "label", *([chosen.person] if chosen.person else []))
    with TableReader(source, text=text, reading=chosen.reading) as table:
        return _labels_in_table(table, chosen)


def _of_text(file: Path, options: LabelOptions) -> VideoLabels:
    return VideoLabels(shown_name(file.stem), _shifted(read_label_text(file), options.frame_offset, file))


def _shifted(labels: NDArray[np.int8], offset: int, file: Path) -> NDArray[np.int8]:
    """The labels with the first at frame 1 + offset."""
    if offset >= 0:
        return np.concatenate([np.full(offset, NOT_ANNOTATED, np.int8), labels]) if offset else labels
    if (labels[:-offset] != NOT_ANNOTATED).any():
        raise LabelError(f"{file}: --label-frame-offset {offset} moves labels before frame 1.")
    return labels[-offset:]


def _label_files(folder: Path) -> list[Path]:
    files = texts_in(folder)
    if files:
        return files
    below = sorted({path.parent for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}/*.txt")})
    if below:
        raise LabelError(f"{folder}: holds no .txt files itself; did you mean {listed([str(p) for p in below])}?")
    found = listed([path.name for path in sorted(islice(folder.iterdir(), 1000))], limit=4) or "nothing"
    raise LabelError(f"{folder}: no label files (one .txt per video) in it; found {found}.")


# --- tables ----------------------------------------------------------------------------------------------------------


def _labels_in_table(table: TableReader, options: LabelOptions) -> _Labels:
    weighing = [options.weights] if options.weights else []
    table.require("video", "frame", "label", *weighing)
    person = options.person if options.person in table.schema.names else None
    wanted = ["video", "frame", "label", *([person] if person else []), *weighing]
    rows = table.read(list(dict.fromkeys(wanted)))
    if not rows.num_rows:
        raise LabelError(f"{table.name}: has no rows, so no labels.")
    rows = _with_frames(rows, table.name)
    video = _videos(rows, person, table.name)
    if video.null_count:
        raise LabelError(f"{table.name}: {counted(video.null_count, 'row')} without a video name.")
    frame = _frames(rows["frame"], table.name, options.frame_offset)
    heard: set[str] = set()
    label = class_numbers(rows["label"], f"{table.name}: column 'label'", words=options.words, heard=heard)
    note_counted_as_other(table.name, heard - {word.strip().lower() for word in options.words})
    code = video.indices.to_numpy()
    weight = _weights(rows[options.weights], label, table.name, options.weights) if options.weights else None
    if not _in_order(code, frame):
        order = np.lexsort((frame, code))
        code, frame, label = code[order], frame[order], label[order]
        weight = None if weight is None else weight[order]
    names = video.dictionary.to_pylist()
    _refuse_duplicates(names, code, frame, table.name)
    ends = np.searchsorted(code, np.arange(len(names)), side="right")
    starts = np.concatenate([[0], ends[:-1]])
    rows_of = {name: slice(start, end) for name, start, end in zip(names, starts, ends, strict=True)}
    found = _Labels()
    for name in sorted(names):
        own = rows_of[name]
        weights = None if weight is None else _dense(frame[own], weight[own], np.float32(1))
        found[name] = VideoLabels(name, _dense(frame[own], label[own], np.int8(NOT_ANNOTATED)), weights)
    found.words = frozenset(word for word in options.words if word.strip().lower() in heard)
    return found


def _in_order(code: NDArray[np.int32], frame: NDArray[np.int64]) -> bool:
    """Whether rows are sorted by video code and frame; two rows for one frame may follow each other."""
    step = np.diff(code)
    return bool(((step > 0) | ((step == 0) & (np.diff(frame) >= 0))).all())


def _videos(rows: pa.Table, person: str | None, source: str) -> pa.DictionaryArray:
    videos = rows["video"] if person is None else with_person(rows, "video", person, source)
    return _in_one_spelling(_encoded(videos))


def _encoded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    """Values as text, dictionary-encoded, one dictionary for all: a column has few distinct ones."""
    if not pa.types.is_dictionary(column.type):
        return _text(column).combine_chunks().dictionary_encode()
    whole = column.unify_dictionaries().combine_chunks()
    texts = whole.dictionary.cast(plain_type(whole.dictionary.type)).cast(pa.string())
    if pc.count_distinct(texts).as_py() < len(texts):
        return whole.cast(whole.type.value_type).cast(pa.string()).dictionary_encode()
    return pa.DictionaryArray.from_arrays(whole.indices, texts)


def _in_one_spelling(videos: pa.DictionaryArray) -> pa.DictionaryArray:
    """The ids as `one_spelling` has them, each once in the dictionary."""
    names = videos.dictionary.to_pylist()
    spelt = [name if name is None else one_spelling(name) for name in names]
    if spelt == names:
        return videos
    return pa.DictionaryArray.from_arrays(videos.indices, pa.array(spelt)).cast(pa.string()).dictionary_encode()


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column if pa.types.is_string(column.type) else column.cast(plain_type(column.type)).cast(pa.string())


def _with_frames(rows: pa.Table, source: str) -> pa.Table:
    """The rows that have a frame number; says how many have none (null, or NA where the column is text)."""
    frame = rows["frame"]
    if plain_type(frame.type) in (pa.string(), pa.large_string()):
        text = pc.utf8_trim_whitespace(_text(frame))
        unknown = pc.is_in(pc.utf8_lower(text), value_set=pa.array(sorted(_NOTHING - {"-1", "-1.0"})))
        rows = rows.set_column(rows.schema.get_field_index("frame"), "frame", pc.if_else(unknown, None, text))
    lacking = rows["frame"].null_count
    if lacking:
        _log.warning("%s: left out %s without a frame number", source, counted(lacking, "row"))
        rows = rows.filter(pc.is_valid(rows["frame"]))
    return rows


def _frames(column: pa.ChunkedArray, name: str, offset: int) -> NDArray[np.int64]:
    if not len(column):
        raise LabelError(f"{name}: no row has a frame number.")
    frames = frame_numbers(name, column, "frame") + offset
    if frames.min() < 1:
        hint = " Add 1 to each with --label-frame-offset 1." if frames.min() == 0 else ""
        raise LabelError(f"{name}: frame {frames.min()} in labels; frames are numbered from 1.{hint}")
    if frames.max() > _LAST_FRAME:
        raise LabelError(f"{name}: frame {frames.max()} in labels; column 'frame' must hold frame numbers.")
    return frames


def _refuse_duplicates(names: list[str], code: NDArray[np.int32], frame: NDArray[np.int64], source: str) -> None:
    twice = np.flatnonzero((code[1:] == code[:-1]) & (frame[1:] == frame[:-1]))
    if twice.size:
        at = twice[0]
        raise LabelError(f"{source}: video '{names[code[at]]}', frame {frame[at]} has more than one label.")


def _dense(frame: NDArray[np.int64], values: NDArray[Number], other: Number) -> NDArray[Number]:
    """One value for each frame up to the last; `other` for frames without a row."""
    every = np.full(frame[-1], other)
    every[frame - 1] = values
    return every


def _weights(column: pa.ChunkedArray, label: NDArray[np.int8], source: str, name: str) -> NDArray[np.float32]:
    """What each row's label counts [n]; raises LabelError where one that is labelled has no number of at least 0."""
    kind = plain_type(column.type)
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        raise LabelError(f"{source}: column '{name}' holds {kind}, not weights of frames (numbers of at least 0).")
    weights: NDArray[np.float32] = pc.fill_null(column.cast(pa.float32(), safe=False), np.nan).to_numpy().copy()
    odd = (label != NOT_ANNOTATED) & ~(np.isfinite(weights) & (weights >= 0))
    if odd.any():
        found = column[int(np.argmax(odd))].as_py()
        raise LabelError(f"{source}: column '{name}' holds {found} for a labelled frame; weights are at least 0.")
    weights[label == NOT_ANNOTATED] = 1
    return weights


def class_numbers(
    column: pa.ChunkedArray, where: str, *, words: Mapping[str, str] | None = None, heard: set[str] | None = None
) -> NDArray[np.int8]:
    """A column of class names (the words of `class_words` and `words`, in any case) or class numbers as class numbers.

    Nulls, empty texts, `NA` and -1 become -1. `where` names file and column in errors; raises LabelError for anything
    else. `heard` gets the texts that were found, in lower case.
    """
    kind = plain_type(column.type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _numbers_of_names(_encoded(column), where, words or {}, set() if heard is None else heard)
    if pa.types.is_null(kind):
        return np.full(len(column), NOT_ANNOTATED, np.int8)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise LabelError(f"{where} holds {kind}, neither class names nor class numbers.")
    numbers: NDArray[np.float64] = column.cast(kind).cast(pa.float64(), safe=False).to_numpy().copy()
    numbers[np.isnan(numbers)] = NOT_ANNOTATED
    odd = (numbers < NOT_ANNOTATED) | (numbers >= len(CLASSES)) | (numbers % 1 != 0)
    if odd.any():
        found = column[int(np.argmax(odd))].as_py()
        raise LabelError(f"{where} holds {found}, not a class number from {NOT_ANNOTATED} to {len(CLASSES) - 1}.")
    return numbers.astype(np.int8)


def says_none(label: object) -> bool:
    """Whether a label says that nobody judged the frame: null, NaN, -1, an empty text, `NA`."""
    if isinstance(label, str):
        return label.strip().lower() in _NOTHING
    return label is None or label == NOT_ANNOTATED or label != label


def note_counted_as_other(source: str, heard: Collection[str]) -> None:
    """Says which of the words that stand in labels count as Other, if any do; `source` is what the user calls them."""
    other = counted_as_other(sorted(heard))
    if other:
        _log.warning("%s: label %s counts as Other, since it is none of the eight classes", source, listed(other))


def _numbers_of_names(
    encoded: pa.DictionaryArray, where: str, words: Mapping[str, str], heard: set[str]
) -> NDArray[np.int8]:
    # A column has few distinct texts, so only those are looked at one by one.
    lower = {word.strip().lower(): name for word, name in words.items()}
    texts = [(text or "").strip().lower() for text in encoded.dictionary.to_pylist()]
    own = [_number_of_text(text, lower, where) for text in texts]
    heard.update(texts)
    numbers = np.array([*own, NOT_ANNOTATED], np.int8)
    index: NDArray[np.int32] = pc.fill_null(encoded.indices, len(texts)).to_numpy(zero_copy_only=False)
    return numbers[index]


def _number_of_text(text: str, words: Mapping[str, str], where: str) -> int:
    """The class number of one text in lower case: a word for a class, or a whole number such as `6`, `06` or `6.0`."""
    name = class_of(words.get(text, text))
    if name is not None:
        return CLASSES.index(name)
    if text in _NOTHING:
        return NOT_ANNOTATED
    try:
        number = float(text)
    except ValueError:
        raise LabelError(
            f"{where} holds '{text}', none of the classes {listed(CLASSES)}. Name its class with --map {text}=CLASS."
        ) from None
    if number % 1 or not NOT_ANNOTATED <= number < len(CLASSES):
        raise LabelError(f"{where} holds {text}, not a class number from {NOT_ANNOTATED} to {len(CLASSES) - 1}.")
    return int(number)
