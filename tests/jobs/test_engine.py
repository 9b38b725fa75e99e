"""The engine of resumable work as a state machine: whatever happens to it, the end is that of a run in one go."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from hashlib import blake2b
from pathlib import Path

import pytest
from helpers.fake_extraction import QUICK_BEAT_S, Process, make
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from affcli.errors import ForeignError, NothingDoneError
from affcli.jobs import workers
from affcli.schema import metadata_of
from affcli.tables.label_tables import label_tables
from affcli.tables.reader import TableReader

NAMES = ("a", "b", "c", "d")
TEXTS = st.sampled_from(["x", "xyz", "longer", "cut of", "bad", "bad one"])
FINISHED = ("written", "nothing to do")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """It shows soon who is gone."""
    monkeypatch.setattr(workers, "BEAT_S", QUICK_BEAT_S)


def files(folder: Path) -> dict[str, bytes]:
    """Everything that stands under the output's name, but for unfinished work."""
    out, table = folder / "out", folder / "out.parquet"
    found = [path for path in out.rglob("*") if path.is_file() and path.name[0] != "." and ".parts" not in str(path)]
    found += [table] if table.is_file() else []
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def told(folder: Path, kind: str) -> dict[str, dict[str, str]]:
    """What the output says of its inputs."""
    path = folder / ("out.parquet" if kind == "table" else "out/summary.parquet")
    with TableReader(str(path)) as table:
        return {key: dict(metadata_of(table.schema)[key]) for key in ("inputs", "failed", "incomplete")}


