"""Runs inputs of a kind, one after the other; which input a number stands for follows from the seed."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random

from campaign import bombs
from campaign.book import Book
from campaign.heavy_kinds import HEAVY_KINDS
from campaign.judge import Run, Worker, judged
from campaign.kinds import LIGHT_KINDS, Kind
from campaign.own_tables import OWN_KINDS

KINDS: Mapping[str, Kind] = {**LIGHT_KINDS, **OWN_KINDS, **bombs.BOMB_KINDS, **HEAVY_KINDS}


def run(kind: str, numbers: Iterable[int], seed: int, folder: Path, book: Book) -> None:
    """Each input of these numbers once, in a folder of its own that is as it was before, afterwards."""
    home = folder / kind.replace(" ", "-") / "work"
    worker = Worker(home)
    if not any(home.iterdir()):
        KINDS[kind].prepare(home)
    companions = {path.name for path in home.iterdir()}
    try:
        for number in numbers:
            one = _made(kind, home, seed, number)
            book.note(kind, one, judged(worker, one), home, f"{kind} {seed} {number}")
            for path in home.iterdir():
                if path.name not in companions:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        worker.close()


def _made(kind: str, home: Path, seed: int, number: int) -> Run:
    if kind == "bombs":  # a list, of which each is to be met
        return bombs.numbered(home, number)
    return KINDS[kind].make(home, Random(f"{seed} {kind} {number}"))
