"""JSON from outside: an object, or one line that names the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from affcli.errors import JsonError
from affcli.files.json_objects import read_json_object


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[1]", "is not a JSON object."),
        (b"{", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"", "is not JSON"),
        (b'{"a":' + b"[" * 200_000, "is nested too deeply."),
        (b'{"a": ' + b"1" * 5_000 + b"}", "is not JSON"),
    ],
)
def test_what_is_no_json_object_is_one_line_with_the_files_name(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "card.json"
    file.write_bytes(content)
    with pytest.raises(JsonError) as caught:
        read_json_object(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert said.removeprefix("is ") in message
    assert "\n" not in message


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(JsonError, match=f"{tmp_path}: cannot be read"):
        read_json_object(tmp_path)


def test_an_object_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, "ä"]}')
    assert read_json_object(tmp_path / "a.json") == {"a": [1, "ä"]}
