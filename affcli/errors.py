"""Exceptions that own their exit status. Their text is for the user: which file, what was found, what to do next."""

from __future__ import annotations

from collections.abc import Sequence


class AffcliError(Exception):
    """The command failed (exit status 1)."""

    exit_status = 1


class UsageError(AffcliError):
    """The command was called wrongly, before any work was done (exit status 2)."""

    exit_status = 2


class PartialError(AffcliError):
    """The work is done and written, but some inputs failed and were named (exit status 3)."""

    exit_status = 3


def listed(names: Sequence[object], *, limit: int = 8) -> str:
    """Names as people read them: `a, b, c and 5 more`."""
    shown = ", ".join(str(name) for name in names[:limit])
    hidden = len(names) - limit
    return f"{shown} and {hidden} more" if hidden > 0 else shown


def counted(number: int, noun: str) -> str:
    """`1 video`, `1,234 videos`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
