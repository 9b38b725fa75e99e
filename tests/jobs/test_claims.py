"""Claims by files: one process has a thing at a time, and what a process has that is gone is taken over."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.fake_extraction import QUICK_BEAT_S

from affcli.jobs import workers
from affcli.jobs.about import About
from affcli.jobs.claims import Claims, LostError
from affcli.jobs.ends import End, Ends, Entry
from affcli.jobs.fingerprints import Fingerprints
from affcli.jobs.parts import Parts
from affcli.jobs.workers import SILENT_BEATS, State, Workers

ENOUGH_S = 60.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(workers, "BEAT_S", QUICK_BEAT_S)
    for name in ("workers", "claims", "ends"):
        (tmp_path / name).mkdir()
    yield tmp_path
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    children.clear()


children: list[int] = []


def joined(folder: Path) -> tuple[Workers, Claims]:
    here = Workers(folder / "workers")
    here.join()
    return here, Claims(folder / "claims", here)


def another(folder: Path, *names: str) -> int:
    """A process that has claimed things by name, and beats; its number."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        claims = joined(folder)[1]
        os.write(writer, b"y" if all(claims.take(name) is not None for name in names) else b"n")
        time.sleep(ENOUGH_S)
        os._exit(0)
    children.append(child)
    assert os.read(reader, 1) == b"y"
    return child


def elsewhere(folder: Path) -> None:
    """All processes so far are on another machine, as far as their files tell."""
    for path in (folder / "workers").iterdir():
        about, _, count = path.read_text().partition("\n")
        path.write_text(json.dumps({**json.loads(about), "machine": "another"}) + "\n" + count)


def until_taken(here: Workers, claims: Claims, name: str) -> int:
    """How many beats it takes until something can be had."""
    began = here.beats
    deadline = time.monotonic() + ENOUGH_S
    while claims.take(name) is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return here.beats - began


def test_one_of_two_has_it(folder: Path) -> None:
    one, other = joined(folder)[1], joined(folder)[1]
    assert one.take("x") == 0
    assert other.take("x") is None
    assert one.take("x") == 0
    assert other.take("y") == 0
    one.free("x")
    assert other.take("x") == 1
    assert one.take("x") is None


def test_what_a_process_had_that_ended_in_order_is_free(folder: Path) -> None:
    here, claims = joined(folder)
    claims.take("x")
    here.leave()
    assert joined(folder)[1].take("x") == 1


def test_what_a_killed_process_had_is_had_at_once(folder: Path) -> None:
    child = another(folder, "x")
    here, claims = joined(folder)
    assert claims.take("x") is None
    os.kill(child, signal.SIGKILL)
    os.waitpid(children.pop(), 0)
    before = here.beats
    assert claims.take("x") == 1
    assert here.beats - before < SILENT_BEATS / 2


def test_a_process_number_given_to_another_process_is_not_the_same_process(folder: Path) -> None:
    another(folder, "x")
    here, claims = joined(folder)
    [path] = [path for path in (folder / "workers").iterdir() if path.name != here.token]
    about, _, count = path.read_text().partition("\n")
    path.write_text(json.dumps({**json.loads(about), "started": "1"}) + "\n" + count)
    assert claims.take("x") == 1


def test_a_stopped_process_is_taken_over_after_some_beats_and_learns_of_it(folder: Path) -> None:
    child = another(folder, "x")
    here, claims = joined(folder)
    [theirs] = [path.name for path in (folder / "workers").iterdir() if path.name != here.token]
    os.kill(child, signal.SIGSTOP)
    os.waitpid(child, os.WUNTRACED)
    assert until_taken(here, claims, "x") >= SILENT_BEATS - 1
    assert not (folder / "workers" / theirs).exists()
    os.kill(child, signal.SIGCONT)
    time.sleep(4 * QUICK_BEAT_S)
    assert not (folder / "workers" / theirs).exists()  # it does not come back under that name


def test_a_process_on_another_machine_that_beats_keeps_it(folder: Path) -> None:
    child = another(folder, "x")
    elsewhere(folder)
    here, claims = joined(folder)
    while here.beats < 2 * SILENT_BEATS:
        assert claims.take("x") is None
    [holder] = {claims.holder("x")[1]}
    assert holder is State.UNSURE
    os.kill(child, signal.SIGKILL)
    assert until_taken(here, claims, "x") >= SILENT_BEATS - 2


@pytest.mark.parametrize("off_s", [-3600.0, 300.0, 3600.0])
def test_clocks_that_differ_do_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch, off_s: float) -> None:
    """The other machine's clock sets the times of its files, and this one's is off by minutes."""
    child = another(folder, "x")
    elsewhere(folder)
    here, claims = joined(folder)
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + off_s)
    while here.beats < SILENT_BEATS + 3:
        for path in folder.rglob("*"):
            if path.is_file():
                os.utime(path, (wall() + off_s, wall() + off_s))
        assert claims.take("x") is None
    os.kill(child, signal.SIGKILL)
    until_taken(here, claims, "x")


