"""Small files of unfinished work: only what was written under their own name is believed."""

from __future__ import annotations

from pathlib import Path

import pytest

from affcli.jobs.sealed import DamagedError, read_sealed, write_sealed


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", {"x": [1, None]})
    assert read_sealed(tmp_path / "a.json") == {"x": [1, None]}
    assert read_sealed(tmp_path / "b.json") is None


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_sealed(path, {"x": 1})
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DamagedError):
            read_sealed(path)


def test_a_whole_file_under_the_name_of_another_is_damaged(tmp_path: Path) -> None:
    write_sealed(tmp_path / "a.json", {"x": 1})
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    with pytest.raises(DamagedError):
        read_sealed(tmp_path / "b.json")
