"""Corpora of labelled speech: a folder of sound files, and in it labels.csv, which says what each of them shows."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from affcli.class_words import class_of
from affcli.errors import LabelError, UsageError, counted, listed
from affcli.facesets.listing import HELD_OUT, TEST, TRAIN, Labelled, Listing, Origin, joined
from affcli.schema import CLASSES
from affcli.tables.reader import TableReader

LABELS: Final = ("labels.csv", "labels.tsv", "labels.parquet")
FILE, LABEL, SPEAKER, SPLIT = "file", "label", "speaker", "split"
_PARTS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("", "train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "dev", "held out"), HELD_OUT),
    "test": TEST,
}

log = logging.getLogger(__name__)


@dataclass
class Corpus:
    """What one folder holds, row by row of its table."""

    name: str
    paths: list[str] = field(default_factory=list)
    targets: list[NDArray[np.float32]] = field(default_factory=list)
    speakers: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    has_parts: bool = False


@dataclass(frozen=True, eq=False)
class Speech:
    """The utterances to train on and those held out, some of them of a corpus that is left out as a whole."""

    listing: Listing
    left_out: int | None  # number of that corpus among the listing's sources

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """[n]: which of the held-out utterances choose the epoch; the others are of the corpus left out."""
        source = self.listing.held_out.source
        return np.ones(len(source), bool) if self.left_out is None else source != self.left_out


def list_speech(
    specs: Sequence[tuple[str, Path]], *, leave_out: str | None = None, holdout: float = 0.1, seed: int = 0
) -> Speech:
    """What is in the corpora `(name, folder)`; no sound is decoded.

    Utterances whose `split` says so are held out, those of a test part are not used. Of a corpus without such a column,
    a fraction `holdout` of its speakers is held out, chosen by `seed`; one speaker at least, and never the last one.
    All of the corpus `leave_out` is held out. Raises UsageError and LabelError, each with the next step.
    """
    names = [name for name, _ in specs]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UsageError(f"--data: two corpora are called '{twice[0]}'; name one of them: --data NAME=DIR.")
    if leave_out is not None and leave_out not in names:
        raise UsageError(f"--leave-out {leave_out}: no such corpus; --data names {listed(names)}.")
    corpora = [read_corpus(name, folder) for name, folder in specs]
    parts: dict[str, list[Labelled]] = {TRAIN: [], HELD_OUT: [], TEST: []}
    for number, corpus in enumerate(corpora):
        chosen = np.array(_parts(corpus, leave_out=corpus.name == leave_out, holdout=holdout, seed=seed))
        for part, found in parts.items():
            found.append(_labelled(corpus, np.flatnonzero(chosen == part), number))
    train, held_out, unused = (joined(parts[part]) for part in (TRAIN, HELD_OUT, TEST))
    if not len(train):
        raise LabelError(f"no utterances to train on in {listed([str(folder) for _, folder in specs])}.")
    listing = Listing(tuple(names), train, held_out, unused, counted="utterances")
    return Speech(listing, None if leave_out is None else names.index(leave_out))


def read_corpus(name: str, folder: Path) -> Corpus:
    """The rows of a folder's table that have a label and a file; a note tells what is left out.

    Raises LabelError for a folder or a table that cannot be used, or without a single utterance.
    """
    if not folder.is_dir():
        raise LabelError(f"--data {folder}: {'is a file; name its folder' if folder.exists() else 'no such folder'}.")
    table = next((folder / one for one in LABELS if (folder / one).is_file()), None)
    if table is None:
        raise LabelError(
            f"--data {folder}: has no labels.csv (.tsv, .parquet) with a column 'file', a column 'label' or one column "
            "per class, and 'speaker'."
        )
    with TableReader(str(table), text=(FILE, LABEL, SPEAKER, SPLIT)) as reader:
        reader.require(FILE)
        rows = reader.read()
    targets = _targets(table, rows)
    corpus, left_out = Corpus(name, has_parts=SPLIT in rows.column_names), Counter[str]()
    columns = [_texts(rows, column) for column in (FILE, SPEAKER, SPLIT)]
    for number, (file, speaker, split, target) in enumerate(zip(*columns, targets, strict=True), start=2):
        if isinstance(target, str):
            left_out[target] += 1
        elif not (folder / file).is_file() or not file:
            left_out["without their file"] += 1
        else:
            corpus.paths.append(str(folder / file))
            corpus.targets.append(target)
            corpus.speakers.append(speaker or file)
            corpus.parts.append(_part(table, number, split))
    _check(corpus, table, rows, left_out)
    return corpus


def _check(corpus: Corpus, table: Path, rows: pa.Table, left_out: Counter[str]) -> None:
    reasons = listed([f"{count:,} {reason}" for reason, count in left_out.most_common()])
    if not corpus.paths:
        raise LabelError(f"{table}: no utterance can be used{f' ({reasons})' if left_out else '; it has no rows'}.")
    if twice := [path for path, count in Counter(corpus.paths).items() if count > 1]:
        raise LabelError(f"{table}: {twice[0]} has {counted(corpus.paths.count(twice[0]), 'row')}; it may have one.")
    if left_out:
        log.warning("%s: %s left out: %s.", corpus.name, counted(left_out.total(), "utterance"), reasons)
    if SPEAKER not in rows.column_names and not corpus.has_parts:
        log.warning("%s: has no column 'speaker', so each file counts as a speaker of its own.", table)


def _texts(rows: pa.Table, column: str) -> list[str]:
    """A column of text, without nulls and surrounding blanks; empty texts where there is no such column."""
    if column not in rows.column_names:
        return [""] * len(rows)
    return [str(value).strip() if value is not None else "" for value in rows[column].to_pylist()]


def _part(table: Path, number: int, split: str) -> str:
    if (part := _PARTS.get(split.lower())) is None:
        raise LabelError(f"{table}, row {number}: split '{split}' is none of train, val and test.")
    return part


def _targets(table: Path, rows: pa.Table) -> Iterator[NDArray[np.float32] | str]:
    """Of each row the class probabilities [8], or why it is left out. Columns of classes come before a label."""
    soft = {name: known for name in rows.column_names if _numeric(rows, name) and (known := class_of(name))}
    if soft:
        yield from _soft(table, rows, soft)
        return
    if LABEL not in rows.column_names:
        raise LabelError(
            f"{table}: has neither a column 'label' nor columns of votes named by class (columns: "
            f"{listed(rows.column_names)})."
        )
    for word in _texts(rows, LABEL):
        known = class_of(word)
        yield f"labelled '{word}'" if known is None else np.eye(len(CLASSES), dtype=np.float32)[CLASSES.index(known)]


def _soft(table: Path, rows: pa.Table, classes: Mapping[str, str]) -> Iterator[NDArray[np.float32] | str]:
    votes = np.zeros((len(rows), len(CLASSES)))
    for name, known in classes.items():
        votes[:, CLASSES.index(known)] += np.nan_to_num(_floats(rows[name]))
    if (votes < 0).any() or not np.isfinite(votes).all():
        row = int(np.flatnonzero((votes < 0).any(1) | ~np.isfinite(votes).all(1))[0])
        raise LabelError(f"{table}, row {row + 2}: votes must be numbers from 0 on (columns {listed(list(classes))}).")
    for own in votes:
        yield (own / own.sum()).astype(np.float32) if own.any() else "without votes"


def _numeric(rows: pa.Table, name: str) -> bool:
    kind = rows.schema.field(name).type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)


def _parts(corpus: Corpus, *, leave_out: bool, holdout: float, seed: int) -> list[str]:
    """What becomes of each utterance."""
    if leave_out:
        return [TEST if part == TEST else HELD_OUT for part in corpus.parts]
    if corpus.has_parts:
        return corpus.parts
    names = sorted(set(corpus.speakers))
    count = min(max(round(holdout * len(names)), 1), len(names) - 1) if holdout > 0 else 0
    chosen = set(np.random.default_rng(seed % (1 << 63)).permutation(names)[:count].tolist())
    return [HELD_OUT if speaker in chosen else TRAIN for speaker in corpus.speakers]


def _labelled(corpus: Corpus, rows: NDArray[np.int64], number: int) -> Labelled:
    origins = tuple(Origin(corpus.paths[row]) for row in rows)
    targets = np.array([corpus.targets[row] for row in rows], np.float32).reshape(-1, len(CLASSES))
    return Labelled(origins, targets, np.full(len(rows), number, np.int16), np.full(len(rows), number, np.int32))


def name_of(spec: str) -> tuple[str, Path]:
    """`NAME=DIR`, or `DIR`, whose name is then the folder's own."""
    name, equals, folder = spec.partition("=")
    path = Path(folder if equals else spec)
    return (name if equals else path.resolve().name), path
