"""Real processes that start at once, for tests that kill, interrupt or pair them.

Each is forked from one process that has imported what affcli takes seconds to import. Nothing else is shared.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

AFFCLI = "from affcli.cli import main; main()"
TORCHRUN = "from torch.distributed.run import main; main()"  # the processes that it starts are not warm
_HEAVY = (
    "torch.distributed.run",
    "transformers.models.beit.modeling_beit",
    "transformers.models.wavlm.modeling_wavlm",
    "affcli.commands.label",
    "affcli.models.encoders.classifier",
    "affcli.models.fusion.task",
)

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(list(_HEAVY))


class Warm:
    """A process that does what `python -c CODE ARGUMENTS…` does in `folder`; by default, what affcli does."""

    def __init__(
        self, folder: Path, *arguments: object, code: str = AFFCLI, environment: Mapping[str, str] | None = None
    ) -> None:
        self._printed = tempfile.NamedTemporaryFile()  # noqa: SIM115 - lives as long as this object
        given = (str(folder), code, [*map(str, arguments)], {**os.environ, **(environment or {})})
        self._process: BaseProcess = _server.Process(target=_run, args=(self._printed.name, *given))
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def said(self) -> str:
        """What it has printed so far, on either stream."""
        return Path(self._printed.name).read_text()

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    def wait_for(self, what: Callable[[], object]) -> None:
        """Returns as soon as something is so; fails where the process ends before."""
        deadline = time.monotonic() + 240
        while not what():
            assert self.runs, f"it ended too early: {self.said}"
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def signal(self, number: int) -> None:
        """Sends a signal; one that comes when the process is gone does nothing."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def wait(self, timeout_s: float = 240) -> int:
        """Its exit status, or minus the number of the signal that ended it."""
        self._process.join(timeout_s)
        status = self._process.exitcode
        assert status is not None, f"it does not end: {self.said}"
        return status


def two_ranks(folder: Path, *arguments: object) -> list[Warm]:
    """affcli twice, side by side, with what torchrun tells two processes of one machine."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    here = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [Warm(folder, *arguments, environment={**here, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]


def _run(printed: str, folder: str, code: str, arguments: list[str], environment: dict[str, str]) -> None:
    with open(printed, "wb") as file:  # noqa: PTH123
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where the tests run in a shell's background
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["-c", *arguments]
    exec(code, {"__name__": "__main__"})
