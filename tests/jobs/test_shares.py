"""Several processes make one table: each its share, the last one to end writes it, with the bytes of one process."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.extracting import SMALL
from helpers.media_fixtures import write_frames
from helpers.runners import Extract
from helpers.warm import TORCHRUN, Warm, two_ranks

from affcli.errors import UsageError
from affcli.jobs.shares import Share


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three good clips of different lengths and a bad one."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for name, count in (("a", 6), ("b", 2), ("c", 4)):
        write_frames(folder / f"{name}.mkv", [np.roll(SMALL, index, axis=1) for index in range(count)])
    (folder / "bad.mp4").write_text("no video")
    return folder


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, size: int = 2) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(size))


def same(folder: Path, one: str, other: str) -> bool:
    return (folder / one).read_bytes() == (folder / other).read_bytes()


def test_ranks_that_make_no_sense_are_wrong_usage() -> None:
    assert Share.given_by({}) == Share(0, 1)
    assert Share.given_by({"RANK": "1", "WORLD_SIZE": "3"}) == Share(1, 3)
    for rank, size in (("3", "3"), ("-1", "2"), ("x", "2"), ("0", "0")):
        with pytest.raises(UsageError, match="RANK"):
            Share.given_by({"RANK": rank, "WORLD_SIZE": size})


HOLDS = """
import os, sys, time
from pathlib import Path
from affcli.files.inputs import find_inputs
from affcli.jobs.parts import Parts
take = Parts.take

def taken(parts, item):
    if not take(parts, item):
        return False
    if item.video == "c":  # and works on it for ever
        Path("holds").touch()
        time.sleep(600)
    return True

Parts.take = taken
from affcli.cli import main
main()
"""


def test_a_process_does_what_no_other_works_on_and_the_last_one_completes_the_output(
    tmp_path: Path, visual: Extract, clips: Path, tiny_beit: Path
) -> None:
    visual("clips", output="one.parquet", status=3)
    arguments = ("--model", tiny_beit, "--precision", "fp32", "--batch-size", 4, "-o", "V.parquet", "clips")
    other = Warm(tmp_path, "extract-visual", *arguments, code=HOLDS)
    other.wait_for((tmp_path / "holds").exists)
    said = visual("clips")
    assert re.search(r"\d inputs? (is|are) left to other processes, the last of which completes V\.parquet", said)
    assert not (tmp_path / "V.parquet").exists()
    other.signal(signal.SIGKILL)
    other.wait()
    assert "going on with unfinished work" in visual("clips", status=3)
    assert same(tmp_path, "V.parquet", "one.parquet")
    assert not (tmp_path / "V.parquet.parts").exists()


def test_under_torchrun_bad_inputs_are_no_death_and_one_process_speaks(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    as_rank(monkeypatch, 1)
    said = visual("clips").splitlines()
    assert "1 of 4 inputs failed or is incomplete. (Exit status 0" in said[-1]
    assert visual("clips") == ""
    as_rank(monkeypatch, 0)
    assert "nothing to do" in visual("clips")
    for name in ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name)
    visual("clips", status=3)


def test_an_output_is_not_replaced_by_several_processes(
    visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_rank(monkeypatch, 0)
    assert "--force cannot be used with several processes" in visual("clips", "--force", status=2)


@pytest.mark.parametrize("command", ["extract-visual", "extract-audio"])
def test_processes_side_by_side(
    tmp_path: Path, visual: Extract, audio: Extract, clips: Path, tiny_beit: Path, tiny_wavlm: Path, command: str
) -> None:
    seen, heard = ("--model", tiny_beit, "--batch-size", 4), ("--model", tiny_wavlm, "--layers", 2)
    extract, more = (visual, seen) if command == "extract-visual" else (audio, heard)
    extract("clips", output="one.parquet", status=3)
    processes = two_ranks(tmp_path, command, *more, "--precision", "fp32", "-o", "V.parquet", "clips")
    statuses = sorted(process.wait() for process in processes)
    said = "".join(process.said for process in processes)
    # One that starts when the other is through finds the table there.
    assert statuses in ([0, 3], [3, 3]), said
    assert said.count("bad.mp4: not a video") == 1
    assert "Traceback" not in said
    assert same(tmp_path, "V.parquet", "one.parquet")


def test_torchrun_starts_a_killed_process_again(
    tmp_path: Path, visual: Extract, tiny_beit: Path, programs: Path
) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(4):
        write_frames(tmp_path / "clips" / f"{number}.mkv", [np.roll(SMALL, i, axis=1) for i in range(40)])
    visual("clips", output="one.parquet")
    several = ("--standalone", "--nproc-per-node", 2, "--max-restarts", 2, "--no-python", programs / "affcli")
    arguments = ("--model", tiny_beit, "--precision", "fp32", "--batch-size", 4, "-o", "V.parquet", "clips")
    process = Warm(tmp_path, *several, "extract-visual", *arguments, code=TORCHRUN)
    process.wait_for(lambda: list((tmp_path / "V.parquet.parts").glob("*/*")))
    [worker, *_] = [pid for pid in children(process.pid) if "affcli" in cmdline(pid)]
    os.kill(worker, signal.SIGKILL)
    assert process.wait() == 0, process.said
    assert same(tmp_path, "V.parquet", "one.parquet")


def children(parent: int) -> list[int]:
    """The processes that a process has started (Linux)."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(status.parent.name))
    return found


def cmdline(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
