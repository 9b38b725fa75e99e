"""What a table says of itself, checked once, when it is opened: whoever reads a fact later finds it of its kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa

from affcli.errors import TableError
from affcli.schema import STARTS, metadata_of


def _is_count(found: object) -> bool:
    return isinstance(found, int) and not isinstance(found, bool) and 1 <= found < 2**31


def _is_share(found: object) -> bool:
    return isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found <= 1


def _is_object(found: object) -> bool:
    return isinstance(found, dict)


def _is_text(found: object) -> bool:
    return isinstance(found, str)


def _are_names(found: object) -> bool:
    return isinstance(found, list) and bool(found) and all(map(_is_text, found)) and len(set(found)) == len(found)


def _are_objects(found: object) -> bool:
    return isinstance(found, list) and all(map(_is_object, found))


_COUNT, _SHARE, _OBJECT, _TEXT = "a number from 1 on", "a number from 0 to 1", "an object", "text"
_FACTS: Final[Mapping[str, tuple[Callable[[object], bool], str]]] = {
    "kind": (_is_text, _TEXT),
    "space": (_is_text, _TEXT),
    "classes": (_are_names, "a list of names"),
    "window": (_is_count, _COUNT),
    "stride": (_is_count, _COUNT),
    "smoothed": (_are_objects, "a list of objects"),
    "min_confidence": (_is_share, _SHARE),
    "min_speech": (_is_share, _SHARE),
    "inputs": (_is_object, _OBJECT),
    "failed": (_is_object, _OBJECT),
    "incomplete": (_is_object, _OBJECT),
    "encoders": (_is_object, _OBJECT),
    STARTS: (_is_object, _OBJECT),
}


def checked_metadata(name: str, schema: pa.Schema) -> Mapping[str, Any]:
    """The metadata of a table's schema. Raises TableError, naming the table, for a fact that is not of its kind."""
    found = metadata_of(schema)
    for fact, (is_right, what) in _FACTS.items():
        value = found.get(fact)
        if value is not None and not is_right(value):
            shown = repr(value)
            shown = shown if len(shown) <= 40 else f"{shown[:40]}…"
            raise TableError(f"{name}: damaged: its metadata's '{fact}' is {shown}, not {what}.")
    return found
