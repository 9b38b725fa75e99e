"""Real processes that start at once, for tests that kill, interrupt or pair them, and for those that run scripts.

Each is forked from one process that has imported what affcli takes seconds to import (`warm_server.py`). Nothing else
is shared.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import affcli

AFFCLI = "from affcli.cli import main; main()"
TORCHRUN = "from torch.distributed.run import main; main()"  # with --no-python and a program of warm_programs
PATIENCE_S = 240


@cache
def server() -> Path:
    """The socket of the one server of this process."""
    folder = tempfile.TemporaryDirectory(prefix="affcli-warm-")
    address = Path(folder.name) / "socket"
    command = [sys.executable, str(Path(__file__).with_name("warm_server.py")), str(address)]
    source = str(Path(affcli.__file__).parents[1])  # affcli need not be installed
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, start_new_session=True)

    def end() -> None:
        process.communicate()  # closes its standard input
        folder.cleanup()

    atexit.register(end)
    while not address.exists():
        assert process.poll() is None, "the server of warm processes does not start"
        time.sleep(0.01)
    return address


class Warm:
    """A process that does what `python -c CODE ARGUMENTS…` does in `folder`; by default, what affcli does."""

    def __init__(
        self, folder: Path, *arguments: object, code: str = AFFCLI, environment: Mapping[str, str] | None = None
    ) -> None:
        self._printed = tempfile.NamedTemporaryFile()  # noqa: SIM115 - lives as long as this object
        started = {
            "code": code,
            "arguments": [*map(str, arguments)],
            "folder": str(folder),
            "environment": {**os.environ, **(environment or {})},
        }
        text = json.dumps(started).encode()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.connect(str(server()))
        with open(os.devnull) as nothing:  # noqa: PTH123
            out = self._printed.fileno()
            socket.send_fds(self._server, [len(text).to_bytes(8, "big")], [nothing.fileno(), out, out])
        self._server.sendall(text)
        self.pid = self._answer()
        self._status: int | None = None

    def _answer(self) -> int:
        answer = self._server.recv(8, socket.MSG_WAITALL)
        assert len(answer) == 8, "the server of warm processes has gone"
        return int.from_bytes(answer, "big", signed=True)

    @property
    def said(self) -> str:
        """What it has printed so far, on either stream."""
        return Path(self._printed.name).read_text()

    @property
    def runs(self) -> bool:
        return self._status is None and not select.select([self._server], [], [], 0)[0]

    def wait_for(self, what: Callable[[], object]) -> None:
        """Returns as soon as something is so; fails where the process ends before."""
        deadline = time.monotonic() + PATIENCE_S
        while not what():
            assert self.runs, f"it ended too early: {self.said}"
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def signal(self, number: int) -> None:
        """Sends a signal; one that comes when the process is gone does nothing."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit status, or minus the number of the signal that ended it."""
        if self._status is None:
            assert select.select([self._server], [], [], timeout_s)[0], f"it does not end: {self.said}"
            self._status = self._answer()
        return self._status


def two_ranks(folder: Path, *arguments: object) -> list[Warm]:
    """affcli twice, side by side, with what torchrun tells two processes of one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [Warm(folder, *arguments, environment={**here, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]


# Sends what it was started with, and its standard streams, and ends as what was started for it ends.
_CLIENT = """
import json, os, socket, sys
address, code, *arguments = sys.argv[1:]
started = {"code": code, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
text = json.dumps(started).encode()
server = socket.socket(socket.AF_UNIX)
server.connect(address)
socket.send_fds(server, [len(text).to_bytes(8, "big")], [0, 1, 2])
server.sendall(text)
for stream in (0, 1, 2):  # whoever reads the output waits for its last writer
    os.close(stream)
server.recv(8, socket.MSG_WAITALL)
status = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big", signed=True)
if status < 0:  # for a shell: 128 and the number of the signal
    status = 128 - status
os._exit(status)
"""
# python FILE ARGUMENTS…, and python - ARGUMENTS… with the code on standard input
_PYTHON = """
import sys
del sys.argv[0]
if sys.argv[0] != "-":
    sys.path[0], sys.stdin = __import__("os").path.dirname(sys.argv[0]), open(sys.argv[0])
exec(compile(sys.stdin.read(), sys.argv[0], "exec"), {"__name__": "__main__", "__file__": sys.argv[0]})
"""


def warm_programs(folder: Path) -> Path:
    """Puts the programs `affcli` and `python` into a folder, for the PATH of a script: they start at once."""
    (folder / "client.py").write_text(_CLIENT)
    client = shlex.join([sys.executable, "-ISE", str(folder / "client.py"), str(server())])
    for name, code in (("affcli", AFFCLI), ("python", _PYTHON)):
        (folder / name).write_text(f'#!/bin/sh\nexec {client} {shlex.quote(code)} "$@"\n')
        (folder / name).chmod(0o755)
    return folder
