"""Nothing in the tests reaches the network, in this process or in those that they start."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest


def test_connections_are_refused_here_and_in_processes() -> None:
    with pytest.raises(OSError, match="tests have no network"):
        socket.create_connection(("192.0.2.1", 80), timeout=1)
    with pytest.raises(OSError, match="tests have no network"):
        socket.getaddrinfo("huggingface.co", 443)
    ended = subprocess.run(
        [sys.executable, "-c", "import socket; socket.create_connection(('huggingface.co', 443), 1)"],
        capture_output=True,
        text=True,
    )
    assert "tests have no network" in ended.stderr


def test_this_machine_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5):
        pass
