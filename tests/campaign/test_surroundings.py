"""What may not be written or read is named in one line, whatever the command."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from campaign.judge import Worker, judged
from campaign.surroundings import NOBODY, Case, prepare_surroundings, python_of_nobody, sound, unreadable, unwritable

pytestmark = pytest.mark.skipif(
    python_of_nobody() is None, reason="needs root, and an installation that other users can read"
)
AMOUNTS = [pytest.param(False, id="light"), pytest.param(True, id="heavy", marks=pytest.mark.campaign)]


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that everyone can reach, which folders of pytest are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "run" / "work"


def wrong(home: Path, cases: Sequence[Case], environment: Mapping[str, str | None] | None = None) -> str:
    python, path = python_of_nobody() or ("", "")
    worker = Worker(home, user=NOBODY, python=python, environment={"PYTHONPATH": path, **(environment or {})})
    found = []
    try:
        for case in cases:
            verdict = judged(worker, case.run)
            faults = verdict.faults if verdict.ending == str(case.status) else [f"status {verdict.ending}"]
            if faults:
                found.append(f"{case}: {'; '.join(faults)}: {verdict.told}")
    finally:
        worker.close()
    return "\n".join(found)


@pytest.mark.parametrize("heavy", AMOUNTS)
def test_an_output_that_may_not_be_written_is_named(home: Path, *, heavy: bool) -> None:
    home.mkdir(parents=True)
    prepare_surroundings(home, heavy=heavy)
    assert wrong(home, unwritable("closed", heavy=heavy)) == ""


@pytest.mark.parametrize("heavy", AMOUNTS)
def test_an_input_that_may_not_be_read_is_named(home: Path, *, heavy: bool) -> None:
    home.mkdir(parents=True)
    prepare_surroundings(home, heavy=heavy)
    assert wrong(home, unreadable(heavy=heavy)) == ""


@pytest.mark.parametrize("heavy", AMOUNTS)
@pytest.mark.parametrize("place", ["/nonexistent", "closed", None])
def test_an_odd_home_and_folder_for_temporary_files_are_in_nobodys_way(
    home: Path, place: str | None, *, heavy: bool
) -> None:
    home.mkdir(parents=True)
    prepare_surroundings(home, heavy=heavy)
    there = None if place is None else str(home / place)
    environment = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "TORCH_HOME"), there)
    assert wrong(home, sound(heavy=heavy), environment) == ""
