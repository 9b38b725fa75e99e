"""affcli: labels the facial expression in every frame of a video, from image and audio.

The functions here are what the commands do, with arrays and tables in memory in place of files; affcli-python(7)
describes them. A table is anything that speaks Arrow's protocol (`__arrow_c_stream__`: pandas, polars, DuckDB,
pyarrow), a dict of columns, or the path of a file or folder; a table that comes out is a `pyarrow.Table`. An array is
anything that numpy makes one of; an array that comes out is a numpy array.

Errors are `affcli.AffcliError` and the classes below it in `affcli.errors`. Notes go to the logger `affcli`. Importing
affcli imports neither numpy nor pyarrow nor torch; what a function needs is imported when it is called, and only
`label` needs torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

from affcli import errors
from affcli.errors import AffcliError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Protocol

    import pyarrow as pa
    from numpy.typing import ArrayLike, NDArray

    from affcli.predictions.columns import ColumnNames
    from affcli.scoring.metrics import Score

    class ArrowStream(Protocol):
        """A table of any library that speaks Arrow's protocol."""

        def __arrow_c_stream__(self, requested_schema: Any = None) -> object:
            """A capsule with an ArrowArrayStream."""

    Path = str | os.PathLike[str]
    Table = ArrowStream | Mapping[str, Any] | Path

__version__ = "0.2.0"
__all__ = [
    "AffcliError",
    "ColumnNames",
    "Score",
    "__version__",
    "errors",
    "label",
    "read",
    "score",
    "smooth",
    "vote",
]


