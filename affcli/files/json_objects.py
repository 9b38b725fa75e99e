"""JSON objects that come from outside: one door, whose errors name the file whatever the JSON holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from affcli.errors import JsonError


def json_object(text: str | bytes, where: object) -> dict[str, Any]:
    """The object that a text holds; `where` names it. Raises JsonError for what is no JSON object."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise JsonError(f"{where}: its JSON is nested too deeply.") from None
    except ValueError as error:  # a number of thousands of digits, bytes that are no UTF-8
        raise JsonError(f"{where}: is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise JsonError(f"{where}: is not a JSON object.")
    return found


def read_json_object(path: Path) -> dict[str, Any]:
    """The object in a file. Raises JsonError where it cannot be read or holds none."""
    try:
        return json_object(path.read_bytes(), path)
    except OSError as error:
        raise JsonError(f"{path}: cannot be read ({error.strerror or error}).") from error