class Engine(RuleBasedStateMachine):
    """`texts` is what the inputs hold, `listed` those that are named; `before` what stands under the output's name."""

    @initialize(
        kind=st.sampled_from(["table", "folder"]), texts=st.dictionaries(st.sampled_from(NAMES), TEXTS, min_size=1)
    )
    def begin(self, kind: str, texts: dict[str, str]) -> None:
        self.kind, self.folder = kind, Path(tempfile.mkdtemp())
        self.texts: dict[str, str] = {}
        self.seen: dict[str, set[str]] = {name: set() for name in NAMES}  # all that an input has ever held
        self.listed = set(texts)
        self.clock_s = 1_000_000_000
        self.before: dict[str, bytes] = {}
        for name, text in texts.items():
            self.write(name, text)

    def teardown(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def write(self, name: str, text: str) -> None:
        self.clock_s += 1
        (self.folder / name).write_text(text)
        os.utime(self.folder / name, (self.clock_s, self.clock_s))
        self.texts[name] = text
        self.seen[name].add(text)

    # --- what happens to inputs --------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(NAMES), text=TEXTS)
    def add_or_change(self, name: str, text: str) -> None:
        self.write(name, text)
        self.listed.add(name)

    @rule(name=st.sampled_from(NAMES))
    def vanish(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)
        self.texts.pop(name, None)

    @rule(name=st.sampled_from(NAMES))
    def name_no_more(self, name: str) -> None:
        if len(self.listed) > 1:
            self.listed.discard(name)

    @rule()
    def is_as_0_1_0_left_it(self) -> None:
        for path in list(self.folder.glob("out/frames/*.parquet")):
            path.replace(self.folder / "out" / path.name)
        self.before = files(self.folder)

    # --- runs --------------------------------------------------------------------------------------------------------

    @rule(update=st.booleans(), force=st.booleans(), dies_at=st.integers(1, 40))
    def run_and_die(self, update: bool, force: bool, dies_at: int) -> None:
        process = Process(self.kind, self.folder, self.listed, dies_at=dies_at, update=update, force=force)
        self.judge(process.wait(), update=update, force=force)

    @rule(update=st.booleans(), force=st.booleans())
    def run(self, update: bool, force: bool) -> None:
        process = Process(self.kind, self.folder, self.listed, update=update, force=force)
        self.judge(process.wait(), update=update, force=force)

    @rule(
        update=st.booleans(), force=st.booleans(), holds_at=st.integers(1, 12), dies=st.booleans(), other=st.booleans()
    )
    def run_two_at_once(self, update: bool, force: bool, holds_at: int, dies: bool, other: bool) -> None:
        """The second one comes while the first one works, and does the same or something else."""
        how = {"update": update, "force": force}
        first = Process(self.kind, self.folder, self.listed, holds_at=holds_at, waits=True, **how)
        if not first.wait_until_held_or_ended():
            self.judge(first.wait(), update=update, force=force)
            return
        listed = self.listed | {"d"} if other else self.listed
        second = Process(self.kind, self.folder, listed, update=update, force=force)
        outcome = second.wait()
        if listed != self.listed:
            assert outcome in ("BusyError", "OtherInputsError"), outcome
        else:
            assert outcome == "left to others", outcome
        if dies:
            first.signal(signal.SIGKILL)
        else:
            first.go()
        self.judge(first.wait(), update=update, force=force)

    @rule(update=st.booleans(), holds_at=st.integers(1, 12), more=st.booleans())
    def stop_one_and_run_another(self, update: bool, holds_at: int, more: bool) -> None:
        """What a stopped process works on is taken over, and it finds that out when it goes on."""
        first = Process(self.kind, self.folder, self.listed, holds_at=holds_at, update=update)
        if not first.wait_until_held_or_ended():
            self.judge(first.wait(), update=update, force=False)
            return
        if more:
            self.add_or_change("d", "more")
        self.judge(Process(self.kind, self.folder, self.listed, update=update).wait(), update=update, force=False)
        before = self.before
        first.go()
        outcome = first.wait()
        assert outcome in (*FINISHED, "left to others", "OtherInputsError", "NothingDoneError"), outcome
        if outcome in FINISHED and more and update:  # it has made the state of `d` that it knew
            self.run(update=True, force=False)
        else:
            assert files(self.folder) == before

    @rule(update=st.booleans(), at=st.integers(1, 8))
    def change_while_it_is_read(self, update: bool, at: int) -> None:
        process = Process(self.kind, self.folder, self.listed, holds_at=at, update=update)
        if process.wait_until_held_or_ended():
            for name in sorted(self.texts.keys() & self.listed):
                self.write(name, self.texts[name] + "x")
            process.signal(signal.SIGCONT)
        outcome = process.wait()
        if outcome == "written":  # what it has read is what it says, whichever state that was of
            process = Process(self.kind, self.folder, self.listed, update=True)
            outcome, update = process.wait(), True
            assert outcome in FINISHED
        if outcome == "NothingDoneError":  # all that could be used has changed
            assert files(self.folder) == self.before
        else:
            self.judge(outcome, update=update, force=False)

    # --- what must be so ---------------------------------------------------------------------------------------------

    def judge(self, outcome: str, *, update: bool, force: bool) -> None:
        now = files(self.folder)
        if outcome in FINISHED:
            self.is_as_in_one_go(now, all_named=force or not update)
            assert not list(self.folder.rglob("*.parts"))
            assert not list(self.folder.rglob(".*.tmp"))
            assert [path.name for path in self.folder.glob("out/*.parquet")] in ([], ["summary.parquet"])
        elif outcome == "OtherInputsError":
            assert not force
            assert not update
            assert self.before == now
        elif outcome == "NothingDoneError":
            assert not any(map(self.is_good, self.listed))
        else:
            assert outcome == "killed"
        if outcome not in FINISHED:
            lost = {Path(name).stem for name in self.before} - {Path(name).stem for name in now}
            assert not any(name in self.listed and self.is_good(name) for name in lost)
        self.before = now

    def is_good(self, name: str) -> bool:
        return not self.texts.get(name, "bad").startswith("bad")

    def is_as_in_one_go(self, now: dict[str, bytes], *, all_named: bool) -> None:
        """What was made of inputs that have gone since stays, and so it does under --update of those not named."""
        found = told(self.folder, self.kind)
        assert not found["inputs"].keys() & found["failed"].keys()
        names = found["inputs"].keys() | found["failed"].keys()
        assert names == self.listed if all_named else names >= self.listed
        with tempfile.TemporaryDirectory() as other:
            for name in names:
                text = self.texts.get(name) if name in self.listed else None
                if name in found["inputs"]:
                    used = self.text_of(name, found["inputs"][name])
                    assert text in (used, None)
                    text = used
                else:
                    assert name not in self.listed or not self.is_good(name)
                if text is not None:
                    (Path(other) / name).write_text(text)
            if found["failed"].keys() - self.listed:  # their fingerprints may be those of another time
                return
            make(self.kind, Path(other), names)
            assert files(Path(other)) == now

    def text_of(self, name: str, fingerprint: str) -> str:
        """Which of the texts that an input has held was used."""
        [text] = [t for t in self.seen[name] if blake2b(t.encode(), digest_size=16).hexdigest() == fingerprint]
        return text

    @invariant()
    def what_stands_there_can_be_read(self) -> None:
        for path in [*self.folder.glob("out.parquet"), *self.folder.glob("out/**/*.parquet")]:
            with TableReader(str(path)) as table:
                table.read(["video"])

    @invariant()
    def no_video_is_in_two_tables(self) -> None:
        if (self.folder / "out" / "frames").is_dir():
            names = [Path(name).name for name in label_tables(self.folder / "out")]
            assert len(names) == len(set(names))


Engine.TestCase.settings = settings(
    max_examples=int(os.environ.get("AFFCLI_ENGINE_EXAMPLES", "8")),
    stateful_step_count=8,
    deadline=None,
    derandomize="AFFCLI_ENGINE_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
TestEngine = Engine.TestCase


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_killed_before_each_file_gets_its_name(tmp_path: Path, kind: str) -> None:
    texts = {"a": "longer", "b": "bad", "c": "xyz", "d": "cut of"}
    one_go = tmp_path / "one"
    one_go.mkdir()
    for name, text in texts.items():
        (one_go / name).write_text(text)
    make(kind, one_go, texts)
    kills = 0
    for number in range(1, 200):
        folder = tmp_path / str(number)
        shutil.copytree(one_go, folder, ignore=shutil.ignore_patterns("out*"))
        if Process(kind, folder, texts, dies_at=number).wait() != "killed":
            break
        kills += 1
        assert make(kind, folder, texts).outcome in FINISHED
        assert files(folder) == files(one_go)
        assert not list(folder.rglob("*.parts"))
    assert kills > 10


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_nothing_is_made_of_nothing(tmp_path: Path, kind: str) -> None:
    (tmp_path / "a").write_text("bad")
    with pytest.raises(NothingDoneError):
        make(kind, tmp_path, ["a", "b"])
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("kind", ["table", "folder"])
def test_unfinished_work_with_a_flipped_bit_is_done_again_with_a_note(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    texts = {"a": "longer", "b": "xyz", "c": "x"}
    left, one_go = tmp_path / "left", tmp_path / "one"
    for folder in (left, one_go):
        folder.mkdir()
        for name, text in texts.items():
            (folder / name).write_text(text)
            os.utime(folder / name, (1_000_000_000, 1_000_000_000))
    make(kind, one_go, texts)
    assert Process(kind, left, texts, dies_at=15).wait() == "killed"
    damaged = [path for path in left.rglob("*.parts/**/*") if path.is_file() and path.stat().st_size]
    assert len(damaged) > 5
    for path in damaged:
        folder = tmp_path / f"{path.parent.name}-{path.name}"
        shutil.copytree(left, folder)
        whole = path.read_bytes()
        at = min(20, len(whole) // 2)
        flipped = whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
        (folder / path.relative_to(left)).write_bytes(flipped)
        caplog.clear()
        if path.name == "about.json":
            with pytest.raises(ForeignError, match="damaged"):
                make(kind, folder, texts)
            continue
        make(kind, folder, texts)
        assert files(folder) == files(one_go), path
        # Whose a claim was, and who that was, matters no more.
        told = path.name[0] == "." or path.name == "status.json" or path.parent.name in ("claims", "workers")
        assert "damaged" in caplog.text or told, path
