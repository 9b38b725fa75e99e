"""Refuses every connection but those to this machine: in the tests' own process, and in all that they start.

Python imports a module of this name when it starts, where PYTHONPATH leads to it. Nothing is imported here, so that
tests of start-up see what affcli imports.
"""

import os
import sys


def _is_here(address: object) -> bool:
    """A Unix socket, or this machine's own address."""
    if not isinstance(address, tuple) or not address:
        return True
    host = str(address[0])
    return host in ("localhost", "::1", "", os.uname().nodename) or host.startswith("127.")


def _refuse(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and not _is_here(arguments[1]):
        raise OSError(101, f"tests have no network (to {arguments[1]!r})")
    if event in ("socket.getaddrinfo", "socket.gethostbyname") and not _is_here((arguments[0] or "",)):
        raise OSError(101, f"tests have no network (name of {arguments[0]!r})")


sys.addaudithook(_refuse)
