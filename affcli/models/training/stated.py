"""What cards and fingerprints say of options: all of them, but for those added later that stand at their defaults.

So a model that uses nothing new has the bytes, and interrupted work the fingerprint, that it had before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LATER: Final[Mapping[str, bool]] = {"later": True}  # metadata of a field that was added after cards were first written


def stated(options: DataclassInstance) -> dict[str, Any]:
    """The dataclass's fields by name, as `asdict` gives them; without LATER ones that stand at their default."""
    silent = {
        one.name for one in fields(options) if one.metadata == LATER and getattr(options, one.name) == one.default
    }
    return {name: value for name, value in asdict(options).items() if name not in silent}
