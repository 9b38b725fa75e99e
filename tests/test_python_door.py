"""The Python door: its functions give what the commands give, whoever made the arrays and tables, and stay light."""

from __future__ import annotations

import doctest
import inspect
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.media_fixtures import ffmpeg
from helpers.runners import Affcli
from helpers.shown_commands import ROOT, blocks
from scipy import ndimage
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

import affcli as door
from affcli import errors
from affcli.cli import cli
from affcli.schema import CLASSES
from affcli.tables.reader import TableReader
from affcli.tables.writer import TableWriter

PAGE = ROOT / "man" / "affcli-python.7.md"
FRAMES = 120


def logits_of(seed: int, rows: int = 2 * FRAMES) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, len(CLASSES))).astype(np.float32)


def table_of(values: np.ndarray) -> pa.Table:
    """Two videos of FRAMES frames each."""
    keys = {"video": ["a"] * FRAMES + ["b"] * FRAMES, "frame": np.tile(np.arange(1, FRAMES + 1), 2)}
    return pa.table({**keys, **dict(zip(CLASSES, values.T, strict=True))})


class OnlyStream:
    """A table of no library: all that is known of it is Arrow's protocol."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self._table.__arrow_c_stream__(requested_schema)


class OnlyInterchange:
    """A table of no library that speaks only the data frame interchange protocol, as older pandas does."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __dataframe__(self, **options: Any) -> object:
        return self._table.__dataframe__(**options)


# --- import ----------------------------------------------------------------------------------------------------------

_IMPORT = """
import sys, time
began = time.process_time()
import affcli
took_s = time.process_time() - began
heavy = sorted({"numpy", "pyarrow", "torch", "click", "scipy", "dataclasses", "logging"} & set(sys.modules))
print(took_s, *heavy)
"""


def test_import_takes_at_most_20_ms_and_imports_no_library() -> None:
    found = [
        subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(5)
    ]
    assert [one[1:] for one in found] == [[]] * 5
    assert min(float(one[0]) for one in found) < 0.020


