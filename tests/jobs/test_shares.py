"""Several processes make one table: each its share, the last one to end writes it, with the bytes of one process."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from helpers.extracting import SMALL, column
from helpers.media_fixtures import write_frames
from helpers.runners import Extract
from helpers.warm import TORCHRUN, Warm, two_ranks
from hypothesis import given
from hypothesis import strategies as st

from affcli.errors import UsageError
from affcli.files.inputs import MediaInput, find_inputs
from affcli.jobs.shares import Share
from affcli.models.extract import visual_features
from affcli.schema import metadata_of
from affcli.tables.reader import TableReader


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


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(1, 5))
def test_every_input_is_in_one_share_and_no_share_has_more_than_one_input_too_much(sizes: list[int], size: int) -> None:
    inputs = [MediaInput(f"v{number:02}", Path(f"v{number}"), "file") for number in range(len(sizes))]
    bytes_of = {item: sizes[number] for number, item in enumerate(inputs)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("affcli.jobs.shares._size", bytes_of.__getitem__)
        shares = [Share(rank, size).of(inputs) for rank in range(size)]
    assert sorted(item.video for share in shares for item in share) == [item.video for item in inputs]
    assert all(share == sorted(share, key=lambda item: item.video) for share in shares)
    loads = [sum(max(1, bytes_of[item]) for item in share) for share in shares]
    assert max(loads) - min(loads) <= max([*sizes, 1])


def test_ranks_that_make_no_sense_are_wrong_usage() -> None:
    assert Share.given_by({}) == Share(0, 1)
    assert Share.given_by({"RANK": "1", "WORLD_SIZE": "3"}) == Share(1, 3)
    for rank, size in (("3", "3"), ("-1", "2"), ("x", "2"), ("0", "0")):
        with pytest.raises(UsageError, match="RANK"):
            Share.given_by({"RANK": rank, "WORLD_SIZE": size})


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_last_process_writes_the_table(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch, order: tuple[int, int]
) -> None:
    visual("clips", output="one.parquet", status=3)
    as_rank(monkeypatch, order[0])
    said = visual("clips")
    assert f"share {order[0] + 1} of 2 is done" in said
    assert not (tmp_path / "V.parquet").exists()
    as_rank(monkeypatch, order[1])
    said += visual("clips", status=3)
    assert said.count("bad.mp4: not a video") == 1
    assert same(tmp_path, "V.parquet", "one.parquet")
    assert not (tmp_path / "V.parquet.parts").exists()
    as_rank(monkeypatch, order[0])
    assert "nothing to do" in visual("clips", status=3)


def test_a_rank_that_died_is_started_again(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visual("clips", output="one.parquet", status=3)
    extract = visual_features.extract

    def dying(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    as_rank(monkeypatch, 1)
    monkeypatch.setattr(visual_features, "extract", dying)
    visual("clips", status=130)
    monkeypatch.setattr(visual_features, "extract", extract)
    as_rank(monkeypatch, 0)
    assert re.search(r"V\.parquet is written when \d inputs? of other processes are done", visual("clips"))
    as_rank(monkeypatch, 1)
    visual("clips", status=3)
    assert same(tmp_path, "V.parquet", "one.parquet")


def test_more_processes_than_inputs(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in (2, 0, 1):
        as_rank(monkeypatch, rank, 3)
        visual("clips/a.mkv")
    assert column(tmp_path / "V.parquet", "frame") == [1, 2, 3, 4, 5, 6]


def test_failures_alone_are_exit_1_for_the_last_process(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clips / "worse.mp4").write_text("")
    as_rank(monkeypatch, 0)
    visual("clips/bad.mp4", "clips/worse.mp4")
    as_rank(monkeypatch, 1)
    assert "none of the inputs" in visual("clips/bad.mp4", "clips/worse.mp4", status=1)
    assert not list(tmp_path.glob("V.parquet*"))


def test_new_inputs_are_added_by_several_processes_too(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visual("clips", output="one.parquet", status=3)
    visual("clips/b.mkv")
    for rank, status in ((0, 0), (1, 3)):
        as_rank(monkeypatch, rank)
        visual("clips", "--update", status=status)
    assert same(tmp_path, "V.parquet", "one.parquet")


def test_under_torchrun_bad_inputs_are_no_death_and_one_process_speaks(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    as_rank(monkeypatch, 0)
    visual("clips")
    as_rank(monkeypatch, 1)
    said = visual("clips").splitlines()
    assert "1 of 4 inputs failed or are incomplete. (Status 0" in said[-1]
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
    assert "--force and several processes" in visual("clips", "--force", status=2)


def test_a_file_that_changes_is_named_by_its_own_process_and_known_to_the_other(
    tmp_path: Path, visual: Extract, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from affcli.jobs.job import Recorder

    finish = Recorder.finish

    def late(recorder: Recorder, item: MediaInput, problem: str | None) -> None:
        if item.video == "a":
            os.utime(item.path)
        finish(recorder, item, problem)

    monkeypatch.setattr(Recorder, "finish", late)
    said = []
    for rank, status in ((0, 0), (1, 3)):
        as_rank(monkeypatch, rank)
        said += visual("clips", status=status).splitlines()
    assert sum("a.mkv: the file changed while it was read" in line for line in said) == 1
    assert metadata_of(TableReader(str(tmp_path / "V.parquet")).schema)["failed"].keys() == {"a", "bad"}


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


def test_torchrun_starts_a_killed_process_again(tmp_path: Path, visual: Extract, tiny_beit: Path) -> None:
    (tmp_path / "clips").mkdir()
    for number in range(4):
        write_frames(tmp_path / "clips" / f"{number}.mkv", [np.roll(SMALL, i, axis=1) for i in range(40)])
    visual("clips", output="one.parquet")
    several = ("--standalone", "--nproc-per-node", 2, "--max-restarts", 2, "-m", "affcli", "extract-visual")
    arguments = ("--model", tiny_beit, "--precision", "fp32", "--batch-size", 4, "-o", "V.parquet", "clips")
    process = Warm(tmp_path, *several, *arguments, code=TORCHRUN)
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


def test_inputs_are_shared_by_their_size(tmp_path: Path) -> None:
    for name, size in (("a", 5), ("b", 100), ("c", 60), ("d", 50)):
        (tmp_path / f"{name}.mp4").write_bytes(b"x" * size)
    inputs = find_inputs([tmp_path])
    assert [[item.video for item in Share(rank, 2).of(inputs)] for rank in (0, 1)] == [["a", "b"], ["c", "d"]]
