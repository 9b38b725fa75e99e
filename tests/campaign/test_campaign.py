"""The campaign: a few damaged inputs of each kind in every run of the suite, many with `-m campaign`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from random import Random

import pytest

from campaign import bombs
from campaign.book import Book
from campaign.campaign import KINDS, run
from campaign.damage import damaged, damaged_json, damaged_lines
from campaign.judge import Run, Worker, judged
from campaign.kinds import LIGHT_KINDS
from campaign.readers import Reader

FEW = {"tables": 60, "odd tables": 40, "label texts": 60, "submissions": 60, "calibrations": 60}
MANY = {name: 2000 if name in LIGHT_KINDS else 100 for name in KINDS} | {"bombs": bombs.COUNT}


@pytest.mark.parametrize("kind", FEW)
def test_a_damaged_input_ends_in_one_line_that_names_it(kind: str, tmp_path: Path) -> None:
    book = Book(tmp_path / "kept")
    run(kind, range(FEW[kind]), 0, tmp_path, book)
    assert book.faulty == 0, f"\n{book}"


@pytest.mark.campaign
@pytest.mark.parametrize("kind", MANY)
def test_many_damaged_inputs_end_in_one_line_that_names_them(kind: str, tmp_path: Path) -> None:
    kept = Path(tempfile.gettempdir()) / "affcli-campaign"
    book = Book(kept)
    run(kind, range(MANY[kind]), 1, tmp_path, book)
    print(f"\n{book}")
    assert book.faulty == 0, f"\n{book}\nThe inputs lie in {kept}."


def test_the_same_seed_damages_in_the_same_way() -> None:
    sound = b"some bytes of a file" * 20
    assert damaged(sound, Random(3)) == damaged(sound, Random(3)) != sound
    assert damaged_lines("a,b\n1,2\n", Random(3)) == damaged_lines("a,b\n1,2\n", Random(3))
    assert damaged_json({"a": [1]}, Random(3)) == damaged_json({"a": [1]}, Random(3))


# --- the judge is no push-over ---------------------------------------------------------------------------------------


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "work")


def test_what_a_run_must_not_do_is_a_fault(worker: Worker) -> None:
    (worker.folder / "in.csv").write_text("video,frame,Anger,Fear\na,1,0.5,0.25\n")
    try:
        sound = Reader(("vote", "IN", "-o", "out.parquet"), "out.parquet").run("in.csv")
        assert judged(worker, sound).faults == []
        assert not (worker.folder / "out.parquet").exists()
        elsewhere = Run(("vote", "in.csv", "-o", "../elsewhere.parquet"), "in.csv")
        assert judged(worker, elsewhere).faults == ["an output in spite of status 0: ../elsewhere.parquet"]
        nameless = Run(("vote", "in.csv", "--weights", "1,2", "-o", "x.parquet"), "in.csv")
        assert "the file is not named" in judged(worker, nameless).faults
        wrong = Run(("vote", "in.csv", "-o", "o.csv"), "in.csv", ("o.csv",), check=lambda folder, told: "wrong")
        assert judged(worker, wrong).faults == ["wrong"]
        (worker.folder / "esc.csv").write_text("video,frame,label\n\x1b[31m,1,Fear\n")
        shown = Run(("export", "esc.csv", "--to", "csv"), "esc.csv", for_people=True)
        assert judged(worker, shown).faults == ["control characters on standard output"]
    finally:
        worker.close()


def test_a_death_and_a_hang_are_faults_and_the_next_run_goes_on(worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import affcli.cli, os, time\n"
        "def main(arguments):\n"
        "    if arguments == ['die']: os.kill(os.getpid(), 11)\n"
        "    if arguments == ['hang']: time.sleep(60)\n"
        "    exit(0)\n"
        "affcli.cli.main = main\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path))
        assert judged(worker, Run(("die",), "x")).ending == "died of signal 11"
        slow = Run(("hang",), "x", bounds=type(Run(("x",), "x").bounds)(wall_s=3.0))
        assert judged(worker, slow).ending == "hangs"
        assert judged(worker, Run(("well",), "x")).ending == "0"
    worker.close()