def test_smooth_vote_and_score_need_no_torch_and_leave_pandas_to_others(tmp_path: Path) -> None:
    script = (
        "import sys, affcli\n"
        "t = {'video': ['a', 'a'], 'frame': [1, 2], 'Anger': [1.0, 2.0], 'Fear': [0.0, 3.0]}\n"
        "affcli.score(['Anger', 'Fear'], affcli.vote(affcli.smooth(t))['label'])\n"
        "assert not {'torch', 'transformers', 'pandas', 'click', 'rich'} & set(sys.modules)\n"
        "frame = affcli.smooth(t).to_pandas()\n"
        "assert affcli.smooth(frame).num_rows == 2\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("Traceback")) == (0, "", 0), done.stderr


def test_the_public_names_are_all_there() -> None:
    assert [name for name in door.__all__ if not hasattr(door, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'smoth'"):
        door.smoth  # noqa: B018


# --- the same as the commands ----------------------------------------------------------------------------------------


def bytes_of(table: pa.Table, path: Path) -> bytes:
    with TableWriter(str(path), table.schema, force=True) as writer:
        writer.write(table)
    return path.read_bytes()


@pytest.mark.parametrize("method", ["median", "mean", "gaussian", "mode"])
def test_smooth_gives_the_bytes_of_the_command(method: str, affcli: Affcli, tmp_path: Path) -> None:
    pq.write_table(table_of(logits_of(1)), "in.parquet")
    affcli("smooth", "in.parquet", "-k", 7, "--method", method, "-o", "out.parquet")
    smoothed = door.smooth(table_of(logits_of(1)), 7, method)
    assert bytes_of(smoothed, tmp_path / "door.parquet") == Path("out.parquet").read_bytes()
    assert smoothed.equals(door.smooth("in.parquet", 7, method), check_metadata=True)


def test_vote_gives_the_bytes_of_the_command(affcli: Affcli, tmp_path: Path) -> None:
    tables = [table_of(logits_of(seed)) for seed in (1, 2)]
    for number, table in enumerate(tables):
        pq.write_table(table, f"{number}.parquet")
    affcli("vote", "0.parquet", "1.parquet", "--weights", "2,1", "--space", "probabilities", "-o", "out.parquet")
    voted = door.vote(*tables, weights=[2, 1], space="probabilities")
    assert bytes_of(voted, tmp_path / "door.parquet") == Path("out.parquet").read_bytes()


def test_vote_trusts_the_first_table_as_the_command_does(affcli: Affcli, tmp_path: Path) -> None:
    tables = [table_of(4 * logits_of(seed)) for seed in (1, 2, 3)]
    for number, table in enumerate(tables):
        pq.write_table(table, f"{number}.parquet")
    affcli("vote", "0.parquet", "1.parquet", "2.parquet", "--trust", "0.8", "-o", "out.parquet")
    voted = door.vote(*tables, trust=0.8)
    assert bytes_of(voted, tmp_path / "door.parquet") == Path("out.parquet").read_bytes()
    assert not voted.equals(door.vote(*tables[1:]))


def test_score_gives_the_figures_of_the_command_and_of_scikit_learn(affcli: Affcli) -> None:
    values, truth = logits_of(3), np.random.default_rng(4).integers(-1, 8, 2 * FRAMES)
    labels = table_of(values).select(["video", "frame"]).append_column("label", pa.array(truth))
    pq.write_table(table_of(values), "p.parquet")
    pq.write_table(labels, "l.parquet")
    said = json.loads(affcli("score", "p.parquet", "--labels", "l.parquet", "--json").stdout)
    judged, winner = truth >= 0, values.argmax(1)
    for found in (
        door.score(labels, table_of(values)),
        door.score("l.parquet", Path("p.parquet")),
        door.score(truth, values, groups=labels["video"]),
        door.score(truth, winner, groups=labels["video"].to_pylist()),
        door.score([CLASSES[n] if n >= 0 else None for n in truth], winner, groups=labels["video"]),
    ):
        assert found.macro_f1_ci is not None
        assert [found.macro_f1_ci.low, found.macro_f1_ci.high] == said["macro_f1_ci"]
        assert (found.frames, found.videos, found.macro_f1) == (said["frames"], said["videos"], said["macro_f1"])
        expected = f1_score(truth[judged], winner[judged], labels=range(8), average="macro", zero_division=0)
        assert found.macro_f1 == pytest.approx(expected, abs=1e-12)
        assert found.accuracy == accuracy_score(truth[judged], winner[judged])
        assert (found.confusion == confusion_matrix(truth[judged], winner[judged], labels=range(8))).all()
    assert door.score(truth, winner).macro_f1_ci is None


def test_read_gives_the_table_as_pyarrow_does_and_a_folder_as_one(affcli: Affcli, tmp_path: Path) -> None:
    made = door.smooth(table_of(logits_of(5)))
    (tmp_path / "parts").mkdir()
    for video in ("a", "b"):
        rows = made.filter(pa.compute.equal(made["video"], video))
        pq.write_table(rows, tmp_path / "parts" / f"{video}.parquet")
    assert door.read(tmp_path / "parts" / "a.parquet").equals(
        pq.read_table(tmp_path / "parts" / "a.parquet"), check_metadata=True
    )
    assert door.read(tmp_path / "parts").equals(made, check_metadata=True)
    (tmp_path / "ids.csv").write_text("video,frame,label\n007,1,3\n")
    assert door.read(str(tmp_path / "ids.csv")).to_pylist() == [{"video": "007", "frame": 1, "label": "3"}]


def test_label_gives_the_files_of_the_command_and_its_summary(affcli: Affcli, tmp_path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "testsrc2=s=96x96:r=5:d=0.6", "-f", "lavfi", "-i", "sine=d=0.6", "file:clip.mkv")
    affcli("label", "clip.mkv", "-o", "by-command", "--any-sound")
    summary = door.label("clip.mkv", tmp_path / "by-door", any_sound=True)
    files = sorted(path.relative_to("by-command") for path in Path("by-command").rglob("*") if path.is_file())
    assert files
    for file in files:
        assert (tmp_path / "by-door" / file).read_bytes() == ("by-command" / file).read_bytes()
    assert summary.select(["video", "frames"]).to_pylist() == [{"video": "clip", "frames": 3}]
    assert door.read("by-door").num_rows == 3
    Path("broken.mkv").write_bytes(b"no video")
    with pytest.raises(door.errors.PartialError, match="1 of 2 inputs failed"):
        door.label(["clip.mkv", "broken.mkv"], "by-door", any_sound=True, update=True)
    assert door.read("by-door").num_rows == 3


def test_the_arguments_of_label_are_the_options_of_the_command_with_their_defaults() -> None:
    command = cli.get_command(click.Context(cli), "label")
    assert command is not None
    shown = dict(command.make_context("label", ["a.mp4", "-o", "out"]).params)
    for name in ("inputs", "folder", "from_file", "nul", "shard"):  # who names videos in Python may name some of them
        del shown[name]
    own = {p.name: p.default for p in inspect.signature(door.label).parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert own == shown


# --- whoever made them -----------------------------------------------------------------------------------------------


def data_frames(table: pa.Table) -> list[Any]:
    made = [pd.DataFrame(table.to_pydict()), OnlyStream(table), OnlyInterchange(table), table.to_pydict()]
    made += [table.to_reader(), table.combine_chunks().to_batches()[0]]
    try:
        import duckdb
        import polars as pl
    except ImportError:
        return made
    return [*made, pl.from_arrow(table), duckdb.from_arrow(table)]


def test_tables_of_any_library_give_the_same() -> None:
    values = logits_of(6).astype(np.float64)
    expected = door.smooth(table_of(values))
    for given in data_frames(table_of(values)):
        assert door.smooth(given).equals(expected, check_metadata=True), type(given)
        assert door.vote(*data_frames(table_of(values))[:1]).num_rows == expected.num_rows


def test_an_array_comes_back_as_an_array_of_its_type() -> None:
    values = logits_of(7)[:FRAMES]
    for dtype in (np.float16, np.float32, np.float64):
        assert door.smooth(values.astype(dtype)).dtype == dtype
    assert door.smooth([[1, 2], [3, 4]]).dtype == np.float64
    assert door.smooth(np.empty((0, 8), np.float32)).shape == (0, 8)
    assert door.smooth(pd.Series([1.0, 5.0, 2.0]), 3).tolist() == [1.0, 2.0, 2.0]
    assert door.smooth(pa.array([1.0, None, 2.0]), 3).tolist()[::2] == [1.0, 2.0]


def test_what_a_masked_array_hides_is_missing() -> None:
    hidden = np.ma.array([1.0, 99.0, 3.0, 4.0], mask=[False, True, False, False])
    np.testing.assert_array_equal(door.smooth(hidden, 3), door.smooth([1.0, np.nan, 3.0, 4.0], 3))
    whole = np.ma.array([[1, 9], [2, 9], [3, 9]], mask=[[False, False], [True, False], [False, False]])
    np.testing.assert_array_equal(door.smooth(whole, 1), [[1, 9], [np.nan, 9], [3, 9]])
    truth = np.ma.array([1, 2, 7], mask=[False, False, True])
    assert door.score(truth, [1, 2, 3]).accuracy == 1.0


def test_floats_longer_than_arrows_are_filtered_as_float64() -> None:
    values = np.array([0.0, 9.0, 1.0, 2.0], np.longdouble)
    smoothed = door.smooth(values, 3)
    assert smoothed.dtype == values.dtype
    assert smoothed.tolist() == [0.0, 1.0, 2.0, 2.0]


def test_a_query_that_was_not_run_is_refused_with_what_runs_it() -> None:
    class Query:
        def collect(self) -> pa.Table:
            return table_of(logits_of(1))

    for call in (door.smooth, door.vote):
        with pytest.raises(door.AffcliError, match=r"Query \(give what its collect\(\) returns\)"):
            call(Query())


@pytest.mark.parametrize(
    ("method", "oracle"),
    [
        ("median", lambda values: ndimage.median_filter(values, size=(9, 1), mode="nearest")),
        ("mean", lambda values: ndimage.uniform_filter1d(values, 9, axis=0, mode="nearest")),
        ("gaussian", lambda values: ndimage.gaussian_filter1d(values, 9 / 6, axis=0, mode="nearest", radius=4)),
    ],
)
def test_smooth_of_arrays_is_scipys_filter_group_by_group(method: str, oracle: Any) -> None:
    values = logits_of(8).astype(np.float64)
    groups = np.random.default_rng(9).integers(0, 3, len(values))  # rows of three videos, mixed
    expected = np.empty_like(values)
    for group in range(3):
        expected[groups == group] = oracle(values[groups == group])
    np.testing.assert_allclose(door.smooth(values, 9, method, groups), expected, atol=1e-12)
    one = door.smooth(values[:, 0], 9, method, groups)
    np.testing.assert_allclose(one, expected[:, 0], atol=1e-12)


def test_smooth_of_labels_takes_the_most_frequent_and_keeps_their_type() -> None:
    labels = np.array([1, 1, 2, 1, -1, 3], np.int8)
    assert door.smooth(labels, 3, "mode").tolist() == [1, 1, 1, 1, -1, 3]
    assert door.smooth(labels, 3, "mode").dtype == np.int8
    assert door.smooth(["Fear", "Anger", "Fear"], 3, "mode").tolist() == ["Fear"] * 3
    assert door.smooth(["Fear", None, "Fear"], 3, "mode").tolist() == ["Fear", None, "Fear"]


def test_probabilities_in_arrays_stay_probabilities() -> None:
    values = np.exp(logits_of(10)[:FRAMES].astype(np.float64))
    values /= values.sum(1, keepdims=True)
    np.testing.assert_allclose(door.smooth(values).sum(1), 1)
    as_logits = door.smooth(values, columns=door.ColumnNames(space="logits"))
    np.testing.assert_array_equal(as_logits, ndimage.median_filter(values, size=(11, 1), mode="nearest"))


# --- errors ----------------------------------------------------------------------------------------------------------

_ONE = {"video": ["a"], "frame": [1], "Anger": [1.0], "Fear": [0.0]}


class _Failing:
    """A stream of which the second batch does not come."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        def batches() -> Iterator[pa.RecordBatch]:
            yield table.to_batches()[0]
            raise self._error

        table = pa.table(_ONE)
        return pa.RecordBatchReader.from_batches(table.schema, batches()).__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("error", [OSError("the disk is gone"), ValueError("the disk is gone")])
@pytest.mark.parametrize("call", [door.smooth, door.vote, lambda given: door.score(given, given)])
def test_a_stream_that_breaks_off_is_a_table_error(call: Any, error: Exception) -> None:
    with pytest.raises(errors.TableError, match=r"cannot be read: .*the disk is gone") as raised:
        call(_Failing(error))
    assert "Traceback" not in str(raised.value)


@pytest.mark.parametrize(
    "call",
    [
        lambda: door.smooth(_ONE),
        lambda: door.vote(_ONE),
        lambda: door.score(pa.table({**_ONE, "label": ["Anger"]}), _ONE),
        lambda: door.read("t.parquet"),
    ],
)
def test_what_arrow_raises_late_is_a_table_error(call: Any, affcli: Affcli, monkeypatch: pytest.MonkeyPatch) -> None:
    def batch(*_: object) -> None:
        raise pa.ArrowInvalid("offsets are not monotonic.\nmore")

    pq.write_table(pa.table(_ONE), "t.parquet")
    monkeypatch.setattr(TableReader, "batches", batch)
    monkeypatch.setattr(TableReader, "read", batch)
    monkeypatch.setattr(TableReader, "read_group", batch)
    with pytest.raises(errors.TableError, match=r"^a table holds what cannot be used: .*not monotonic\.$"):
        call()


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: door.smooth(np.zeros((5, 2)), 4), "UsageError", "odd number"),
        (lambda: door.smooth(np.zeros((5, 2)), "7"), "UsageError", "odd number"),
        (lambda: door.smooth(np.zeros((5, 2)), method="max"), "UsageError", "none of median"),
        (lambda: door.smooth(np.zeros(5), method="mode"), "UsageError", "counts labels"),
        (lambda: door.smooth(_ONE, missing="drop"), "UsageError", "missing=.drop."),
        (lambda: door.smooth(_ONE, groups=["a"]), "UsageError", "groups are for arrays"),
        (lambda: door.smooth(np.zeros((5, 2)), groups=["a"]), "ColumnError", "1 value for 5 rows"),
        (lambda: door.smooth(np.zeros((2, 2, 2))), "ColumnError", "shape"),
        (lambda: door.smooth([[1], [2, 3]]), "TableError", "cannot be read"),
        (lambda: door.smooth(["a", "b"]), "ColumnError", "not of numbers"),
        (lambda: door.smooth({**_ONE, "Anger": [1.0, 2.0]}), "TableError", "cannot be read"),
        (lambda: door.smooth("nowhere.parquet"), "TableError", "No such file"),
        (lambda: door.read("-"), "TableError", "No such file"),
        (lambda: door.vote(), "UsageError", "at least one"),
        (lambda: door.vote(None), "TableError", "no table"),
        (lambda: door.vote({"clip": ["a"]}), "ColumnError", "no column 'video'"),
        (lambda: door.vote(_ONE, weights=[1, 2]), "UsageError", "2 weights for 1 table"),
        (lambda: door.vote(_ONE, weights="a"), "UsageError", "list of numbers"),
        (lambda: door.vote(_ONE, space="odds"), "UsageError", "space"),
        (lambda: door.vote(_ONE, _ONE, trust=1.5), "UsageError", "trust=1.5: must be a probability"),
        (lambda: door.vote(_ONE, trust=0.5), "UsageError", "at least two"),
        (lambda: door.score([1], [1, 2]), "ColumnError", "1 row; predictions: 2 rows"),
        (lambda: door.score([9], [1]), "LabelError", "holds 9"),
        (lambda: door.score([1], ["joy!"]), "LabelError", "joy!"),
        (lambda: door.score([1], [-1]), "AffcliError", "without a prediction"),
        (lambda: door.score([1], _ONE), "UsageError", "both as tables"),
        (lambda: door.score([1], [1], bootstrap=-1, groups=["a"]), "UsageError", "bootstrap"),
        (lambda: door.score([1], np.zeros((1, 7))), "ColumnError", "7 columns"),
        (lambda: door.label("nowhere.mp4", "out"), "AffcliError", "nowhere.mp4"),
        (lambda: door.label([], "out"), "UsageError", "at least one"),
        (lambda: door.label("x.mp4", "out", kernel=2), "UsageError", "odd number"),
        (lambda: door.label("x.mp4", "out", face="biggest"), "UsageError", "face"),
    ],
)
def test_errors_are_affclis_own_and_nothing_is_printed(
    call: Any, kind: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(door.AffcliError, match=text) as raised:
        call()
    assert type(raised.value).__name__ == kind
    assert capfd.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_the_examples_of_the_docstrings_are_true() -> None:
    found = doctest.testmod(door)
    assert found.attempted > 8
    assert found.failed == 0


def test_the_examples_of_the_page_run_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = [block for block in blocks(PAGE, "python") if not block.remark.startswith("needs videos")]
    assert len(shown) > 6
    for block in shown:
        exec(compile(block.text, str(PAGE), "exec"), names)
    assert "(300, 8) float32" in capsys.readouterr().out


def test_the_synopsis_of_the_page_names_every_function_and_argument() -> None:
    synopsis = PAGE.read_text().split("## DESCRIPTION")[0].replace("\\", "")
    for name in ("smooth", "vote", "score", "read"):
        for argument in inspect.signature(getattr(door, name)).parameters:
            assert f"*{argument}*" in synopsis, (name, argument)
    assert "**affcli.label**(*videos*, *output*" in synopsis


_USER = """
import affcli
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]

logits = np.zeros((10, 8), np.float32)
reveal_type(affcli.smooth(logits, kernel=3))
reveal_type(affcli.score([1, 2], logits[:2]).macro_f1)
found: affcli.Score = affcli.score({"video": ["a"]}, "predictions.csv")
affcli.vote(pa.table({}), {"video": ["a"]}, columns=affcli.ColumnNames(video="clip"))
affcli.smooth(logits, kernal=3)  # error
affcli.label("a.mp4", "out", face="biggest")  # error
affcli.vote(3)  # error
"""


def test_a_users_script_is_type_checked(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(_USER)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent", "user.py"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    revealed = [line for line in done.stdout.splitlines() if "Revealed type" in line]
    assert ["ndarray" in revealed[0], '"float"' in revealed[1]] == [True, True]
    wrong = {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error: " in line}
    lines = _USER.splitlines()
    assert wrong == {number for number, line in enumerate(lines, start=1) if "# error" in line}, done.stdout


def test_the_types_resolve_where_they_are_asked_for() -> None:
    assert get_type_hints(door.ColumnNames)["frame"] is str
    assert (Path(door.__file__).parent / "py.typed").is_file()