def test_an_observer_that_did_not_move_itself_takes_nobody_for_gone(folder: Path) -> None:
    another(folder, "x")
    elsewhere(folder)
    here, claims = joined(folder)
    os.kill(children[0], signal.SIGSTOP)  # as all are when the shared disk hangs
    here.leave()
    here.beats = 0
    (folder / "workers" / here.token).touch()
    time.sleep(3 * SILENT_BEATS * QUICK_BEAT_S)
    assert claims.take("x") is None


def test_a_claim_whose_process_died_while_it_was_made_is_taken_over(folder: Path) -> None:
    (folder / "claims" / "x.0").touch()
    here, claims = joined(folder)
    assert claims.take("x") is None
    assert claims.holder("x")[1] is State.UNSURE
    until_taken(here, claims, "x")


CONTENTS = ["0123456789abcdef", "0123456789abcdefg", "not a claim", "fre3", "freed", "\x00", "\xe9"]


@pytest.mark.parametrize("content", CONTENTS)
def test_a_claim_that_no_living_process_can_have_written_is_taken_at_once(folder: Path, content: str) -> None:
    (folder / "claims" / "x.0").write_bytes(content.encode("latin-1"))
    assert joined(folder)[1].take("x") == 1


@pytest.mark.parametrize("content", ["", "f", "fre", "0123456789abcde"])
def test_a_claim_that_may_not_be_written_to_its_end_yet_is_waited_for(
    folder: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "claims" / "gate.0").write_text(content)
    here, claims = joined(folder)
    claims.wait_for("gate")
    assert here.beats >= SILENT_BEATS - 1
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}: waiting for another process, which takes stock of the work."
    ]


def test_many_processes_at_once_never_have_the_same_claim(folder: Path) -> None:
    pipes = []
    for _ in range(6):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            claims = joined(folder)[1]
            mine = [str(n) for n in range(200) if claims.take(str(n)) is not None]
            os.write(writer, json.dumps(mine).encode() + b"\n")
            time.sleep(ENOUGH_S)
            os._exit(0)
        children.append(child)
        pipes.append(reader)
    had = [name for pipe in pipes for name in json.loads(os.fdopen(pipe).readline())]
    assert sorted(had) == sorted(str(n) for n in range(200))


def test_a_removed_folder_is_not_waited_for(folder: Path) -> None:
    here, claims = joined(folder)
    other = joined(folder)[1]
    other.take("gate")
    (folder / "workers" / here.token).unlink()
    with pytest.raises(LostError):
        claims.wait_for("gate")
    assert here.lost


# --- ends ------------------------------------------------------------------------------------------------------------


def test_the_end_under_the_latest_claim_counts(folder: Path) -> None:
    one, other = Ends(folder / "ends", "a" * 16), Ends(folder / "ends", "b" * 16)
    one.add(Entry("v", 1, End("new")))
    other.add(Entry("v", 0, End("old")))
    other.add(Entry("w", 0, None))
    other.add(Entry("w", 0, End(failure="no video")))
    reader = Ends(folder / "ends", "c" * 16)
    reader.refresh()
    assert reader.get("v") == Entry("v", 1, End("new"))
    assert reader.get("w") == Entry("w", 0, End(failure="no video"))
    one.add(Entry("v", 2, None))
    reader.refresh()
    assert reader.get("v") == Entry("v", 2, None)


def test_a_line_that_is_not_whole_counts_for_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer, reader = Ends(folder / "ends", "a" * 16), Ends(folder / "ends", "b" * 16)
    path = folder / "ends" / f"{'a' * 16}.jsonl"
    writer.add(Entry("v", 0, End("x")))
    whole = path.read_bytes()
    writer.add(Entry("w", 0, End("y")))
    both = path.read_bytes()
    path.write_bytes(both[:-5])
    reader.refresh()
    assert (reader.get("v"), reader.get("w")) == (Entry("v", 0, End("x")), None)
    path.write_bytes(both)
    reader.refresh()
    assert reader.get("w") == Entry("w", 0, End("y"))
    path.write_bytes(whole[:30] + b"!" + whole[31:])
    again = Ends(folder / "ends", "c" * 16)
    again.refresh()
    assert again.get("v") is None
    assert "damaged" in caplog.text


def test_processes_that_start_at_the_same_moment_agree_although_none_has_begun(tmp_path: Path) -> None:
    folder = tmp_path / "out.parts"
    about = About({"a": 1}, "inputs", False)
    with Parts(folder, Fingerprints()) as one, Parts(folder, Fingerprints()) as two:
        for parts, continues in ((two, False), (one, True)):
            with parts.alone():
                parts.join()
                assert parts.agree_on(about) is continues
        assert (two.first, one.first) == (True, False)
