"""Outputs appear when they are complete; leftovers of killed runs go, and what a second run is writing stays."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affcli.errors import AffcliError, OutputError
from affcli.files import outputs

DIGITS = "0123456789abcdef"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", [("info", "t.parquet"), ("smooth", "t.parquet", "-k", "1", "--format", "csv")])
def test_a_full_disk_behind_standard_output_is_exit_1(
    tmp_path: Path, arguments: tuple[str, ...], unbuffered: str
) -> None:
    columns = {"video": ["a"] * 3, "frame": [1, 2, 3], "X": [0.5, 1.0, 2.0], "Y": [1.0, 0.0, 1.0]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "affcli", *arguments, *(() if arguments[0] == "info" else ("-q",))],
            cwd=tmp_path,
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert ended.stderr.splitlines()[-1:] == [
        f"affcli {arguments[0]}: standard output: cannot be written: No space left on device."
    ]
    assert ended.returncode == 1


def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="full: cannot be written: No space left on device"):
        outputs.write_bytes(tmp_path / "full", b"x" * 100_000)


def test_temporary_names_cannot_be_foretold_and_no_link_is_followed(tmp_path: Path) -> None:
    one, first = outputs.create_temporary(tmp_path / "t")
    other, second = outputs.create_temporary(tmp_path / "t")
    first.close()
    second.close()
    assert one != other
    for path in (one, other):
        assert path.parent == tmp_path
        assert path.name.startswith(".t.affcli-")


def test_what_another_machine_may_still_be_writing_is_left_alone(tmp_path: Path) -> None:
    """Its lock may not be seen here."""
    temporary, stream = outputs.create_temporary(tmp_path / "t")
    stream.close()
    there = tmp_path / temporary.name.replace(outputs._host(), "0badcafe")
    there.write_text("half")
    outputs.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [there]


def test_what_a_process_still_writes_is_no_leftover(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from affcli.files import outputs
temporary, stream = outputs.create_temporary(Path({str(tmp_path / "t")!r}))
with outputs.temporary_folder(Path({str(tmp_path / "folder")!r})) as folder:
    (folder / "x").touch()
    print("here", flush=True)
    time.sleep(600)
"""
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "here\n"
    outputs.remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    outputs.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_only_names_of_ours_are_leftovers_and_links_stay(tmp_path: Path) -> None:
    (tmp_path / "held").write_text("mine")
    for name in (".t.4711.tmp", ".t.tmp", f"t.affcli-{DIGITS}.tmp", f".affcli-{DIGITS}.tmp"):
        (tmp_path / name).write_text("mine")
    (tmp_path / f".l.affcli-{DIGITS}.tmp").symlink_to("held")
    os.mkfifo(tmp_path / f".p.affcli-{DIGITS}.tmp")
    before = {path.name for path in tmp_path.iterdir()}
    (tmp_path / f".t.affcli-{DIGITS}.tmp").write_text("half")
    with (tmp_path / f".u.affcli-{DIGITS}.tmp").open("wb") as live:
        fcntl.flock(live, fcntl.LOCK_EX)
        outputs.remove_leftovers(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == before | {f".u.affcli-{DIGITS}.tmp"}
    assert (tmp_path / "held").read_text() == "mine"


def test_a_folder_that_was_moved_away_comes_back_where_the_new_one_never_came(tmp_path: Path) -> None:
    (tmp_path / f".model.affcli-{DIGITS}.old").mkdir()
    (tmp_path / f".model.affcli-{DIGITS}.old" / "weights").write_text("old")
    outputs.remove_leftovers(tmp_path)
    assert (tmp_path / "model" / "weights").read_text() == "old"
    with outputs.complete_folder(str(tmp_path / "model")) as made:
        (made / "weights").write_text("new")
    assert (tmp_path / "model" / "weights").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("names", [("a/b", "a//b"), ("a/./b", "a/b"), ("c", "c")])
@pytest.mark.parametrize("existing", [False, True])
def test_two_names_of_one_file_are_refused_and_nothing_is_lost(
    tmp_path: Path, names: tuple[str, str], *, existing: bool
) -> None:
    folder = tmp_path / "out"
    if existing:
        folder.mkdir()
    with pytest.raises(AffcliError, match="would be one file"):
        outputs.write_folder(str(folder), [(name, name) for name in names], force=existing)
    assert existing or list(tmp_path.iterdir()) == []


def test_a_link_stays_a_link_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    outputs.write_bytes(tmp_path / "link.txt", b"new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_bytes() == b"new"


CLOSED = (
    "import os, sys; [os.close(int(n)) for n in sys.argv[1]]; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
)


@pytest.mark.parametrize(
    ("closed", "arguments", "status", "last"),
    [
        ("1", ("smooth", "t.parquet", "-k", "1"), 1, "standard output: cannot be written: Bad file descriptor."),
        ("1", ("info", "t.parquet"), 1, "standard output: cannot be written: Bad file descriptor."),
        ("1", ("smooth", "t.parquet", "-k", "1", "-o", "o.parquet"), 0, ""),
        ("0", ("smooth", "-k", "1", "-o", "o.parquet"), 2, "no input: name a table, or pipe one in."),
        ("2", ("smooth", "t.parquet", "-k", "1", "-o", "o.parquet"), 0, ""),
        ("2", ("smooth", "missing.parquet", "-k", "1", "-o", "o.parquet"), 1, ""),
        ("012", ("smooth", "t.parquet", "-k", "1", "-o", "o.parquet"), 0, ""),
    ],
)
def test_closed_streams_lose_nothing_and_never_end_in_the_output(
    tmp_path: Path, closed: str, arguments: tuple[str, ...], status: int, last: str
) -> None:
    columns = {"video": ["a"] * 3, "frame": [1, 2, 3], "X": [0.5, 1.0, 2.0], "Y": [1.0, 0.0, 1.0]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    command = [sys.executable, "-c", CLOSED, closed, "-m", "affcli", *arguments]
    ended = subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == status, ended.stderr
    assert ended.stdout == ""
    if "2" in closed:
        assert ended.stderr == ""
    elif last:
        assert ended.stderr.splitlines()[-1].endswith(last)
    if status == 0:
        assert pq.read_table(tmp_path / "o.parquet").column("frame").to_pylist() == [1, 2, 3]