def __getattr__(name: str) -> Any:
    """The types of arguments and results, imported when they are asked for."""
    if name == "ColumnNames":
        from affcli.predictions.columns import ColumnNames

        return ColumnNames
    if name == "Score":
        from affcli.scoring.metrics import Score

        return Score
    raise AttributeError(f"module 'affcli' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__]


def read(path: Path) -> pa.Table:
    """The table in a file of any format that the commands read, or all tables of a folder as one.

    Ids and labels are text, and no column is a dictionary. Of a folder that `affcli label` wrote these are the frames.
    Raises TableError for what is no table.

    >>> import affcli, tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "logits.csv"
    >>> _ = file.write_text("video,frame,Anger,Happiness\\n007,1,-0.5,2.25\\n")
    >>> affcli.read(file).to_pylist()
    [{'video': '007', 'frame': 1, 'Anger': -0.5, 'Happiness': 2.25}]
    """
    from affcli.tables.given import table_source
    from affcli.tables.whole import read_whole

    with errors.told_as_ours():
        return read_whole(table_source(path, "path"))


@overload
def smooth(
    logits: Table,
    kernel: int = ...,
    method: str = ...,
    groups: None = ...,
    *,
    missing: Literal["keep", "exclude"] = ...,
    columns: ColumnNames | None = ...,
) -> pa.Table: ...
@overload
def smooth(
    logits: ArrayLike,
    kernel: int = ...,
    method: str = ...,
    groups: ArrayLike | ArrowStream | None = ...,
    *,
    missing: Literal["keep", "exclude"] = ...,
    columns: ColumnNames | None = ...,
) -> NDArray[Any]: ...
def smooth(
    logits: Any,
    kernel: int = 11,
    method: str = "median",
    groups: Any = None,
    *,
    missing: Literal["keep", "exclude"] = "keep",
    columns: ColumnNames | None = None,
) -> Any:
    """Logits filtered over time, separately for each video and class, as `affcli smooth` does.

    `logits` is an array [frames, classes] or [frames], in the order of the frames, and the result an array of the same
    shape and floating type; or a table with `video`, `frame` and a column per class, and the result a frame table with
    new labels. `kernel` is the length of the filter in frames: odd, 1 to 1001. `method` is median, mean, gaussian
    (sigma = kernel / 6) or mode: of numbers the shares of the largest ones' classes, of labels (an array [frames] of
    texts or whole numbers, or a table without logits) the most frequent label. At the ends the last value is repeated.
    NaN is left out of every window and stays; `missing="exclude"` fills it, and leaves out the frames of a table whose
    `face` is false.

    `groups` [frames] tells the videos of an array apart; no window reaches from one into another. `columns` says what a
    table's columns are called. Raises UsageError for a filter that cannot be, ColumnError and TableError for what
    cannot be read, RepeatedFrameError for a table with two rows for one frame.

    >>> import affcli
    >>> affcli.smooth([0.0, 9.0, 1.0, 2.0, 2.0], kernel=3).tolist()
    [0.0, 1.0, 2.0, 2.0, 2.0]
    >>> affcli.smooth([0.0, 9.0, 1.0, 2.0, 2.0], kernel=3, groups=["a", "a", "b", "b", "b"]).tolist()
    [0.0, 9.0, 1.0, 2.0, 2.0]
    """
    from affcli.predictions.arrays import smoothed_array
    from affcli.predictions.logit_table import LogitTable
    from affcli.predictions.smooth import Filter, Smooth
    from affcli.tables.given import source_of

    _check_choice("missing", missing, ("keep", "exclude"))
    chosen = Filter(kernel, method, exclude_faceless=missing == "exclude")
    source = source_of(logits, "logits")
    if source is None:
        return smoothed_array(logits, chosen, groups, columns)
    if groups is not None:
        raise errors.UsageError("groups are for arrays: the column 'video' of a table tells its videos apart.")
    with errors.told_as_ours(), LogitTable(source, columns=columns) as table:
        filtered = Smooth(table, chosen)
        return _together(filtered.frames(), filtered.schema, [table])


def vote(
    *tables: Table,
    space: Literal["logits", "probabilities"] | None = None,
    hard: bool = False,
    weights: Sequence[float] | None = None,
    calibration: Path | None = None,
    trust: float | None = None,
    columns: ColumnNames | None = None,
) -> pa.Table:
    """One row per frame: the mean of all logits that cover it, with its label, as `affcli vote` does.

    A table has the columns `video`, `frame` (or `start` and `end`) and one column of logits per class. Several form an
    ensemble: a frame takes the mean of the tables' own means, weighted by `weights`. `space`, `hard`, `calibration` (a
    file of `affcli calibrate`) and `trust` (a probability from 0 to 1 above which the first table decides) are the
    command's options. Raises SpaceError, ClassMismatchError, ColumnError,
    TableError and UsageError where the command does.

    >>> import affcli
    >>> windows = {"video": ["a", "a", "a"], "frame": [1, 2, 2], "Anger": [1.0, 0.0, 1.0], "Fear": [0.0, 2.0, 0.5]}
    >>> affcli.vote(windows).select(["frame", "votes", "Anger", "Fear", "label"]).to_pylist()
    [{'frame': 1, 'votes': 1, 'Anger': 1.0, 'Fear': 0.0, 'label': 'Anger'}, \
{'frame': 2, 'votes': 2, 'Anger': 0.5, 'Fear': 1.25, 'label': 'Fear'}]
    """
    from contextlib import ExitStack

    from affcli.predictions.calibration import read_calibration
    from affcli.predictions.logit_table import LogitTable
    from affcli.predictions.space import SHARES
    from affcli.predictions.vote import PER_FRAME, Vote
    from affcli.tables.given import table_source

    if not tables:
        raise errors.UsageError("vote: name at least one table.")
    _check_choice("space", space, (None, "logits", "probabilities"))
    if trust is not None and not 0 <= trust <= 1:
        raise errors.UsageError(f"trust={trust!r}: must be a probability from 0 to 1.")
    names = [f"table {number}" if len(tables) > 1 else "table" for number in range(1, len(tables) + 1)]
    offsets = None if calibration is None else read_calibration(str(calibration))
    with errors.told_as_ours(), ExitStack() as files:
        sources = [table_source(one, name) for one, name in zip(tables, names, strict=True)]
        inputs = [files.enter_context(LogitTable(one, columns=columns, carry=PER_FRAME)) for one in sources]
        voted = Vote(
            inputs, space=SHARES if hard else space, weights=_numbers(weights), calibration=offsets, trust=trust
        )
        return _together(voted.frames(), voted.schema, inputs)


def score(
    labels: Table | ArrayLike,
    predictions: Table | ArrayLike,
    *,
    groups: ArrayLike | ArrowStream | None = None,
    faces_only: bool = False,
    allow_missing: bool = False,
    label_column: str | None = None,
    label_frame_offset: int = 0,
    bootstrap: int = 1000,
    seed: int = 0,
    columns: ColumnNames | None = None,
) -> Score:
    """Predictions compared with labels, as `affcli score` does: macro F1 over the eight classes, accuracy, confusion.

    Either both are arrays of the same frames: labels [frames] of class numbers (0 to 7, -1 where nobody judged) or
    names, predictions the same or logits [frames, 8]; `groups` [frames] tells their videos apart, and without it there
    are no intervals. Or both are tables or paths, which are joined by `video` and `frame`: labels a table with `label`,
    or an Aff-Wild2 label folder or file; predictions a table of logits or labels. The other arguments are the
    command's options, `columns` those on a table's columns.

    Raises LabelError for what is no label, ColumnError and TableError for what cannot be read, and AffcliError where a
    labelled frame has no prediction, unless `allow_missing`.

    >>> import affcli
    >>> found = affcli.score(["Anger", "Fear", "Fear", "Other"], ["Anger", "Fear", "Anger", "Other"])
    >>> found.accuracy, round(found.macro_f1, 4), found.frames
    (0.75, 0.2917, 4)
    """
    from affcli.labels.reader import read_labels
    from affcli.predictions.arrays import scored_tables
    from affcli.predictions.columns import ColumnNames, label_options
    from affcli.scoring.metrics import compare
    from affcli.scoring.tally import Rules, tally_of
    from affcli.tables.given import source_of

    if bootstrap < 0:
        raise errors.UsageError(f"bootstrap={bootstrap}: must be at least 0.")
    columns = columns or ColumnNames()
    truth, guess = source_of(labels, "labels"), source_of(predictions, "predictions")
    if truth is None and guess is None:
        bootstrap = bootstrap if groups is not None else 0
        truth, guess = scored_tables(labels, predictions, groups)
    elif truth is None or guess is None or groups is not None:
        raise errors.UsageError("score: give labels and predictions both as tables (or paths), or both as arrays.")
    rules = Rules(faces_only=faces_only, allow_missing=allow_missing, label_column=label_column)
    with errors.told_as_ours():
        known = read_labels(truth, label_options(columns, label_frame_offset))
        return compare([tally_of(guess, columns, known, rules)], bootstrap=bootstrap, seed=seed)[0].score


def label(
    videos: Path | Iterable[Path],
    output: Path,
    *,
    model: str = "mini",
    visual_model: str | Sequence[str] = (),
    audio_model: str | Sequence[str] = (),
    face: Literal["largest", "left", "right", "all"] = "largest",
    every: int = 1,
    fps: float | None = None,
    video_track: int | None = None,
    audio_track: int | Literal["first", "loudest"] = "first",
    window: int | None = None,
    stride: int | None = None,
    kernel: int = 11,
    method: str = "median",
    min_confidence: float | None = None,
    any_sound: bool = False,
    batch_size: int = 32,
    names: Literal["stem", "path"] = "stem",
    device: str = "auto",
    precision: str = "auto",
    force: bool = False,
    update: bool = False,
    fail_fast: bool = False,
) -> pa.Table:
    """Labels every frame of videos and writes the folder `output`, as `affcli label` does; its summary comes back.

    `videos` is one path or several, of videos, sounds, or folders that are searched for them. The summary has one row
    per video; `affcli.read(output)` gives the frames. The other arguments are the command's options. Called again, it
    continues interrupted work, and returns the summary at once where all is done.

    Raises PartialError where some inputs failed or are incomplete: all others are done and written, and the summary
    (`affcli.read(f"{output}/summary.parquet")`) names those in its column `problem`. Raises NothingDoneError where
    none could be used, OutputExistsError where `output` was made otherwise and neither `force` nor `update` is given,
    and BusyError where other processes are still at work on some of the inputs.
    """
    import os

    from affcli.files.inputs import SOUND_SUFFIXES, find_inputs
    from affcli.jobs.job import run
    from affcli.jobs.progress import Silent
    from affcli.media.track_choice import TrackChoice
    from affcli.models.label.chain import ChainOptions
    from affcli.models.label.job import label_job, summary_of
    from affcli.predictions.smooth import Filter

    _check_choice("face", face, ("largest", "left", "right", "all"))
    _check_choice("names", names, ("stem", "path"))
    given = [videos] if isinstance(videos, str | os.PathLike) else list(videos)
    if not given:
        raise errors.UsageError("label: name at least one video.")
    smoothing = Filter(kernel, method)
    inputs = find_inputs([os.fspath(one) for one in given], ids=names, by_name_only=SOUND_SUFFIXES)
    chosen = ChainOptions(
        model=model,
        visual_model=_names(visual_model),
        audio_model=_names(audio_model),
        face=face,
        every=every,
        fps=fps,
        window=window,
        stride=stride,
        smoothing=smoothing,
        min_confidence=min_confidence,
        any_sound=any_sound,
        device=device,
        precision=precision,
        batch_size=batch_size,
        tracks=TrackChoice(video_track, audio_track, fps),
    )
    job, labelling = label_job(inputs, os.fspath(output), chosen, force=force, update=update, fail_fast=fail_fast)
    return summary_of(os.fspath(output), run(job, inputs, labelling, Silent()))


def _names(given: str | Sequence[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def _numbers(weights: Sequence[float] | None) -> list[float] | None:
    try:
        return None if weights is None else [float(weight) for weight in weights]
    except (TypeError, ValueError) as error:
        raise errors.UsageError(f"weights={weights!r}: is not a list of numbers.") from error


def _check_choice(name: str, given: object, choices: Sequence[object]) -> None:
    if given not in choices:
        raise errors.UsageError(f"{name}={given!r}: is none of {', '.join(map(repr, choices))}.")


def _together(frames: Iterable[pa.Table], schema: pa.Schema, inputs: Sequence[Any]) -> pa.Table:
    """All videos' rows as one table; says what was missing in the inputs."""
    import pyarrow as pa

    parts = [rows.select(schema.names).cast(schema) for rows in frames]
    for table in inputs:
        table.note_missing()
    return pa.concat_tables(parts).combine_chunks() if parts else schema.empty_table()
