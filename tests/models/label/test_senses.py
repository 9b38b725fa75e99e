"""Several encoders over the same inputs: none is taken, and so claimed, before somebody works on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from affcli.files.inputs import MediaInput
from affcli.models.label.senses import each


@pytest.mark.parametrize("count", [1, 3])
def test_items_are_taken_when_the_first_work_gets_to_them_and_all_works_see_the_same(count: int) -> None:
    taken: list[str] = []

    def items() -> Iterator[MediaInput]:
        for name in "abc":
            taken.append(name)
            yield MediaInput(name, Path(name), "file")

    works = each(items(), count)
    assert taken == []
    assert [next(work).video for work in works] == ["a"] * count
    assert taken == ["a"]
    assert [[item.video for item in work] for work in works] == [["b", "c"]] * count
    assert taken == ["a", "b", "c"]
