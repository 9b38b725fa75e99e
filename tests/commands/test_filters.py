"""What every filter does: `vote`, `smooth` and `score` behave alike at their edges."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from affcli.cli import run
from affcli.console import terminal
from affcli.schema import CLASSES

FILTERS = ("vote", "smooth", "score")
TABLE_FILTERS = ("vote", "smooth")


@dataclass(frozen=True)
class Result:
    status: int
    out: bytes
    err: str


Run = Callable[..., Result]


@pytest.fixture
def affcli(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], labels: Path) -> Run:
    """Runs a command in this process, with the given bytes on its standard input."""
    terminal.start("affcli")

    def call(name: str, *arguments: object, given: bytes | None = None) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given or b"")))
        options = ["--labels", str(labels)] if name == "score" else []
        status = run([name, *options, *map(str, arguments)])
        out, err = capfdbinary.readouterr()
        return Result(status, out, err.decode())

    return call


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of the frames that `frames` makes; they lie outside the folder that outputs go to."""
    folder = tmp_path / "labels"
    folder.mkdir()
    for video in ("a", "b"):
        (folder / f"{video}.txt").write_text("\n".join([",".join(CLASSES), *"01234567"]) + "\n")
    return folder


def frames(count: int = 16) -> pa.Table:
    rng = np.random.default_rng(3)
    logits = {name: rng.normal(size=count).astype(np.float32) for name in CLASSES}
    video = ["a", "b"] * (count // 2) + ["a"] * (count % 2)
    frame = [1 + i // 2 for i in range(count)]
    return pa.table({"video": pa.array(video, pa.string()), "frame": pa.array(frame, pa.int64()), **logits})


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def save(file: Path, table: pa.Table) -> Path:
    pacsv.write_csv(table, file) if file.suffix == ".csv" else pq.write_table(table, file)
    return file


def ok(result: Result) -> bytes:
    assert result.status == 0, result.err
    return result.out


def failed(result: Result, *parts: str, status: int = 1) -> None:
    """One line, without a traceback, that holds all the parts."""
    assert result.status == status
    lines = [line for line in result.err.splitlines() if ": note: " not in line]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("affcli ")
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("name", FILTERS)
def test_standard_input_and_a_file_give_the_same(affcli: Run, tmp_path: Path, name: str) -> None:
    file = save(tmp_path / "t.parquet", frames())
    from_file = ok(affcli(name, file))
    assert ok(affcli(name, given=file.read_bytes())) == from_file
    assert ok(affcli(name, "-", given=file.read_bytes())) == from_file


@pytest.mark.parametrize("name", FILTERS)
def test_csv_and_parquet_and_any_row_order_give_the_same(affcli: Run, tmp_path: Path, name: str) -> None:
    rows = frames()
    shuffled = rows.take(pa.array(np.random.default_rng(0).permutation(rows.num_rows)))
    files = [save(tmp_path / "1.parquet", rows), save(tmp_path / "2.csv", rows), save(tmp_path / "3.csv", shuffled)]
    first, *others = [ok(affcli(name, file)) for file in files]
    assert others == [first, first]


@pytest.mark.parametrize("name", TABLE_FILTERS)
def test_rows_leave_sorted(affcli: Run, name: str) -> None:
    table = pq.read_table(pa.BufferReader(ok(affcli(name, given=parquet(frames())))))
    keys = list(zip(table["video"].to_pylist(), table["frame"].to_pylist(), strict=True))
    assert keys == sorted(keys)
    assert table.num_rows == 16


@pytest.mark.parametrize("name", TABLE_FILTERS)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_empty_table_gives_an_empty_table(affcli: Run, tmp_path: Path, name: str, suffix: str) -> None:
    file = save(tmp_path / f"t{suffix}", frames(0))
    table = pq.read_table(pa.BufferReader(ok(affcli(name, file))))
    assert table.num_rows == 0
    assert table.column_names[:3] == ["video", "frame", "time_s"]
    assert table.column_names[-9:] == [*CLASSES, "label"]


@pytest.mark.parametrize("name", TABLE_FILTERS)
def test_one_row_stays_as_it_is(affcli: Run, name: str) -> None:
    rows = frames(1)
    table = pq.read_table(pa.BufferReader(ok(affcli(name, given=parquet(rows)))))
    assert table.select(CLASSES).equals(rows.select(CLASSES))


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    ("dropped", "hint"), [("video", "--video-column"), ("frame", "--frame-column"), (CLASSES, "--classes")]
)
def test_a_missing_column_is_named_with_the_option_that_helps(
    affcli: Run, tmp_path: Path, name: str, dropped: str | tuple[str, ...], hint: str
) -> None:
    columns = [dropped] if isinstance(dropped, str) else [*dropped]
    # A column that may hold the ids: without one, all rows would be of the video that the file is named after.
    table = frames().append_column("clip", pa.array([f"c{i}" for i in range(frames().num_rows)]))
    failed(affcli(name, save(tmp_path / "t.csv", table.drop_columns(columns))), str(tmp_path / "t.csv"), hint)


@pytest.mark.parametrize("name", FILTERS)
def test_other_column_names_can_be_told(affcli: Run, tmp_path: Path, name: str) -> None:
    rows = frames()
    expected = ok(affcli(name, given=parquet(rows)))
    renamed = rows.rename_columns(["clip", "idx", *CLASSES[:-1], "Contempt"])
    assert renamed["idx"].type == pa.int64()
    zero = renamed.set_column(1, "idx", pa.array([x - 1 for x in rows["frame"].to_pylist()]))
    told = ["--video-column", "clip", "--frame-column", "idx", "--frame-offset", "1", "--map", "Contempt=Other"]
    assert ok(affcli(name, *told, given=parquet(zero))) == expected


@pytest.mark.parametrize("name", FILTERS)
def test_frame_zero_is_an_error_that_names_the_offset(affcli: Run, name: str) -> None:
    rows = frames().set_column(1, "frame", pa.array([i // 2 for i in range(16)]))
    failed(affcli(name, given=parquet(rows)), "1-based", "--frame-offset 1")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "0 bytes"), (b"PAR1", "standard input: not a table"), (b"hello\n", "no column 'video'")],
)
def test_what_is_no_table_gets_one_line(affcli: Run, name: str, content: bytes, message: str) -> None:
    failed(affcli(name, given=content), message)


@pytest.mark.parametrize("name", FILTERS)
def test_a_wrong_path_is_named(affcli: Run, name: str) -> None:
    failed(affcli(name, "nowhere.parquet"), "nowhere.parquet: No such file or directory")


@pytest.mark.parametrize("name", FILTERS)
def test_an_existing_output_is_refused_without_force(affcli: Run, tmp_path: Path, name: str) -> None:
    output = tmp_path / "out"
    output.write_text("mine")
    failed(affcli(name, "-o", output, given=parquet(frames())), str(output), "--force")
    assert output.read_text() == "mine"
    ok(affcli(name, "-o", output, "--force", given=parquet(frames())))
    assert output.read_bytes()[:4] != b"mine"


@pytest.mark.parametrize("name", FILTERS)
def test_the_same_input_gives_the_same_bytes(affcli: Run, tmp_path: Path, name: str) -> None:
    for output in ("1", "2"):
        ok(affcli(name, "-o", tmp_path / output, given=parquet(frames())))
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["1", "2", "labels"]


@pytest.mark.parametrize("name", FILTERS)
def test_missing_logits_are_counted_in_one_note(affcli: Run, name: str) -> None:
    rows = frames()
    column = rows["Fear"].to_pylist()
    rows = rows.set_column(rows.column_names.index("Fear"), "Fear", pa.array([None, np.nan, *column[2:]], pa.float32()))
    result = affcli(name, given=parquet(rows))
    assert result.status == 0
    assert result.err.count("2 missing logits") == 1
    assert "missing" not in affcli(name, "-q", given=parquet(rows)).err


@pytest.mark.parametrize("name", TABLE_FILTERS)
@pytest.mark.parametrize("chosen", ["parquet", "csv", "arrow"])
def test_standard_output_takes_every_format(affcli: Run, name: str, chosen: str) -> None:
    magic = {"parquet": b"PAR1", "csv": b"video,", "arrow": b"ARROW1"}[chosen]
    assert ok(affcli(name, "--format", chosen, given=parquet(frames()))).startswith(magic)


@pytest.mark.parametrize("name", TABLE_FILTERS)
@pytest.mark.parametrize("chosen", ["parquet", "csv"])
def test_what_fails_at_its_first_video_prints_nothing(affcli: Run, name: str, chosen: str) -> None:
    rows = frames().set_column(1, "frame", pa.array([0] * 16))
    result = affcli(name, "--format", chosen, given=parquet(rows))
    failed(result, "--frame-offset")
    assert result.out == b""


@pytest.mark.parametrize("name", TABLE_FILTERS)
def test_an_output_of_unknown_suffix_is_wrong_usage(affcli: Run, tmp_path: Path, name: str) -> None:
    output = tmp_path / "x.csv.gz"
    failed(affcli(name, "-o", output, given=parquet(frames())), str(output), "'.gz'", ".csv", "--format", status=2)
    assert not output.exists()


@pytest.mark.parametrize("name", TABLE_FILTERS)
def test_binary_tables_are_not_written_to_a_terminal(
    affcli: Run, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = save(tmp_path / "t.parquet", frames())
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    failed(affcli(name, file), "-o FILE, --format csv, or a pipe", status=2)
    assert ok(affcli(name, file, "--format", "csv")).startswith(b"video,frame")


@pytest.mark.parametrize("arguments", [["vote", "--weights", "1,x"], ["vote", "--weights", "1"], ["smooth", "-k", "4"]])
def test_wrong_usage_has_its_own_status(affcli: Run, tmp_path: Path, arguments: list[str]) -> None:
    file = save(tmp_path / "t.parquet", frames())
    failed(affcli(*arguments, file, *([file] if arguments[0] == "vote" else [])), status=2)


def test_standard_input_can_be_read_once(affcli: Run) -> None:
    failed(affcli("vote", "-", "-", given=parquet(frames())), "only one INPUT", status=2)


def test_vote_then_smooth_then_score_is_a_pipe(affcli: Run, tmp_path: Path) -> None:
    rows = pa.concat_tables([frames(), frames()])
    votes = ok(affcli("vote", given=parquet(rows)))
    assert pq.read_table(pa.BufferReader(votes))["votes"].to_pylist() == [2] * 16
    smoothed = ok(affcli("smooth", "-k", "3", given=votes))
    assert b"macro" in ok(affcli("score", given=smoothed)).lower()
    failed(affcli("smooth", given=parquet(rows)), "affcli vote")
    failed(affcli("score", given=parquet(rows)), "affcli vote")


# --- real processes ---------------------------------------------------------------------------------------------------


def process(name: str, file: Path, labels: Path) -> list[str]:
    return [sys.executable, "-m", "affcli", name, str(file), *(["--labels", str(labels)] if name == "score" else [])]


@pytest.mark.parametrize("name", FILTERS)
def test_no_filter_imports_torch(tmp_path: Path, labels: Path, name: str) -> None:
    poison = tmp_path / "poison"
    for package in ("torch", "transformers"):
        (poison / package).mkdir(parents=True)
        (poison / package / "__init__.py").write_text(f"raise SystemExit('{package} was imported')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(poison), *sys.path])}
    command = process(name, save(tmp_path / "t.parquet", frames()), labels)
    for arguments in (command, [*command[:4], "--help"]):
        done = subprocess.run(arguments, capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr.decode()
    caught = subprocess.run([sys.executable, "-c", "import torch"], capture_output=True, env=environment, check=False)
    assert b"torch was imported" in caught.stderr


@pytest.mark.parametrize("name", TABLE_FILTERS)
@pytest.mark.parametrize("chosen", ["parquet", "csv"])
def test_a_reader_that_has_enough_is_no_error(tmp_path: Path, labels: Path, name: str, chosen: str) -> None:
    count = 200_000  # more than a pipe holds
    columns = {"video": pa.repeat(pa.scalar("a"), count), "frame": np.arange(1, count + 1)}
    rows = pa.table({**columns, **{n: np.random.default_rng(0).random(count) for n in CLASSES}})
    command = [*process(name, save(tmp_path / "t.parquet", rows), labels), "--format", chosen]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.read(100)
        running.stdout.close()
        assert running.stderr.read() == b""


@pytest.mark.parametrize("name", TABLE_FILTERS)
def test_standard_output_by_its_name_is_written_like_a_pipe(tmp_path: Path, labels: Path, name: str) -> None:
    command = [*process(name, save(tmp_path / "t.parquet", frames()), labels), "-o", "/dev/stdout", "--format", "csv"]
    with (tmp_path / "out.csv").open("wb") as output:
        output.write(b"before\n")
        output.flush()
        subprocess.run(command, stdout=output, check=True)
    lines = (tmp_path / "out.csv").read_bytes().splitlines()
    assert (lines[0], len(lines)) == (b"before", 18)
