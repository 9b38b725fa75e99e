"""Runs the campaign: `cd tests && python -m campaign [KIND…] --count N --seed S`; prints a table by kind and ending."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from campaign.book import Book
from campaign.campaign import KINDS, run

CHUNK = 100  # inputs, after which the book is written


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m campaign", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"of {', '.join(KINDS)}; default: all")
    parser.add_argument("--count", type=int, default=200, help="inputs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", type=Path, help="folder for the first input that showed each fault")
    parser.add_argument("--book", type=Path, help="file for what was tried; what stands in it is not tried again")
    given = parser.parse_args()
    if unknown := set(given.kinds) - set(KINDS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    book, began_s = Book(given.keep), time.monotonic()
    done = book.read(given.book) if given.book and given.book.exists() else set()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        for kind in given.kinds or KINDS:
            for start in range(given.first, given.first + given.count, CHUNK):
                numbers = range(start, min(start + CHUNK, given.first + given.count))
                if (kind, given.seed, numbers.start, numbers.stop) in done:
                    continue
                chunk = Book(given.keep)
                run(kind, numbers, given.seed, Path(folder), chunk)
                book.add(chunk)
                if given.book:
                    chunk.append_to(given.book, kind, given.seed, numbers)
            print(f"{time.monotonic() - began_s:.0f} s\n{book}\n", file=sys.stderr, flush=True)
    print(book)
    sys.exit(bool(book.faulty))


if __name__ == "__main__":
    main()
